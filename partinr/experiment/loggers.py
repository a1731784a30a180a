"""Makes the loggers of a run: one, several by name, or none."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from partinr.base.errors import PartinrError
from partinr.experiment.make import check_options, checked, class_of
from partinr.tracking import Guest, Logger, Several

_METHODS = ("log_hyperparams", "log_metrics", "save", "finalize")
"""What Lightning calls of a logger."""


def make_loggers(node: Mapping[str, Any]) -> Logger:
    """The loggers of a run.

    Args:
        node: the group ``logger``: the class of a logger with its options, or such nodes by name (``logger=[a,b]``), or
            both (``logger=a +logger.mine._target_=…``). A name that is null is left out.

    Raises:
        PartinrError: a class does not exist, is no logger, or refuses its options.
    """
    named = {name: each for name, each in node.items() if isinstance(each, Mapping) and "_target_" in each}
    own = {name: each for name, each in node.items() if name not in named}
    if "_target_" not in own:
        own = {name: each for name, each in own.items() if each is not None}
    nodes = {"logger": own} if own or not node else {}
    nodes.update({f"logger.{name}": dict(each) for name, each in named.items()})
    made = [_one(each, key) for key, each in nodes.items()]
    return made[0] if len(made) == 1 else Several(made)


def _one(node: dict[str, Any], key: str) -> Logger:
    cls = class_of(node, key)
    options = {name: value for name, value in node.items() if name != "_target_"}
    if issubclass(cls, Logger):
        made: Logger = checked(cls, options, key)
        return made
    if not all(callable(getattr(cls, name, None)) for name in _METHODS):
        raise PartinrError(
            f"{key}._target_={node['_target_']} is no logger; derive the class from lightning.pytorch.loggers.Logger"
        )
    check_options(cls, options, key)
    return Guest(partial(_guest, cls, options, key))


def _guest(cls: type, options: dict[str, Any], key: str, folder: Path) -> Any:
    """A logger of another package. Where it takes a folder and none is given, it gets the run directory."""
    if "save_dir" in inspect.signature(cls).parameters:
        options = {**options, "save_dir": options.get("save_dir") or str(folder)}
    return checked(cls, options, key)
