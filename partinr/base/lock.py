"""A claim on a file by one process at a time, which ends with the process.

Two signs show that a claim is held. The first is a lock of the operating system, which ends with its process, and on a
network file system with its machine. But some network file systems lock for one machine only. So the holder also
touches the file now and then, and a claim of another machine counts as held while the last touch is recent.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

BEAT_SECONDS = 10.0
"""Time between two touches."""

LEASE_SECONDS = 60.0
"""A claim of another machine expires this long after its last touch."""

_PATIENCE_SECONDS = 0.5
"""How long to try to lock, since a process that only checks also holds the lock for a moment."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class TakenError(Exception):
    """Another process holds the claim.

    Attributes:
        owner: its ``host`` and ``pid``; empty if unknown.
        seconds: seconds until the claim of an unreachable machine expires; None for a claim that is certainly held.
    """

    def __init__(self, owner: dict[str, Any], seconds: float | None) -> None:
        super().__init__(f"held by {owner}")
        self.owner = owner
        self.seconds = seconds


@contextmanager
def claim(path: Path, force: bool = False) -> Iterator[None]:
    """Hold the claim at ``path`` within the context. The empty file remains.

    Args:
        path: path of the file; its folder must exist.
        force: also take a claim that another machine touched recently; never one that is locked.

    Raises:
        TakenError: another process holds it.
        OSError: the file cannot be written.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    done = threading.Event()
    try:
        if not _lock(descriptor, fcntl.LOCK_EX):
            raise TakenError(_owner(path), None)
        left = _left(path)
        if left and not force:
            raise TakenError(_owner(path), left)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"host": platform.node(), "pid": os.getpid()}).encode(), 0)
        threading.Thread(target=_beat, args=(path, done), daemon=True).start()
        try:
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        done.set()
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether a process holds the claim at ``path``, as far as is known; False without such a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH, patience=0.0) or _left(path) > 0
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int, patience: float = _PATIENCE_SECONDS) -> bool:
    """Whether the file could be locked; True also on a file system without locks."""
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.02)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return True
            raise
        else:
            return True


def _owner(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _left(path: Path) -> float:
    """Seconds until the claim of another machine ends; 0 for no such claim."""
    if _owner(path).get("host") in (None, platform.node()):
        return 0.0
    try:
        # By the clock of the file system, because those of two machines differ.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp") as probe:
            now = os.stat(probe.name).st_mtime
    except OSError:  # readable, but not writable
        now = time.time()
    try:
        return max(0.0, LEASE_SECONDS - (now - path.stat().st_mtime))
    except OSError:
        return 0.0


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(BEAT_SECONDS):
        with suppress(OSError):
            os.utime(path)
