"""A claim on a file by one process at a time, which a dead process does not keep.

Two signs say that it is held. The lock of the operating system ends with its process, however that ends, and on a
network file system with the machine. But some network file systems lock for one machine only; so who holds a claim
also touches its file now and then, and a claim of another machine that was touched a moment ago is believed.
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
"""A claim is touched so often."""

LEASE_SECONDS = 60.0
"""The claim of another machine that was not touched for so long is nobody's."""

_PATIENCE_SECONDS = 0.5
"""Who only looks holds the lock for a moment, and must not look like an owner."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class TakenError(Exception):
    """Somebody else holds the claim.

    Attributes:
        owner: what is known of it: ``host`` and ``pid``, or nothing.
        seconds: after which a claim of a machine that is gone ends by itself; None for one that certainly is held.
    """

    def __init__(self, owner: dict[str, Any], seconds: float | None) -> None:
        super().__init__(f"held by {owner}")
        self.owner = owner
        self.seconds = seconds


@contextmanager
def claim(path: Path, force: bool = False) -> Iterator[None]:
    """Hold the claim at ``path`` inside. The file stays behind, empty.

    Args:
        path: of the file; its folder must be there.
        force: also where another machine touched it a moment ago. What is locked is never taken.

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
    """Whether some process holds the claim at ``path``, as far as can be told; False where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _lock(descriptor, fcntl.LOCK_SH, patience=0.0) or _left(path) > 0
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int, patience: float = _PATIENCE_SECONDS) -> bool:
    """Whether the file could be locked; also True where the file system has no locks."""
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
    """Seconds that another machine's claim still has, 0 for none."""
    if _owner(path).get("host") in (None, platform.node()):
        return 0.0
    try:
        # By the clock of the file system: those of two machines differ, and this one's may have been set back.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp") as probe:
            now = os.stat(probe.name).st_mtime
    except OSError:  # it may be read and not written
        now = time.time()
    try:
        return max(0.0, LEASE_SECONDS - (now - path.stat().st_mtime))
    except OSError:
        return 0.0


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(BEAT_SECONDS):
        with suppress(OSError):
            os.utime(path)
