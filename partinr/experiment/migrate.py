"""Migrates configurations of older versions, by one table of renamed targets and retired keys.

Every configuration passes through here before its objects are made, whether it was just composed (perhaps with the YAML
of a plug-in) or comes from a run directory. :mod:`partinr.model.serialise` has the names in artefacts.
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
"""Values of ``_target_`` that older versions wrote, and the current paths of these classes."""

RETIRED = {
    ("engine", "grouped"): "engine=batched does the same",
    ("engine", "tcnn"): "engine=auto evaluates backbone=hash_grid",
}
"""Retired keys and values, and what to give instead."""

LATER: dict[str, Any] = {
    "logger": {"_target_": "partinr.tracking.CurveOnly"},
    "observe": {"_target_": "partinr.signals.observations.Identity"},
    "start": {"_target_": "partinr.regimes.starts.Random"},
}
"""Defaults for groups that older versions did not have."""


def migrated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration in the form of this version.

    Args:
        config: plain containers.

    Raises:
        PartinrError: the configuration has a retired value.
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
