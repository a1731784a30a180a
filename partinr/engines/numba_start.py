"""Starts numba once per process, whatever its environment variables say.

Numba reads variables (``NUMBA_…``) and a file (``.numba_config.yaml``) that are often meant for another program.
Settings that it does not understand are ignored with a note. Settings that disable it are a :func:`fault`; plain torch
then replaces it.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from functools import cache
from typing import Any

from partinr.base.later import imported
from partinr.base.notes import print_note

_kept: list[tempfile.TemporaryDirectory[str]] = []
"""Folder for compiled kernels until the process ends, if there is no other."""


@cache
def fault() -> str | None:
    """Why numba's kernels are unusable in this process, and the cure; None if usable. Starts numba once.

    Returns:
        the end of a sentence that begins with ``engine=NAME``.
    """
    try:
        numba = _imported()
        if numba.config.DISABLE_JIT:
            return f"needs numba, which compiles nothing; {_cure('NUMBA_DISABLE_JIT')}"
        _find_cache(numba)
    except Exception as error:  # numba's errors have no common base
        return f"needs numba, which does not start ({_line(error)}); {_cure()}"
    return None


def _imported() -> Any:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        numba = imported("numba")
    for each in said:
        print_note(f"numba ignores what it does not understand: {_line(each.message)}; {_cure()}")
    return numba


def _find_cache(numba: Any) -> None:
    """Set a cache folder for this process if compiled kernels can be kept nowhere else."""
    try:
        numba.njit(cache=True)(_nothing)
    except RuntimeError:
        _kept.append(tempfile.TemporaryDirectory(prefix="partinr-numba-"))
        numba.config.CACHE_DIR = _kept[0].name
        print_note(
            "numba can keep compiled kernels nowhere, so each process compiles them again; "
            "set NUMBA_CACHE_DIR to a folder that you may write to"
        )


def _nothing() -> None:
    """An empty function to test compilation."""


def _line(error: object) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _cure(*names: str) -> str:
    """The cure: unset these variables, or all of numba's that are set."""
    found = [name for name in names or sorted(os.environ) if name.startswith("NUMBA_") and name in os.environ]
    found += [name for name in (".numba_config.yaml",) if os.path.exists(name)]
    return f"unset or remove {', '.join(found)}" if found else "pip install --force-reinstall numba"
