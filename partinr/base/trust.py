"""Decides which classes a file may name: reading a file must not run code that the user does not trust."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
import re
import sys
from typing import Any

from partinr.base.errors import PartinrError

ENTRY_POINTS = "partinr.plugins"
"""The group of entry points in which a plug-in declares itself."""

TRUSTED = "PARTINR_TRUST"
"""The environment variable that lists further modules that a file may name, separated by commas."""


def named_class(path: str) -> Any:
    """The class that a file names by its dotted path.

    It is looked up among the modules that this process has imported. Only modules of installed plug-ins, and those that
    the user lists in ``PARTINR_TRUST``, are imported for it.

    Args:
        path: module and name, such as ``partinr.backbones.siren.Siren``.

    Returns:
        the object with that name.

    Raises:
        PartinrError: the class does not exist or is not trusted.
    """
    if not (isinstance(path, str) and re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", path)):
        raise PartinrError(f"{str(path)[:60]!r} is no name of a class; the file is damaged")
    module, _, name = path.rpartition(".")
    if module not in sys.modules:
        if not _trusted(module):
            raise PartinrError(
                f"{path} is neither partinr's nor a plug-in's, and no code is imported because a file names it; if you "
                f"trust it, set {TRUSTED}={module}, or import {module} first"
            )
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise PartinrError(f"{path} is not installed here; install the package it is from") from error
    # Not getattr: a module may define __getattr__.
    found = vars(sys.modules[module])
    if name not in found:
        raise PartinrError(f"{path} is not there in this version of {module}; install the one that the file is from")
    return found[name]


def entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    """The entry points of installed plug-ins. All distributions are read again if a folder of ``sys.path`` changed."""
    folders = [os.path.abspath(each) for each in sys.path]
    return _entry_points(tuple((each, os.stat(each).st_mtime_ns) for each in folders if os.path.exists(each)))


@functools.lru_cache(maxsize=1)
def _entry_points(folders: tuple[tuple[str, int], ...]) -> tuple[importlib.metadata.EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group=ENTRY_POINTS))


def _trusted(module: str) -> bool:
    named = [each.strip() for each in os.environ.get(TRUSTED, "").split(",")]
    plugins = [entry.value.partition(".")[0] for entry in entry_points()]
    return module in named or module.partition(".")[0] in plugins
