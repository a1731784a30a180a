"""The contract of a regime: its settings make the LightningModule of a run."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from partinr.backbones import Backbone
from partinr.base.errors import PartinrError
from partinr.base.later import load
from partinr.base.spec import spec
from partinr.coords import Frame
from partinr.model.capacity import Capacity, settle_regions, widths
from partinr.model.inr import PiecewiseINR
from partinr.partition import LabelCache, Partition, PartitionRule, make
from partinr.signals import SignalSet, Source
from partinr.training.clock import StopRule
from partinr.training.schedule import Schedule

if TYPE_CHECKING:
    from partinr.training.loop import TrainingLoop


@dataclass(frozen=True)
class RunContext:
    """Everything that a regime makes a module from: the checked configuration of a run.

    Attributes:
        data: the signals; one signal is a set of one.
        partition: the rule.
        backbone: of each network.
        optimizer: its settings.
        schedule: of the learning rate.
        stop: when the run is over.
        frame: of the coordinates.
        seed: of initialisation and sampling.
        capacity: how parameters are shared out between regions.
        overlap: samples by which each region's network reaches beyond its borders.
        global_network: whether one more network sees the whole signal.
        engine: how the stack is evaluated.
        start: the file of a learned initialisation; None for fresh networks.
        start_steps: first steps that are inner steps with the learning rates of ``start``.
        cache_dir: where label maps and checks of gradients are kept; None for nowhere.
        device_type: ``cpu`` or ``cuda``.
        devices: processes on each machine.
        precision: Lightning's flag.
        plain: the configuration as plain containers.
        note: says in one line what a user should know.
    """

    data: SignalSet
    partition: PartitionRule
    backbone: Backbone
    optimizer: Any
    schedule: Schedule
    stop: StopRule
    frame: Frame
    seed: int
    capacity: Capacity
    overlap: int
    global_network: bool
    engine: Any
    start: Path | None
    start_steps: int
    cache_dir: Path | None
    device_type: str
    devices: int
    precision: str
    plain: Mapping[str, Any]
    note: Callable[[str], None]

    @property
    def cache(self) -> LabelCache | None:
        """Where label maps are kept."""
        return LabelCache.at(self.cache_dir)

    def cut(self, label: str, signal: Tensor, source: Source | None) -> Partition:
        """The partition of a signal, made or found in the cache; notes what is to be noticed of it.

        Raises:
            PartinrError: the rule cannot cut the signal.
        """
        rule = settle_regions(self.partition, self.backbone, signal, self.device_type)
        partition = make(rule, signal, source, self.cache)
        if partition.notice is not None:
            self.note(f"{label}: {partition.notice}")
        return partition

    def model(self, partition: Partition, signal: Tensor, seed: int | None = None) -> PiecewiseINR:
        """Fresh networks for the regions of a signal.

        Args:
            partition: of the signal.
            signal: float32 ``[*grid, C]``.
            seed: of the initialisation; None for that of the run.
        """
        return PiecewiseINR(
            partition,
            self.backbone,
            widths=widths(self.capacity, self.backbone, partition, signal),
            channels=signal.shape[-1],
            frame=self.frame,
            overlap=self.overlap,
            global_network=self.global_network,
            engine=self.engine,
            seed=self.seed if seed is None else seed,
        )

    def training(self) -> dict[str, Any]:
        """The arguments that every module takes: optimiser, schedule, stop rule, seed."""
        return {"optimizer": self.optimizer, "schedule": self.schedule, "stop": self.stop, "seed": self.seed}

    def check_all_fitted(self, regime: str) -> None:
        """Check that a set holds nothing out.

        Raises:
            PartinrError: it does.
        """
        if held_out := len(self.data.val()):
            raise PartinrError(
                f"data holds {held_out} of its signals out, and {regime} fits all that it is given; "
                "hold none out: leave data.val_… out, or set it to null or 0"
            )


@spec
class RegimeSettings(ABC):
    """The settings of a regime: a spec whose fields are the keys of the group ``regime``.

    A subclass names its :attr:`kind` and either says where its builder is or overrides :meth:`build`. That is all: the
    loop, checkpoints, shards, run directories and reports know a regime by its kind and by what its module gives.
    A field that leaves the course of a training as it is has the mark :data:`~partinr.base.spec.ASIDE`.
    """

    kind: ClassVar[str]
    """A short name, in ``run.json`` and in checkpoints; no two regimes have the same."""

    builder: ClassVar[str]
    """``MODULE:FUNCTION``: makes the module from the settings and a :class:`RunContext`; imported when a run begins."""

    blends: ClassVar[bool] = False
    """Whether networks that share samples (``overlap``, ``global_network``) can be trained."""

    def build(self, context: RunContext) -> TrainingLoop:
        """Make the module of a run: signals are read, partitions and models made.

        Raises:
            PartinrError: settings do not go together, or a signal cannot be read, cut or fitted.
        """
        module: TrainingLoop = load(self.builder)(self, context)
        return module

    def check(self, *, blended: bool) -> None:
        """Check what other groups of the configuration ask for, before anything is loaded.

        Args:
            blended: whether networks are to share samples.

        Raises:
            PartinrError: the regime cannot do it.
        """
        if blended and not self.blends:
            raise PartinrError(
                "overlap and global_network are for regime=fit, where networks are trained together; "
                "give overlap=0 and global_network=false"
            )

    def name(self, partition: str) -> str:
        """What stands for regime and partition in the name of a run."""
        return partition

    def describe(self) -> dict[str, Any]:
        """What ``run.json`` says of the regime, so that a report works without its code."""
        return {"kind": self.kind}
