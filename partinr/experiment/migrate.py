"""Configurations of older versions, as this version reads them: one table of names that changed and of what is gone.

Every configuration passes through here before its objects are made, whether it was composed now, with the YAML of a
plug-in in it, or lies in a run directory. The names inside of artefacts are in :mod:`partinr.model.serialise`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from partinr.base.errors import PartinrError

RENAMED = {
    "partinr.config.TrainerSettings": "partinr.experiment.config.TrainerSettings",
    "partinr.data.FolderData": "partinr.signals.FolderData",
    "partinr.data.ImageData": "partinr.signals.ImageData",
    "partinr.data.LsunData": "partinr.signals.LsunData",
    "partinr.data.SmoothData": "partinr.signals.SmoothData",
    "partinr.data.StepsData": "partinr.signals.StepsData",
    "partinr.data.TextData": "partinr.signals.TextData",
}
"""Values of ``_target_`` that older versions wrote, and where these classes are now."""

RETIRED = {
    ("engine", "grouped"): "engine=batched does the same",
    ("engine", "tcnn"): "engine=auto evaluates backbone=hash_grid",
}
"""Keys and values that are gone, and what to give instead."""

LATER: dict[str, Any] = {"logger": {"_target_": "partinr.tracking.CurveOnly"}}
"""Groups that came later, as they were before there was a choice."""


def migrated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration in the words of this version.

    Args:
        config: plain containers.

    Raises:
        PartinrError: it asks for what is gone.
    """
    for (key, value), instead in RETIRED.items():
        if config.get(key) == value:
            raise PartinrError(f"{key}={value} is gone; {instead}")
    return {**LATER, **_renamed(config)}


def _renamed(node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    found = {key: _renamed(value) for key, value in node.items()}
    target = found.get("_target_")
    return {**found, "_target_": RENAMED[target]} if target in RENAMED else found
