"""Opens files that a user names, quotes them in messages, and silences parsers."""

from __future__ import annotations

import difflib
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

from partinr.base.errors import PartinrError
from partinr.base.text import normal

# Warning filters and the standard error stream belong to the process: two threads that both restore what they found
# could leave them changed for good.
_PROCESS_STATE = threading.Lock()


@contextmanager
def warnings_as(action: Literal["ignore", "error"], category: type[Warning] = Warning) -> Iterator[None]:
    """Ignore or raise the warnings of a parser; one thread at a time."""
    with _PROCESS_STATE, warnings.catch_warnings():
        warnings.simplefilter(action, category)
        yield


@contextmanager
def open_file(file: Path, what: str) -> Iterator[BinaryIO]:
    """A user's file, open for reading.

    Args:
        file: any path.
        what: what the file should be, for messages: ``an image``.

    Raises:
        PartinrError: the file does not exist, cannot be read, or is no regular file.
    """
    if os.path.isdir(file):
        raise PartinrError(f"{quoted(file)} is a folder, not {what}; name one file in it")
    # Opening a pipe would block for ever.
    if os.path.exists(file) and not os.path.isfile(file):
        raise PartinrError(f"{quoted(file)} is not a regular file; give the path of {what}")
    try:
        stream = open(file, "rb")  # noqa: SIM115 - closed below; the try is for opening alone
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise PartinrError(f"no such file: {quoted(file)}; {_hint(file)}") from error
    except PermissionError as error:
        raise PartinrError(
            f"{quoted(file)} cannot be read: permission denied; change its permissions or copy it to a folder of yours"
        ) from error
    except OSError as error:
        raise PartinrError(f"{quoted(file)} cannot be read: {error.strerror or error}; check the path") from error
    with stream:
        yield stream


def _hint(file: Path) -> str:
    folder = file.parent
    try:
        names = {name.lower(): name for name in os.listdir(folder) if os.path.isfile(folder / name)}
    except (OSError, ValueError):
        return f"the folder {quoted(folder)} is not there or cannot be listed either: check the path"
    if twin := next((name for name in names.values() if normal(name) == normal(file.name)), None):
        return f"there is {twin!a}, the same name in another Unicode form: let the shell complete it"
    near = difflib.get_close_matches(file.name.lower(), names, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(names[name]) for name in near) + "?"
    return "check the path" + ("" if file.is_absolute() else f", which is taken from {quoted(Path.cwd())}")


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Silence the standard error stream, where C libraries repeat what an error says."""
    try:
        stderr = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(nowhere)
        os.close(stderr)


def quoted(file: Path) -> str:
    """A path in quotes for a message; a line break in it is escaped."""
    return repr(str(file))
