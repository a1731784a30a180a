"""Caches SHA-256 of files, so that unchanged files are not read again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from partinr.base.files import write_atomically

FILE = "digests.json"
"""Name of the digests' file in the folder of the cache."""

LARGE = 2**30
"""Larger files, such as databases, are read once: it would take minutes each time [bytes]."""

_SETTLED_NS = 100_000_000
"""Age below which a file may change again without a new time, since clocks of file systems are coarse."""


class Digests:
    """SHA-256 of files, by path, size, times and inode.

    Several processes may share the folder. Its file may be damaged or deleted at any time; digests are then computed
    again.

    Args:
        folder: folder for digests; None to keep them in memory only.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = None if folder is None else folder / FILE
        self._known = self._stored()
        self._new: dict[str, list[int | str]] = {}

    def of(self, path: Path, verify: bool = False) -> str:
        """The digest of a file.

        Args:
            path: path of the file.
            verify: read the file in any case, unless it is larger than :data:`LARGE`.

        Raises:
            OSError: the file cannot be read.
        """
        name = os.path.abspath(path)
        now = _state(path)
        known = self._known.get(name)
        if known is not None and known[:-1] == now and not (verify and path.stat().st_size <= LARGE):
            return str(known[-1])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._known[name] = [*now, digest]
        if _state(path) == now and path.stat().st_mtime_ns < time.time_ns() - _SETTLED_NS:
            if known != self._known[name]:
                self._new[name] = self._known[name]
        else:
            del self._known[name]
        return digest

    def of_files(self, folder: Path, files: Iterable[Path], verify: bool = False) -> str:
        """The digest of files and their names within a folder; for a single file, its own digest.

        Raises:
            OSError: there is no file, or one cannot be read.
        """
        found = sorted((os.path.relpath(file, folder), self.of(file, verify)) for file in set(files))
        if not found:
            raise FileNotFoundError(folder)
        return found[0][1] if len(found) == 1 else of_text(json.dumps(found))

    def save(self) -> None:
        """Write new digests, if possible."""
        if self._file is not None and self._new:
            with suppress(OSError):
                write_atomically(self._file, json.dumps(self._stored() | self._new).encode())
            self._new = {}

    def _stored(self) -> dict[str, list[int | str]]:
        try:
            found = json.loads(self._file.read_bytes()) if self._file is not None else {}
            return {str(name): list(known) for name, known in found.items() if len(known) == 5}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}


def of_text(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _state(path: Path) -> list[int | str]:
    """Properties that change when a file does: size, times and inode."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
