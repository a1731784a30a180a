"""Replaces files in one step, so that no reader sees a partial file."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from partinr.base.errors import PartinrError


def write_atomically(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` in one step: a reader, or a crash, finds the old file or the new one, never a part.

    The temporary file lies in the same folder (a rename is atomic only within one file system) and reaches the disk
    before it takes the name.
    """
    with replacing(path) as file:
        file.write(data)


def write_output(path: Path, data: bytes) -> None:
    """:func:`write_atomically` for a file that the user has named.

    Raises:
        PartinrError: it cannot be written.
    """
    try:
        write_atomically(path, data)
    except OSError as error:
        raise PartinrError(f"cannot write {path}: {error.strerror}; choose another with -o") from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """:func:`write_atomically` for a file that is written piece by piece, inside; an error leaves the old file."""
    with _beside(path) as (file, temporary):
        yield file
    try:
        os.replace(temporary, path)
    except BaseException:
        _forget(temporary)
        raise


def write_new(path: Path, data: bytes) -> None:
    """:func:`write_atomically` for a file that must not be there yet: of several writers only one succeeds.

    Raises:
        FileExistsError: the file exists; it is not changed.
    """
    with _beside(path) as (file, temporary):
        file.write(data)
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:
        # A file system without links: a crash between these two steps leaves an empty file.
        path.open("xb").close()
        os.replace(temporary, path)
    finally:
        _forget(temporary)


def overwrite(path: Path, data: bytes) -> None:
    """Write ``data`` over the file at ``path`` in place, if it fits into the blocks that the file has.

    The last resort on a full disk: a file's last block usually has room for a little more. A crash during the write may
    leave a partial file.

    Raises:
        OSError: there is not enough space.
    """
    with path.open("r+b", buffering=0) as file:
        # Checked first: a write that runs out of room has already replaced the beginning.
        if len(data) > os.fstat(file.fileno()).st_blocks * 512:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        file.write(data)
        file.truncate(len(data))
        os.fsync(file.fileno())


@contextmanager
def _beside(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A temporary file next to ``path`` and its name; complete and on the disk after the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without the name of the file, which may already have the greatest length.
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file, temporary
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        _forget(temporary)
        if isinstance(error, OSError):
            error.filename = str(path)  # an error of a write has no file name
        raise


def _forget(temporary: Path) -> None:
    with suppress(OSError):
        temporary.unlink()
