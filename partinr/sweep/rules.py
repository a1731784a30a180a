"""The group ``sweep``: what a sweep does with existing runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.experiment.make import checked


@spec
class SweepRules:
    """The group ``sweep``: what a sweep does with existing runs. Completed runs are kept by default.

    Attributes:
        retry: ``failed`` to also retry failed runs.
        changed: what to do with a run that has begun and whose files or code have changed since: repeat it (``redo``;
            the old run moves to ``.superseded``), ``keep`` it, or ``refuse``.
        redo: repeat completed runs, either those of another version of partinr or all. The old runs move to
            ``.superseded``.
    """

    retry: Literal["failed"] | None = None
    changed: Literal["redo", "keep", "refuse"] = "redo"
    redo: Literal["other_version", "all"] | None = None


def sweep_rules(config: Mapping[str, Any]) -> SweepRules:
    """The checked group ``sweep`` of a configuration.

    Raises:
        PartinrError: a key or value is unknown.
    """
    node = config.get("sweep")
    if not isinstance(node, Mapping):
        raise PartinrError(f"sweep={node!r} is no configuration; set its keys, such as sweep.retry=failed")
    return cast(SweepRules, checked(SweepRules, {str(key): value for key, value in node.items()}, "sweep"))
