"""Files that are replaced in one step, so that nobody ever meets a part of one."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` in one step: a reader, or a crash, meets the old file or the new one, never a part.

    The temporary file lies in the same folder (a rename is atomic only within one file system) and reaches the disk
    before it takes the name.
    """
    temporary = _beside(path, data)
    try:
        os.replace(temporary, path)
    except BaseException:
        _forget(temporary)
        raise


def write_new(path: Path, data: bytes) -> None:
    """:func:`write_atomically` for a file that must not be there yet: of several writers only one succeeds.

    Raises:
        FileExistsError: it is there already; it is left alone.
    """
    temporary = _beside(path, data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links. Here a crash between the two steps would leave an empty file.
        path.open("xb").close()
        os.replace(temporary, path)
    finally:
        _forget(temporary)


def _beside(path: Path, data: bytes) -> Path:
    """A new file with ``data`` in the folder of ``path``, whole and on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with temporary.open("xb") as file:
        try:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            _forget(temporary)
            raise
    return temporary


def _forget(temporary: Path) -> None:
    with suppress(FileNotFoundError):
        temporary.unlink()
