"""Modules that are imported when they are first used.

A command composes before it computes: help, an unknown key or a list of runs must not wait for torch. A light module
that needs a heavy one declares it once at the top in one of these two forms; nothing is imported inside functions. The
names are plain text, so that a test can read the arrows between modules from the source.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from partinr.base.errors import PartinrError


@contextmanager
def without_collection() -> Iterator[None]:
    """No search for garbage within the context, such as among the million objects of modules, which stay."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Process:
    own = False


def own_process() -> None:
    """Let this process, which is partinr's own, never search modules for garbage, not even at its end.

    That takes two seconds for those of torch. In a notebook, what is garbage during an import would stay.
    """
    _Process.own = True
    atexit.register(gc.freeze)


def imported(module: str) -> ModuleType:
    """The module of a dotted name, imported without a search for garbage."""
    with without_collection():
        new = module not in sys.modules
        found = importlib.import_module(module)
        if new and _Process.own:
            gc.freeze()
    return found


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
        return getattr(imported(self._module), name)


def of_extra(module: str, extra: str, what: str) -> Any:
    """A module that comes with an extra of partinr.

    Args:
        module: its dotted name.
        extra: name of the extra.
        what: what needs it, for the message: ``meshes are read``.

    Raises:
        PartinrError: it is not installed.
    """
    try:
        return imported(module)
    except ModuleNotFoundError as error:
        raise PartinrError(f"{what} by {module}, which is not here: pip install 'partinr[{extra}]'") from error


def load(path: str) -> Any:
    """The object that ``module:name`` names; imports the module."""
    module, _, name = path.partition(":")
    return getattr(imported(module), name)


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
