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
    "sampler": {"_target_": "partinr.samplers.Uniform"},
    "start": {"_target_": "partinr.regimes.starts.Random"},
}
"""Defaults for groups that older versions did not have."""

REPLACED: dict[tuple[str, str, Any], tuple[Any, str, dict[str, Any]]] = {
    ("regime", "sampling", "error"): ("uniform", "sampler", {"_target_": "partinr.samplers.Error"}),
}
"""Values of keys that another group has replaced: the value that says nothing, that group, and its choice."""


def older(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The settings of a configuration that another group has replaced, each with what to give instead."""
    return [
        (f"{group}.{key}={value}", f"{other}={choice['_target_'].rpartition('.')[2].lower()}")
        for (group, key, value), (_, other, choice) in REPLACED.items()
        if isinstance(config.get(group), Mapping) and config[group].get(key) == value
    ]


def migrated(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration in the form of this version.

    Args:
        config: plain containers.

    Raises:
        PartinrError: the configuration has a retired value, or a replaced one beside another choice of its group.
    """
    for (key, value), instead in RETIRED.items():
        if config.get(key) == value:
            raise PartinrError(f"{key}={value} is gone; {instead}")
    found = {**LATER, **_renamed(config)}
    for (group, key, value), (silent, other, choice) in REPLACED.items():
        if isinstance(found.get(group), Mapping) and found[group].get(key) == value:
            usual = LATER[other]["_target_"]
            if found[other].get("_target_") not in (usual, choice["_target_"]):
                raise PartinrError(f"{group}.{key}={value} and {other} both choose; leave out {group}.{key}")
            found |= {group: {**found[group], key: silent}, other: {**found[other], **choice}}
    return found


def _renamed(node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    found = {key: _renamed(value) for key, value in node.items()}
    target = found.get("_target_")
    return {**found, "_target_": RENAMED[target]} if target in RENAMED else found
