"""From the composed configuration to the objects of a run: checks everything, makes everything.

Each group of the configuration names a class (``_target_``); its other keys are the class's arguments. The classes of
partinr are specs (:mod:`partinr.base.spec`), so making one checks types, ranges and unknown keys. What concerns several
groups is checked here. Nothing is loaded before all of it has passed.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import hashlib
import importlib
import inspect
import os
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, cast

import pydantic
from hydra.core.hydra_config import HydraConfig
from lightning import Callback
from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from partinr.backbones import Backbone
from partinr.base.errors import PartinrError
from partinr.base.spec import describe, spec
from partinr.coords import Frame
from partinr.engines import Engine
from partinr.model.capacity import Capacity
from partinr.model.inr import MOST_OVERLAP
from partinr.partition import PartitionRule
from partinr.tracking import Logger
from partinr.training.clock import StopRule

GROUPS = ("data", "partition", "backbone", "regime", "optimizer", "schedule", "trainer", "callbacks", "logger")

_PATHS = (
    ("", "ckpt_path"),
    ("", "init"),
    ("data", "path"),
    ("data", "val_path"),
    ("data", "val_list"),
    ("partition", "path"),
    ("partition", "checkpoint"),
)
"""Keys that name files or folders, with the group that they are in."""

_FOLDERS_OR_NAMES = (("partition", "model"),)
"""Keys that name a folder if there is one, and else something that is found elsewhere."""


NOT_IDENTITY = ("output_dir", "cache_dir", "ckpt_path", "callbacks", "debug", "logger", "study", "sweep")
"""What says where a run is kept or how it is shown, and nothing of what it is."""

_OF_OLD = {"_target_": "partinr.tracking.CurveOnly"}
"""The logger of runs that began before there was a choice; they can be resumed."""


def register_resolvers() -> None:
    """Make ``${partinr.token:}``, ``${partinr.label:…}`` and ``${partinr.experiment:STUDY}`` known, with a new token.

    The token is one for all parts of one start, so that they agree on it; unlike the clock alone it is never shared.
    """
    token = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(3)}"
    OmegaConf.register_new_resolver("partinr.token", lambda: token, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("partinr.label", folder_label, replace=True)
    OmegaConf.register_new_resolver("partinr.experiment", experiment, replace=True)


def experiment(study: str | None = None) -> str | None:
    """The name of a study: what it is called, or the experiment; None without one, and outside of Hydra's jobs."""
    if study is not None or not HydraConfig.initialized():
        return study
    choices = HydraConfig.get().runtime.choices
    return sized(choices["experiment"], choices.get("size")) if choices.get("experiment") else None


def sized(experiment: str, size: str | None) -> str:
    """The name of an experiment at a size: a small study and the full one are two."""
    return experiment if size in (None, "full") else f"{experiment}_{size}"


def folder_label(overrides: str, limit: int = 80) -> str:
    """What was asked for, as part of the name of a folder: safe in any file system, never too long."""
    label = safe_name(overrides)
    if len(label) > limit:
        label = f"{label[: limit - 9]}-{short_hash(overrides)}"
    return label


def safe_name(overrides: str) -> str:
    """Overrides as a name that is safe in any file system."""
    # Neither "=" nor ",": the path of a run must stand in an override (ckpt_path=…) without quotes.
    return re.sub(r"[^\w.+-]+", "-", overrides.replace(",", "_")).strip("-._") or "default"


def short_hash(text: str) -> str:
    """Eight hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def identity(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration without what says where its run is kept or how it is shown, with absolute paths."""
    return {key: value for key, value in _with_absolute_paths(dict(plain)).items() if key not in NOT_IDENTITY}


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
            ``regime.points_per_step`` or ``engine=tcnn``, not with 16-mixed or 64-true, with Adam, AdamW and SGD only.
    """

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    threads: Annotated[int, Field(ge=1)] | None = None
    devices: Annotated[int, Field(ge=1)] = 1
    num_nodes: Annotated[int, Field(ge=1)] = 1
    tf32: bool = False
    cuda_graphs: bool = True


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
    ckpt_path: str | None = None
    init: str | None = None
    init_steps: Annotated[int, Field(ge=0)] = 0
    capacity: Capacity = "equal"
    overlap: Annotated[int, Field(ge=0, le=MOST_OVERLAP)] = 0
    global_network: bool = False
    engine: Engine = "auto"
    shard: Literal["regions"] = "regions"
    output_dir: str = "outputs"
    cache_dir: str | None = None
    study: Annotated[str, Field(pattern=r"^[\w.+-]+$")] | None = None
    debug: Literal["trace"] | None = None


@spec
class Coords:
    """The group ``coords``.

    Attributes:
        frame: of the coordinates.
    """

    frame: Frame = "global"


@spec
class SweepRules:
    """The group ``sweep``: what a sweep does with runs that are there already. Completed ones are kept.

    Attributes:
        retry: also try those again that failed: ``failed``.
        redo: make completed runs again: those of another version of partinr, or all. What was there is moved to
            ``.superseded``.
    """

    retry: Literal["failed"] | None = None
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


@dataclasses.dataclass(frozen=True)
class Settings:
    """A checked configuration: one object a group.

    ``plain`` is the configuration itself, resolved, as a run directory keeps it: with absolute paths.
    """

    plain: dict[str, Any]
    root: Root
    coords: Coords
    data: Any
    partition: PartitionRule
    backbone: Backbone
    regime: Any
    optimizer: Any
    schedule: Any
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
        from partinr.regimes import MetaSettings

        partition = self.partition.title
        if isinstance(self.regime, MetaSettings):
            where = {"both": partition, "test": f"{partition} in test", "neither": "none"}[self.regime.partition_in]
            partition = f"{self.regime.algorithm} {where}"
        return f"{self.data.title} {partition} {self.backbone.title}"


def read(config: DictConfig | Mapping[str, Any]) -> Settings:
    """Check a configuration and make its objects. Nothing is loaded.

    Args:
        config: as composed by Hydra, or as read back from a run directory.

    Raises:
        PartinrError: one line: a key that is missing, unknown, of a wrong type or out of range, or two that do not go
            together.
    """
    from partinr.regimes import FitSettings, MetaSettings, Optimizer, Schedule, ThresholdSettings
    from partinr.signals import ImageData, SignalSet

    given = {"logger": _OF_OLD, **plain(config)}
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
        plain=_with_absolute_paths(given),
        root=checked(Root, root, ""),
        coords=checked(Coords, coords, "coords"),
        data=make(given["data"], "data", ImageData, SignalSet),
        partition=make(given["partition"], "partition", PartitionRule),
        backbone=make(given["backbone"], "backbone", Backbone),
        regime=make(given["regime"], "regime", FitSettings, MetaSettings, ThresholdSettings),
        optimizer=make(given["optimizer"], "optimizer", Optimizer),
        schedule=make(given["schedule"], "schedule", Schedule),
        trainer=make(given["trainer"], "trainer", TrainerSettings),
        callbacks={
            name: make(node, f"callbacks.{name}", Callback)
            for name, node in given["callbacks"].items()
            if node is not None
        },
        logger=make(given["logger"], "logger", Logger),
    )
    settings.schedule.check(settings.stop)
    if (settings.root.overlap or settings.root.global_network) and not isinstance(settings.regime, FitSettings):
        raise PartinrError(
            "overlap and global_network are for regime=fit, where networks are trained together; "
            "give overlap=0 and global_network=false"
        )
    return settings


def make(node: Any, key: str, *kinds: type) -> Any:
    """The object that a node of the configuration describes.

    Args:
        node: a dictionary with the dotted path of a class as ``_target_`` and its arguments.
        key: where the node is, for messages.
        kinds: what the class must be, one of these; of any kind where there is none.

    Raises:
        PartinrError: no such class, not of that kind, or arguments that it refuses.
    """
    if not isinstance(node, dict) or "_target_" not in node:
        raise PartinrError(f"{key} needs a _target_, the dotted path of a class")
    cls = _class(node["_target_"], key)
    if kinds and not issubclass(cls, kinds):
        raise PartinrError(
            f"{key}._target_={node['_target_']} is no {' or '.join(kind.__name__ for kind in kinds)}; "
            f"derive the class from {' or '.join(f'{kind.__module__}.{kind.__name__}' for kind in kinds)}"
        )
    return checked(cls, {name: value for name, value in node.items() if name != "_target_"}, key)


def _class(target: Any, key: str) -> type:
    module, _, attribute = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # the module may be anybody's, and raise whatever it likes
        name = "" if isinstance(error, (ImportError, AttributeError)) else f"{type(error).__name__}: "
        raise PartinrError(
            f"{key}._target_={target!r} cannot be imported: {name}{' '.join(str(error).split())}; "
            "give MODULE.CLASS, the module on PYTHONPATH or installed"
        ) from error
    if not isinstance(found, type):
        raise PartinrError(f"{key}._target_={target!r} is no class; give the dotted path of one")
    return found


def checked(cls: type, arguments: dict[str, Any], key: str) -> Any:
    """Make an object, and let its complaints name the keys as the user knows them.

    Raises:
        PartinrError: an unknown option, or a value that is refused.
    """
    accepted = inspect.signature(cls).parameters
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    for name in arguments:
        if name not in accepted and not free:
            near = difflib.get_close_matches(name, accepted, n=1)
            known = f"there are: {', '.join(accepted)}" if accepted else f"{cls.__name__} has no options"
            hint = f"did you mean {_dotted(key, near[0])}?" if near else known
            raise PartinrError(f"unknown option {_dotted(key, name)}; {hint}")
    try:
        return cls(**arguments)
    except PartinrError as error:
        if isinstance(error.__cause__, pydantic.ValidationError):
            raise PartinrError(describe(key, error.__cause__)) from error.__cause__
        raise
    except (TypeError, ValueError) as error:
        raise PartinrError(f"{key}: {' '.join(str(error).split())}") from error


def _with_absolute_paths(plain: dict[str, Any]) -> dict[str, Any]:
    """Files as they are found from anywhere, so that a run can be resumed from another folder than it began in."""
    plain = copy.deepcopy(plain)
    for group, key in _PATHS + _FOLDERS_OR_NAMES:
        node = plain[group] if group else plain
        if isinstance(node.get(key), str):
            path = os.path.abspath(os.path.expanduser(node[key]))
            if (group, key) in _PATHS or os.path.isdir(path):
                node[key] = path
    return plain


def _dotted(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def plain(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """A configuration as plain containers, resolved."""
    if not isinstance(config, DictConfig):
        return dict(config)
    found = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}
