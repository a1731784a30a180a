"""A run's words and configuration for loggers, without secrets."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from partinr.base.text import seen
from partinr.runs.regime_facts import RegimeFacts

GROUPED_BY = ("partition_name", "backbone_name", "regime_name")
"""Keys of W&B's config for the words of a run's partition, backbone and regime."""

METHOD = "method"
"""Key for all three words, for panels that can group by only one key."""

_SECRET = re.compile(r"(^|_)(api_?key|password|passwd|secret|token|credentials?)(_|$)", re.IGNORECASE)


def words(config: Mapping[str, Any], regime: RegimeFacts) -> dict[str, str]:
    """The keys of :data:`GROUPED_BY` and :data:`METHOD` for a composed config and its regime.

    A running run and a run that is read back get the same words, so that both are in one group.
    """
    partition = _kind(config, "partition")
    wanted = _regions(config.get("partition"))
    partition = "none" if partition == "whole" else partition if wanted is None else f"{partition} #{wanted}"
    name, partition = regime.words(config, partition)
    found = dict(zip(GROUPED_BY, (partition, _kind(config, "backbone"), name), strict=True))
    return {**found, METHOD: " · ".join(found.values())}


def _kind(config: Mapping[str, Any], group: str) -> str:
    """The class of a section in the spelling of the command line: ReluPE is relu_pe."""
    section = config.get(group)
    target = str(section.get("_target_", group)) if isinstance(section, Mapping) else group
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", target.rpartition(".")[2]).lower()


def _regions(partition: Any) -> Any:
    """The number of regions that the config asks for, or None."""
    if not isinstance(partition, Mapping):
        return None
    counts = partition.get("shape") or [partition.get("rows"), partition.get("cols")]
    if all(isinstance(count, int) for count in counts):
        return math.prod(counts)
    return partition.get("regions")


def shown_config(config: Mapping[str, Any], regime: RegimeFacts) -> dict[str, Any]:
    """The composed config for W&B, without keys that sound like secrets and with ``~`` for the home folder."""
    home = os.path.expanduser("~").rstrip(os.sep)
    return {**seen(_shown(config, home if os.path.isabs(home) else None)), **words(config, regime)}


def _shown(node: Any, home: str | None) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _shown(value, home) for key, value in node.items() if not _SECRET.search(str(key))}
    if isinstance(node, (list, tuple)):
        return [_shown(value, home) for value in node]
    if home is not None and isinstance(node, str) and (node == home or node.startswith(home + os.sep)):
        return "~" + node[len(home) :]
    return node


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, str | bool | int | float]]:
    """The leaves of a config under their dotted keys, for loggers that take no nested ones."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node if isinstance(node, (str, bool, int, float)) else str(node)
