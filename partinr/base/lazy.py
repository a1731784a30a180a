"""Import at first use: what a command does not need it does not wait for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def load(path: str) -> Any:
    """The object at ``MODULE:NAME``; imports its module."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def exports(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package whose names are imported when they are first asked for (PEP 562).

    Args:
        package: its ``__name__``.
        homes: of each name, the module that has it.
    """

    def __getattr__(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return load(f"{homes[name]}:{name}")

    return __getattr__, lambda: sorted(homes)
