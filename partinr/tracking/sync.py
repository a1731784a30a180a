"""A whole W&B run made anew from a run directory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from partinr.base.errors import PartinrError
from partinr.runs.directory import RunDirectory
from partinr.tracking.callback import about, limits
from partinr.tracking.logger import Wandb
from partinr.tracking.mirror import Mirror, exit_code


@dataclass(frozen=True)
class Rebuilt:
    """What was made.

    Attributes:
        rows: of the curve.
        where: the address of the W&B run, or the folder of an offline one.
    """

    rows: int
    where: str


def settings_of(config: Mapping[str, Any], **instead: Any) -> Wandb:
    """The logger's settings that a run was started with, and those of ``logger=wandb`` where it had another logger.

    Args:
        config: the composed configuration of the run.
        **instead: settings that are given now; None leaves what there is.

    Raises:
        PartinrError: a setting is out of range.
    """
    known = {field.name for field in dataclasses.fields(Wandb)}
    kept = config.get("logger")
    found = {key: value for key, value in kept.items() if key in known} if isinstance(kept, Mapping) else {}
    return Wandb(**{**found, **{key: value for key, value in instead.items() if value is not None}})


def rebuild(run: RunDirectory, settings: Wandb, mode: Literal["online", "offline"]) -> Rebuilt:
    """Make the W&B run of a run directory from ``run.json``, ``curve.csv`` and the pictures.

    It has the id that the run has had on W&B from the start, so what the server has of it is replaced: one run, without
    gaps and repetitions, however often it was stopped and resumed and whatever of it was offline.

    Args:
        run: not a running one.
        settings: as :func:`settings_of` gives them.
        mode: ``offline`` for a W&B run that only lies in the run directory.

    Raises:
        PartinrError: the run goes on or is damaged, there is no login, or the server does not answer.
    """
    manifest, curve, config = run.manifest(), run.curve(), run.config()
    if run.alive:
        raise PartinrError(f"{run.path} is still running; sync it when it is over")
    name = str(manifest.get("name") or run.path.name)
    seed = manifest.get("seed", config.get("seed"))
    mirror = Mirror.open(run, about(settings, config, name, seed), limits(settings), mode, go_on=False)
    try:
        mirror.rows(curve)
    except BaseException:
        mirror.abandon(1)
        raise
    try:
        mirror.close(exit_code(manifest))
    except TimeoutError as error:
        raise PartinrError(
            f"W&B did not take all of {run.path} in {settings.finish_timeout:g} seconds; give --timeout more"
        ) from error
    return Rebuilt(len(curve), mirror.url or str(mirror.folder))
