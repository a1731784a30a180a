"""Errors that a user can cure, and warnings that a user should see.

Everything that partinr refuses (a missing file, a width of 0, a checkpoint of another architecture) is a
:class:`PartinrError`. The command line prints its message as one line and ends with exit code 2.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from partinr.base.notes import print_note

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers for a full disk."""

STORAGE = (*FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR, errno.ENAMETOOLONG)
"""Error numbers for faults of a disk, for which a traceback is useless."""


class PartinrError(ValueError):
    """Bad input. The message is one line: what is wrong, and what to do about it."""


class PartinrWarning(UserWarning):
    """A run continues, but not as requested. The message is one line; the command line prints it as a note."""


def reason(error: BaseException) -> str:
    """An exception in one line."""
    if isinstance(error, OSError) and error.errno in STORAGE:
        what = str(error.strerror)
        where = f": {error.filename}" if error.filename else ""
        cure = "; make room, then continue with partinr resume" if error.errno in FULL else ""
        return f"{what[:1].lower()}{what[1:]}{where}{cure}"
    name = "" if isinstance(error, PartinrError) else f"{type(error).__name__}: "
    return " ".join(f"{name}{error}".split())[:500]


def check_choice(key: str, value: object, known: Sequence[object]) -> None:
    """Check that the value of a key is one of those that are known.

    Raises:
        PartinrError: the value is unknown.
    """
    if value not in known:
        raise PartinrError(f"{key}={value!r} is unknown; choose from {', '.join(map(str, known))}")


@contextmanager
def named(name: str) -> Iterator[None]:
    """Start the message of a PartinrError with the name of the signal that it concerns, if it has one."""
    try:
        yield
    except PartinrError as error:
        raise PartinrError(f"{name}: {error}" if name else str(error)) from error


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Prints a :class:`PartinrWarning` that is raised inside as one line, without the line of source code."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_note(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, PartinrWarning):
                print_note(str(message))
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = show_note
        yield
