"""The group ``sweep``: what a sweep does with runs that are there already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.experiment.make import checked


@spec
class SweepRules:
    """The group ``sweep``: what a sweep does with runs that are there already. Completed ones are kept.

    Attributes:
        retry: also try those again that failed: ``failed``.
        changed: what to do with a run that has begun where a file or code that it reads has changed since: make it
            again (``redo``), keep it, or refuse. ``redo`` moves what was there to ``.superseded``.
        redo: make completed runs again: those of another version of partinr, or all. What was there is moved to
            ``.superseded``.
    """

    retry: Literal["failed"] | None = None
    changed: Literal["redo", "keep", "refuse"] = "redo"
    redo: Literal["other_version", "all"] | None = None


def sweep_rules(config: Mapping[str, Any]) -> SweepRules:
    """The checked group ``sweep`` of a configuration.

    Raises:
        PartinrError: an unknown key or value.
    """
    node = config.get("sweep")
    if not isinstance(node, Mapping):
        raise PartinrError(f"sweep={node!r} is no configuration; set its keys, such as sweep.retry=failed")
    return cast(SweepRules, checked(SweepRules, {str(key): value for key, value in node.items()}, "sweep"))
