"""Checks a composed configuration and makes the objects of a run from it.

Each group of the configuration names a class (``_target_``); its other keys are the class's arguments. partinr's
classes are specs (:mod:`partinr.base.spec`), so making one checks types, ranges and unknown keys. This module checks
settings across groups. Nothing is loaded before all checks have passed.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field

from partinr.backbones import Backbone, class_path
from partinr.base.errors import PartinrError
from partinr.base.later import load
from partinr.base.notes import print_note
from partinr.base.spec import READS, Unused, marked, spec
from partinr.coords import Frame, Layout, check_layout
from partinr.engines import EngineName
from partinr.experiment import names
from partinr.experiment.conf import conf_dir
from partinr.experiment.flags import check_flags
from partinr.experiment.loggers import make_loggers
from partinr.experiment.make import checked, make
from partinr.experiment.migrate import LATER, migrated, older
from partinr.experiment.names import plain, with_absolute_paths
from partinr.model.capacity import PROBED, Capacity
from partinr.model.coupling import GlobalNetwork
from partinr.model.inr import MOST_OVERLAP
from partinr.partition import PartitionRule
from partinr.regimes.base import RegimeSettings
from partinr.regimes.starts import Learned, Start
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import START
from partinr.samplers import Sampler
from partinr.signals import SignalSet
from partinr.signals.observations import Observation
from partinr.tracking import Logger
from partinr.training.clock import StopRule
from partinr.training.optimizer import Optimizer
from partinr.training.schedule import Schedule

GROUPS = (
    "data",
    "observe",
    "sampler",
    "partition",
    "backbone",
    "start",
    "regime",
    "optimizer",
    "schedule",
    "trainer",
    "callbacks",
    "logger",
)


@spec
class TrainerSettings:
    """Device and precision of a run.

    Attributes:
        accelerator: Lightning's flag.
        precision: Lightning's flag, except for those that also round coordinates, which would merge neighbouring
            samples.
        threads: number of CPU threads; None for torch's default, divided equally between several devices.
        devices: number of devices per node. Each of several devices has a process (see ``shard`` at the root).
        num_nodes: number of machines of a cluster; several need ``hydra/launcher=submitit_slurm``.
        tf32: whether single-precision products on CUDA may round their factors to 10 bits (TF32). This is faster but
            loses quality at high frequencies. It has no effect on other devices.
        cuda_graphs: on CUDA, record an optimiser step and replay it if possible. Not possible with
            ``regime.points_per_step``, 16-mixed, 64-true, and optimisers other than Adam, AdamW and SGD.
        profiler: Lightning's flag; the file ``fit-profile.txt`` in the run directory has the profile.
        deterministic: Lightning's flag: torch refuses operations whose result differs from run to run; ``warn`` to be
            warned of them.
        log_every_n_steps: Lightning's flag: steps between two values that callbacks log between evaluations.
    """

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    threads: Annotated[int, Field(ge=1)] | None = None
    devices: Annotated[int, Field(ge=1)] = 1
    num_nodes: Annotated[int, Field(ge=1)] = 1
    tf32: bool = False
    cuda_graphs: bool = False
    profiler: Literal["simple", "advanced"] | None = None
    deterministic: bool | Literal["warn"] = False
    log_every_n_steps: Annotated[int, Field(ge=1)] = 50

    def flags(self) -> dict[str, Any]:
        """The arguments of :func:`partinr.training.trainer.make_trainer`, except for the number of processes."""
        names = {field.name for field in dataclasses.fields(self)} - {"devices", "num_nodes"}
        return {name: getattr(self, name) for name in names}


@spec
class Root(StopRule):
    """The keys at the root of the configuration, without the groups.

    Attributes:
        seed: seed of initialisation and sampling.
        ckpt_path: checkpoint to continue from.
        init: directory of a run with ``regime=meta``: short for :class:`Learned <partinr.regimes.starts.Learned>`.
        init_steps: number of first steps that are inner steps with the learned rates, likewise.
        capacity: how parameters are divided between regions.
        overlap: number of samples that each region's network reaches beyond the region's border, where it is blended
            with its neighbours; 0 for no overlap.
        global_network: what the networks of a signal have in common: one more that covers the whole signal and is
            added to those of the regions (``add`` or true), the features of a global network in each layer
            (``layers``), or all layers but the last (``modulate``).
        engine: how the stack is evaluated.
        shard: what ``trainer.devices`` divide among each other: whole regions, or the samples of every region.
            ``auto`` takes regions if there are at least as many networks as devices and no two share samples, else
            samples.
        output_dir: folder for run directories.
        cache_dir: folder for cached label maps; None for no cache.
        study: name of a sweep's folder; None for the name of its experiment, or a label of the overrides.
        debug: ``trace`` for tracebacks.
    """

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    ckpt_path: Annotated[str | None, READS] = None
    init: Annotated[str | None, READS] = None
    init_steps: Annotated[int, Field(ge=0)] = 0
    capacity: Capacity = "equal"
    overlap: Annotated[int, Field(ge=0, le=MOST_OVERLAP)] = 0
    global_network: GlobalNetwork = False
    engine: EngineName = "auto"
    shard: Literal["auto", "regions", "samples"] = "auto"
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
        frame: frame of the coordinates.
        layout: ``public_code`` for a fault of the paper's public code; None for the right layout.
    """

    frame: Frame = "global"
    layout: Layout | None = None

    def __post_init__(self) -> None:
        """Check that the options go together.

        Raises:
            PartinrError: the layout does not go with the frame.
        """
        check_layout(self.layout, self.frame)


@dataclasses.dataclass(frozen=True)
class Settings:
    """A checked configuration: one object per group.

    ``plain`` is the resolved configuration with absolute paths, as a run directory stores it.
    """

    plain: dict[str, Any]
    root: Root
    coords: Coords
    data: SignalSet
    observe: Observation
    sampler: Sampler
    partition: PartitionRule
    backbone: Backbone
    start: Start
    regime: RegimeSettings
    optimizer: Optimizer
    schedule: Schedule
    trainer: TrainerSettings
    callbacks: dict[str, Any]
    logger: Logger

    @property
    def stop(self) -> StopRule:
        """The stop rule of the run."""
        return StopRule(**{field.name: getattr(self.root, field.name) for field in dataclasses.fields(StopRule)})

    @property
    def name(self) -> str:
        """A short readable name."""
        seen = "" if self.observe.sees_all else f"{self.observe.title} "
        return f"{self.data.title} {seen}{self.regime.name(self.partition.title)} {self.backbone.title}"

    def describe(self) -> dict[str, Any]:
        """The entry ``regime`` of ``run.json``, with what the observation adds."""
        own, added = self.regime.describe(), self.observe.describe()
        further: dict[str, Any] = {
            key: [*own.get(key, ()), *added[key]] for key in ("columns", "table") if key in added
        }
        return {**own, **added, **further}


def read(config: DictConfig | Mapping[str, Any]) -> Settings:
    """The checked settings of a configuration. Loads no data.

    Args:
        config: composed by Hydra, or read from a run directory.

    Raises:
        PartinrError: a key is missing, unknown, of the wrong type or out of range, or two keys contradict each other.
    """
    given = migrated(plain(config))
    root = {key: value for key, value in given.items() if key not in (*GROUPS, "coords", "sweep")}
    for key in set(root) - {field.name for field in dataclasses.fields(Root)}:
        if (conf_dir() / key).is_dir():  # a group such as experiment or local, whose files set keys of the root
            raise PartinrError(f"the keys of a YAML of {key}/ stand under {key}; begin it with: # @package _global_")
    coords = {} if given.get("coords") is None else given["coords"]
    if not isinstance(coords, dict):
        raise PartinrError(f"coords={coords!r} is no configuration; set its keys, such as coords.frame=local")
    for group in GROUPS:
        if not isinstance(given.get(group), dict):
            raise PartinrError(
                f"{group}={given.get(group)!r} is no configuration; choose one by name, such as {group}=NAME"
            )
    check_flags(given["trainer"])
    settings = Settings(
        plain=with_absolute_paths(given),
        root=checked(Root, root, ""),
        coords=checked(Coords, coords, "coords"),
        data=make(given["data"], "data", SignalSet),
        observe=make(given["observe"], "observe", Observation),
        sampler=make(given["sampler"], "sampler", Sampler),
        partition=make(given["partition"], "partition", PartitionRule),
        backbone=make(given["backbone"], "backbone", Backbone),
        start=_start(given),
        regime=make(given["regime"], "regime", RegimeSettings),
        optimizer=make(given["optimizer"], "optimizer", Optimizer),
        schedule=make(given["schedule"], "schedule", Schedule),
        trainer=make(given["trainer"], "trainer", TrainerSettings),
        callbacks={
            name: make(node, f"callbacks.{name}", load("lightning:Callback"))
            for name, node in given["callbacks"].items()
            if node is not None
        },
        logger=make_loggers(given["logger"]),
    )
    for group in GROUPS:
        for name in marked(type(getattr(settings, group)), READS):
            settings.plain[group][name] = _absolute(settings.plain[group].get(name))
    settings.schedule.check(settings.stop)
    if settings.coords.layout not in (None, *settings.regime.layouts):
        raise PartinrError(f"coords.layout={settings.coords.layout} is for regime=fit; leave it out")
    if not (settings.start.random or isinstance(settings.start, Learned) or settings.regime.starts):
        raise PartinrError(f"start={settings.start.title} is for regime=fit; leave it out")
    if not (settings.observe.sees_all or settings.regime.observes):
        raise PartinrError(f"observe={settings.observe.title} is for regime=fit; leave it out")
    if settings.partition.gated and not settings.regime.gates:
        raise PartinrError(f"partition={settings.partition.title} is for regime=fit; choose another partition")
    if not (settings.sampler.plain or settings.regime.draws):
        raise PartinrError(f"sampler={settings.sampler.title} is for regime=fit; leave it out")
    if settings.partition.live is not None:
        _check_live(settings)
    if settings.root.capacity in PROBED and not (settings.regime.probes and settings.observe.sees_all):
        raise PartinrError(
            f"capacity={settings.root.capacity} goes by the error of a short fit of the signal itself, for regime=fit "
            "and observe=identity; choose capacity=balanced or equal"
        )
    settings.regime.check(blended=bool(settings.root.overlap or settings.root.global_network))
    return settings


def _check_live(settings: Settings) -> None:
    """Check that the other settings go with a partition that changes during training.

    Raises:
        PartinrError: the regime does not follow it, or the first regions would set what holds for all.
    """
    said = f"partition={settings.partition.title} changes during training"
    if not settings.regime.lives:
        raise PartinrError(f"{said}, which only regime=fit follows; choose partition=grid or octree")
    if settings.root.capacity != "equal":
        raise PartinrError(f"{said}, and all of its networks have one width; leave capacity=equal")
    if settings.root.global_network:
        raise PartinrError(f"{said}, and a global network would be divided with it; leave global_network=false")
    if settings.backbone.unsettled:
        key = f"backbone.{settings.backbone.frequency}"
        raise PartinrError(f"{said}, and {key}=auto follows from its regions; give a number")


def settings_for(cfg: DictConfig | Mapping[str, Any], overrides: Sequence[str]) -> Settings:
    """The checked settings of a new or queued run.

    Raises:
        PartinrError: the configuration is invalid.
    """
    return read(with_start(cfg, overrides))


def asked_settings(cfg: DictConfig, overrides: Sequence[str]) -> Settings:
    """The checked settings of a command.

    Raises:
        PartinrError: the configuration is invalid, or one override has no effect beside another.
    """
    settings = settings_for(cfg, overrides)
    for said, instead in older(names.plain(cfg)):
        print_note(f"{said} is {instead} from 0.4 on; {said} goes in 0.5")
    given = {key.lstrip("+"): each for each in overrides for key, _, value in [each.partition("=")] if value != "null"}
    for group in GROUPS:
        for name, other in Unused.of(type(getattr(settings, group))).items():
            # A choice that is given brings its own value.
            unused = given.get(f"{group}.{name}", given.get(group))
            if f"{group}.{other}" in given and unused and getattr(getattr(settings, group), name) is not None:
                raise PartinrError(f"{unused} has no effect beside {given[f'{group}.{other}']}; leave out one of them")
    return settings


def with_start(cfg: DictConfig | Mapping[str, Any], overrides: Sequence[str]) -> DictConfig | Mapping[str, Any]:
    """The configuration with the backbone that its start brings along and, unless another is given, its frame.

    Raises:
        PartinrError: the start does not exist, or another backbone is given.
    """
    plain = names.plain(cfg)
    start = _start(migrated(plain))
    if isinstance(start, Learned):
        folder = Path(start.run).expanduser()
        if not (folder / START).is_file():
            RunDirectory.open(folder)
            raise PartinrError(f"init={folder} has no {START}; give the directory of a completed run with regime=meta")
        # The short form is the one that a run keeps: reports know it.
        plain |= {"init": start.run, "init_steps": start.steps, "start": LATER["start"]}
    if (brought := start.brings()) is None:
        return cfg
    asked = [each for each in overrides if each.split("=")[0].lstrip("+~").split(".")[0] == "backbone"]
    if asked:
        what = f"init={plain['init']}" if plain.get("init") else f"start={start.title}"
        raise PartinrError(f"{what} brings along the backbone that it was learned for; leave out {' '.join(asked)}")
    backbone, frame = brought
    plain["backbone"] = {"_target_": class_path(backbone), **dataclasses.asdict(backbone)}
    if not any(each.startswith("coords.frame=") for each in overrides):
        plain["coords"] = {**(plain.get("coords") or {}), "frame": frame}
    return plain


def _start(given: Mapping[str, Any]) -> Start:
    """The start of the group, or the one that ``init`` is short for.

    Raises:
        PartinrError: both are given, or steps without a start.
    """
    start: Start = make(given["start"], "start", Start)
    run, steps = given.get("init"), given.get("init_steps") or 0
    if run is None:
        if steps and start.random:
            raise PartinrError(
                f"init_steps={steps} are steps with the learning rates of an initialisation, but there is no init; "
                "leave one of the two out"
            )
        return start
    if not start.random:
        raise PartinrError(f"init={run} is short for start=learned, and start={start.title} is given; leave one out")
    learned: Start = checked(Learned, {"run": str(run), "steps": steps}, "start")
    return learned


def _absolute(value: Any) -> Any:
    """What a field that names files says, with absolute paths, so that its run can be resumed from any folder."""
    if isinstance(value, list):
        return [_absolute(each) for each in value]
    if isinstance(value, str) and os.path.exists(path := os.path.abspath(os.path.expanduser(value))):
        return path
    return value
