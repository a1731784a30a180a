"""Makes a whole W&B run from a run directory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from partinr.base.errors import PartinrError
from partinr.runs.directory import RunDirectory
from partinr.tracking.environment import node_of
from partinr.tracking.logger import Wandb
from partinr.tracking.mirror import Mirror
from partinr.tracking.summary import exit_code


@dataclass(frozen=True)
class Rebuilt:
    """The result of :func:`rebuild`.

    Attributes:
        rows: number of rows of the curve.
        where: address of the W&B run, or folder of an offline one.
    """

    rows: int
    where: str


def settings_of(config: Mapping[str, Any], **instead: Any) -> Wandb:
    """The W&B settings of a run, or the defaults of ``logger=wandb`` if it had another logger.

    Args:
        config: the composed configuration of the run.
        **instead: settings to use; None keeps the run's setting.

    Raises:
        PartinrError: a setting is out of range.
    """
    _, node = node_of(config)
    known = {field.name for field in dataclasses.fields(Wandb)}
    found = {key: value for key, value in node.items() if key in known}
    given = {key: value for key, value in instead.items() if value is not None}
    if "group" in given:
        found.pop("study", None)  # the older name
    return Wandb(**{**found, **given})


def rebuild(run: RunDirectory, settings: Wandb, mode: Literal["online", "offline"]) -> Rebuilt:
    """Make the W&B run of a run directory from ``run.json``, ``curve.csv`` and the pictures.

    The W&B run keeps its id, and the server's data is replaced. The result is one run without gaps or repetitions, even
    if the run was resumed or partly offline.

    Args:
        run: a run that is not in progress.
        settings: from :func:`settings_of`.
        mode: ``offline`` makes the W&B run in the run directory only.

    Raises:
        PartinrError: the run is in progress or damaged, there is no login, or the server does not answer.
    """
    manifest, curve, config = run.manifest(), run.curve(), run.config()
    if run.alive:
        raise PartinrError(f"{run.path} is still running; sync it when it is over")
    name = str(manifest.get("name") or run.path.name)
    seed = manifest.get("seed", config.get("seed"))
    mirror = Mirror.open(run, settings, f"{name}, seed {seed}", config, mode, go_on=False)
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
