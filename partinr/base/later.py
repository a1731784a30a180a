"""Modules that are imported when they are first used.

A command composes before it computes: help, an unknown key or a list of runs must not wait for torch. A light module
that needs a heavy one declares it once at the top in one of these two forms; nothing is imported inside functions. The
names are plain text, so that a test can read the arrows between modules from the source.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


class Later:
    """Stands for a module, and imports it when one of its names is first used.

    For type checkers the module is imported under ``TYPE_CHECKING``::

        if TYPE_CHECKING:
            from partinr.experiment import execute
        else:
            execute = Later("partinr.experiment.execute")

    Args:
        module: its dotted name.
    """

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._module), name)


def load(path: str) -> Any:
    """The object that ``module:name`` names; imports the module."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def exports(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose names are imported when they are first asked for (PEP 562).

    Args:
        package: its ``__name__``.
        homes: module of each name.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return load(f"{homes[name]}:{name}")

    return __getattr__, lambda: sorted(homes)
