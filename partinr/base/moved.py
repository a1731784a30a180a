"""Keeps import paths of older versions working for plug-ins."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "partinr.data": "partinr.signals",
    "partinr.errors": "partinr.base.errors",
    "partinr.inr": "partinr.model.inr",
    "partinr.regimes.fit.api": "partinr.api",
    "partinr.training.stack": "partinr.training.stack_loop",
}
"""Former and current paths of modules. Each entry is removed one minor version after the move."""


class _Moved(MetaPathFinder, Loader):
    """Finds the current module for a former name."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(MOVED[spec.name])
        self._own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own  # the import system has set the spec of the former name


def install() -> None:
    """Make the former names importable. A second call changes nothing."""
    if not any(isinstance(finder, _Moved) for finder in sys.meta_path):
        sys.meta_path.append(_Moved())
