"""From the composed configuration to the objects of a run: checks everything, makes everything.

Each group of the configuration names a class (``_target_``); its other keys are the class's arguments. The classes of
partinr are specs (:mod:`partinr.base.spec`), so making one checks types, ranges and unknown keys. What concerns several
groups is checked here. Nothing is loaded before all of it has passed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field

from partinr.backbones import Backbone
from partinr.base.errors import PartinrError
from partinr.base.later import load
from partinr.base.spec import READS, marked, spec
from partinr.coords import Frame
from partinr.engines import EngineName
from partinr.experiment.make import checked, make
from partinr.experiment.migrate import migrated
from partinr.experiment.names import plain, with_absolute_paths
from partinr.model.capacity import Capacity
from partinr.model.inr import MOST_OVERLAP
from partinr.partition import PartitionRule
from partinr.regimes.base import RegimeSettings
from partinr.runs.layout import START
from partinr.signals import SignalSet
from partinr.tracking import Logger
from partinr.training.clock import StopRule
from partinr.training.optimizer import Optimizer
from partinr.training.schedule import Schedule

GROUPS = ("data", "partition", "backbone", "regime", "optimizer", "schedule", "trainer", "callbacks", "logger")


@spec
class TrainerSettings:
    """Where and how precisely a run computes.

    Attributes:
        accelerator: Lightning's flag.
        precision: Lightning's flag, but for those that round the coordinates too: neighbours would become one.
        threads: of the CPU; None for what torch takes by itself, several devices each an equal part of it.
        devices: how many on each node. Each of several has a process of its own, which trains some of the regions.
        num_nodes: machines of a cluster that the run is spread over; several need ``hydra/launcher=submitit_slurm``.
        tf32: let CUDA's single-precision products round their factors to 10 bits (TF32): faster, and not without loss
            where frequencies are high. Elsewhere it changes nothing.
        cuda_graphs: on CUDA, record an optimiser step and replay it, where that can be done: not with
            ``regime.points_per_step``, not with 16-mixed or 64-true, with Adam, AdamW and SGD only.
    """

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    threads: Annotated[int, Field(ge=1)] | None = None
    devices: Annotated[int, Field(ge=1)] = 1
    num_nodes: Annotated[int, Field(ge=1)] = 1
    tf32: bool = False
    cuda_graphs: bool = False


@spec
class Root(StopRule):
    """The keys at the root of the configuration, but for the groups.

    Attributes:
        seed: of initialisation and sampling.
        ckpt_path: a checkpoint to go on from.
        init: the directory of a run with ``regime=meta``: the networks begin with what it has learned, and are the
            networks that it has learned it for.
        init_steps: the first so many steps are inner steps, with the learning rates that it has learned.
        capacity: how the parameters are shared out between regions.
        overlap: by so many samples the network of each region reaches beyond its borders, where it is blended with its
            neighbours; 0 for not at all.
        global_network: whether one more network sees the whole signal, and is added to those of the regions.
        engine: how the stack is evaluated.
        shard: how the work is spread over ``trainer.devices``: by whole regions.
        output_dir: where run directories are made.
        cache_dir: where label maps are kept, to be found again; None for nowhere.
        study: the name of a sweep's folder; None for its experiment's, or a label of what is asked for.
        debug: ``trace`` for tracebacks.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    ckpt_path: Annotated[str | None, READS] = None
    init: Annotated[str | None, READS] = None
    init_steps: Annotated[int, Field(ge=0)] = 0
    capacity: Capacity = "equal"
    overlap: Annotated[int, Field(ge=0, le=MOST_OVERLAP)] = 0
    global_network: bool = False
    engine: EngineName = "auto"
    shard: Literal["regions"] = "regions"
    output_dir: str = "outputs"
    cache_dir: str | None = None
    study: Annotated[str, Field(pattern=r"^[\w.+-]+$")] | None = None
    debug: Literal["trace"] | None = None

    def members(self, field: str, folder: Path, data: SignalSet) -> list[Path]:
        """The file of ``init`` that a run reads."""
        return [folder / START]


@spec
class Coords:
    """The group ``coords``.

    Attributes:
        frame: of the coordinates.
    """

    frame: Frame = "global"


@dataclasses.dataclass(frozen=True)
class Settings:
    """A checked configuration: one object a group.

    ``plain`` is the configuration itself, resolved, as a run directory keeps it: with absolute paths.
    """

    plain: dict[str, Any]
    root: Root
    coords: Coords
    data: SignalSet
    partition: PartitionRule
    backbone: Backbone
    regime: RegimeSettings
    optimizer: Optimizer
    schedule: Schedule
    trainer: TrainerSettings
    callbacks: dict[str, Any]
    logger: Logger

    @property
    def stop(self) -> StopRule:
        """When the run is over."""
        return StopRule(
            max_steps=self.root.max_steps, max_seconds=self.root.max_seconds, target_psnr=self.root.target_psnr
        )

    @property
    def name(self) -> str:
        """A short name for people."""
        return f"{self.data.title} {self.regime.name(self.partition.title)} {self.backbone.title}"


def read(config: DictConfig | Mapping[str, Any]) -> Settings:
    """Check a configuration and make its objects. Nothing is loaded.

    Args:
        config: as composed by Hydra, or as read back from a run directory.

    Raises:
        PartinrError: one line: a key that is missing, unknown, of a wrong type or out of range, or two that do not go
            together.
    """
    given = migrated(plain(config))
    root = {key: value for key, value in given.items() if key not in (*GROUPS, "coords", "sweep")}
    coords = {} if given.get("coords") is None else given["coords"]
    if not isinstance(coords, dict):
        raise PartinrError(f"coords={coords!r} is no configuration; set its keys, such as coords.frame=local")
    for group in GROUPS:
        if not isinstance(given.get(group), dict):
            raise PartinrError(
                f"{group}={given.get(group)!r} is no configuration; choose one by name, such as {group}=NAME"
            )
    settings = Settings(
        plain=with_absolute_paths(given),
        root=checked(Root, root, ""),
        coords=checked(Coords, coords, "coords"),
        data=make(given["data"], "data", SignalSet),
        partition=make(given["partition"], "partition", PartitionRule),
        backbone=make(given["backbone"], "backbone", Backbone),
        regime=make(given["regime"], "regime", RegimeSettings),
        optimizer=make(given["optimizer"], "optimizer", Optimizer),
        schedule=make(given["schedule"], "schedule", Schedule),
        trainer=make(given["trainer"], "trainer", TrainerSettings),
        callbacks={
            name: make(node, f"callbacks.{name}", load("lightning:Callback"))
            for name, node in given["callbacks"].items()
            if node is not None
        },
        logger=make(given["logger"], "logger", Logger),
    )
    for group in GROUPS:
        for name in marked(type(getattr(settings, group)), READS):
            settings.plain[group][name] = _absolute(settings.plain[group].get(name))
    settings.schedule.check(settings.stop)
    settings.regime.check(blended=bool(settings.root.overlap) or settings.root.global_network)
    return settings


def _absolute(value: Any) -> Any:
    """What a field that names files says, with absolute paths, so that its run can be resumed from any folder."""
    if isinstance(value, list):
        return [_absolute(each) for each in value]
    if isinstance(value, str) and os.path.exists(path := os.path.abspath(os.path.expanduser(value))):
        return path
    return value
