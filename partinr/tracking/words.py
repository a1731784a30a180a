"""What W&B is told of a run: its words and its configuration, without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from partinr.runs.directory import learned_by

GROUPED_BY = ("partition_name", "backbone_name", "regime_name")
"""Keys of W&B's config that say in a word what a run's partition, backbone and regime are."""

METHOD = "method"
"""The key with all three words, for panels that group by one key."""

_SECRET = re.compile(r"(^|_)(api_?key|password|passwd|secret|token|credentials?)(_|$)", re.IGNORECASE)


def words(config: Mapping[str, Any]) -> dict[str, str]:
    """The keys of :data:`GROUPED_BY` and :data:`METHOD` for a composed config.

    The same in a run that goes on and in one that is read back, so that both land in the same group.
    """
    partition = _kind(config, "partition")
    wanted = _regions(config.get("partition"))
    partition = "none" if partition == "whole" else partition if wanted is None else f"{partition} #{wanted}"
    regime = "fit"
    if learned_by(config) == "initialisation":
        settings = config["regime"]
        regime = str(settings.get("algorithm", "meta"))
        used_in = settings.get("partition_in", "both")
        if used_in == "neither":
            partition = "none"
        elif used_in == "test" and partition != "none":
            partition = f"{partition} in test"
    found = dict(zip(GROUPED_BY, (partition, _kind(config, "backbone"), regime), strict=True))
    return {**found, METHOD: " · ".join(found.values())}


def _kind(config: Mapping[str, Any], group: str) -> str:
    """The class of a section as the command line spells it: ReluPE is relu_pe."""
    section = config.get(group)
    target = str(section.get("_target_", group)) if isinstance(section, Mapping) else group
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", target.rpartition(".")[2]).lower()


def _regions(partition: Any) -> Any:
    """How many regions were asked for; None where the config does not say."""
    if not isinstance(partition, Mapping):
        return None
    rows, columns = partition.get("rows"), partition.get("cols")
    if isinstance(rows, int) and isinstance(columns, int):
        return rows * columns
    return partition.get("regions")


def shown_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The composed config as W&B is to show it.

    Keys that sound like secrets are left out, and the home folder is ``~``.
    """
    home = os.path.expanduser("~").rstrip(os.sep)
    return {**_shown(config, home if os.path.isabs(home) else None), **words(config)}


def _shown(node: Any, home: str | None) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _shown(value, home) for key, value in node.items() if not _SECRET.search(str(key))}
    if isinstance(node, (list, tuple)):
        return [_shown(value, home) for value in node]
    if home is not None and isinstance(node, str) and (node == home or node.startswith(home + os.sep)):
        return "~" + node[len(home) :]
    return node
