"""The contract of a regime: its settings make the LightningModule of a run."""

from __future__ import annotations

import os
from abc import ABC
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from partinr.backbones import Backbone
from partinr.base.errors import PartinrError
from partinr.base.later import load
from partinr.base.spec import spec
from partinr.coords import Frame, Layout
from partinr.model.capacity import PROBED, Capacity, settle_regions, widths
from partinr.model.coupling import GlobalNetwork
from partinr.model.frequency import advice_on_frequency, settle_frequency
from partinr.model.inherit import begin_fine
from partinr.model.inr import PiecewiseINR
from partinr.partition import Gate, LabelCache, Live, Partition, PartitionRule, make
from partinr.regimes.starts.base import Start
from partinr.samplers import Sampler, Uniform
from partinr.signals import Item, SignalSet, Source
from partinr.signals.identity import Reading
from partinr.signals.kind import SignalKind
from partinr.signals.kinds import default_kind
from partinr.signals.observations import Identity, Observation
from partinr.training.clock import StopRule
from partinr.training.schedule import Schedule

if TYPE_CHECKING:
    from partinr.training.loop import TrainingLoop


@dataclass(frozen=True)
class RunContext:
    """The checked configuration of a run, from which a regime builds its module.

    Attributes:
        data: the signals; one signal is a set of one.
        partition: the rule.
        backbone: the architecture of each network.
        optimizer: settings of the optimiser.
        schedule: schedule of the learning rate.
        stop: when the run ends.
        frame: frame of the coordinates.
        layout: layout of the coordinates; None for the right one.
        seed: seed of initialisation and sampling.
        capacity: how parameters are divided between regions.
        overlap: number of samples that each region's network reaches beyond the region's border.
        global_network: what the networks of a signal have in common.
        engine: how the stack is evaluated.
        start: how the networks begin.
        continued: whether the run continues from a checkpoint, which has the weights.
        cache_dir: folder for label maps and results of gradient checks; None to keep none.
        device_type: ``cpu`` or ``cuda``.
        devices: number of processes on each machine.
        precision: Lightning's precision flag.
        plain: the configuration as plain containers.
        note: prints one line for the user.
        made: partitions of the checkpoint to continue from, by name of the signal.
        observe: what the loss sees of the signals.
        widths: widths of the networks in the checkpoint to continue from, by name of the signal.
        sampler: which samples the steps see.
        begun: facts about how the run begins, as entries of ``run.json``; filled while the module is built.
    """

    data: SignalSet
    partition: PartitionRule
    backbone: Backbone
    optimizer: Any
    schedule: Schedule
    stop: StopRule
    frame: Frame
    layout: Layout | None
    seed: int
    capacity: Capacity
    overlap: int
    global_network: GlobalNetwork
    engine: Any
    start: Start
    continued: bool
    cache_dir: Path | None
    device_type: str
    devices: int
    precision: str
    plain: Mapping[str, Any]
    note: Callable[[str], None]
    made: Mapping[str, Partition]
    observe: Observation = field(default_factory=Identity)
    widths: Mapping[str, Sequence[int] | None] = field(default_factory=dict)
    sampler: Sampler = field(default_factory=Uniform)
    begun: dict[str, Any] = field(default_factory=dict)

    @property
    def cache(self) -> LabelCache | None:
        """The cache of label maps."""
        return LabelCache.at(self.cache_dir)

    def read(self, item: Item) -> Reading:
        """The signal of an item, its identity and its kind; prints the notice that the signal carries.

        Raises:
            PartinrError: the signal cannot be read.
        """
        reading = item.read()
        if reading.identity.notice is not None:
            self.note(f"{item.name or self.data.title}: {reading.identity.notice}")
        return reading if reading.kind else reading._replace(kind=default_kind(reading.values.ndim - 1))

    def cut(self, label: str, signal: Tensor, source: Source | None) -> Partition:
        """The partition of a signal, from the cache if possible. Prints the partition's notices.

        Raises:
            PartinrError: the rule cannot cut the signal.
        """
        rule = self._settled(signal)
        made = self.made.get("" if self.data.alone else label) if self._follows else None
        if made is not None and made.shape == tuple(signal.shape[:-1]):
            # On another machine a rule may cut a signal otherwise, whose values differ in the last bits. A live
            # partition has changed.
            partition = rule.check(replace(made, free=rule.free))
        else:
            partition = make(rule, signal, source, self.cache)
        if partition.notice is not None:
            self.note(f"{label}: {partition.notice}")
        return partition

    def settled(self, signals: Sequence[Tensor], partitions: Sequence[Partition]) -> RunContext:
        """This context with a number for a frequency that is ``auto``, which :attr:`begun` has as ``settled``.

        Prints the number, or advice where a given one is far below the frequencies of the signal.

        Args:
            signals: float32 ``[*grid, C]`` each: all signals of the run, as far as the loss sees them.
            partitions: partition of each.
        """
        if not self.backbone.unsettled:
            advice = advice_on_frequency(self.backbone, signals, partitions, self.frame)
            if advice is not None:
                self.note(f"{self.data.title}: {advice}")
            return self
        backbone = settle_frequency(self.backbone, signals, partitions, self.frame)
        key = f"backbone.{backbone.frequency}"
        value = getattr(backbone, str(backbone.frequency))
        self.begun["settled"] = {key: value}
        self.note(f"{self.data.title}: {key}=auto is {value:g}")
        return replace(self, backbone=backbone)

    @property
    def rule(self) -> dict[str, Any]:
        """The settings of a rule that follows the signal; empty for others, which are known by their label maps."""
        return {"partition": without_places(self.plain["partition"])} if self._follows else {}

    @property
    def _follows(self) -> bool:
        """Whether label maps follow from more than options, and a checkpoint has the right ones."""
        return self.partition.cached or self.partition.live is not None

    def _settled(self, signal: Tensor) -> PartitionRule:
        return settle_regions(self.partition, self.backbone, signal, self.device_type)

    def live(self, signal: Tensor) -> Live | None:
        """What happens to the partition of a signal during training; None for labels that stay."""
        return self._settled(signal).live

    def gate(self, partition: Partition) -> Gate | None:
        """What weighs the networks while it is trained with them; None if the regions stay.

        Raises:
            PartinrError: half precision would have to scale for the gate's own optimiser.
        """
        gate = self.partition.gate(partition)
        if gate is not None and self.precision == "16-mixed":
            raise PartinrError(
                f"partition={self.partition.title} has an optimiser of its own, which 16-mixed does not scale for; "
                "give trainer.precision=bf16-mixed"
            )
        return gate

    def model(
        self,
        partition: Partition,
        signal: Tensor,
        seed: int | None = None,
        kind: SignalKind | None = None,
        probed: Sequence[int] | None = None,
        beside: int = 0,
    ) -> PiecewiseINR:
        """A model with newly initialised networks for the regions of a signal.

        Args:
            partition: partition of the signal.
            signal: float32 ``[*grid, C]``.
            seed: seed of the initialisation; None for the seed of the run.
            kind: kind of the signal; None for the one that follows from its number of axes.
            probed: widths by a capacity that follows from a short fit; None for equal ones.
            beside: parameters of ``match_params`` that are not for networks.

        Raises:
            PartinrError: nothing of ``match_params`` is left for networks.
        """
        backbone, budget = self.backbone, self.backbone.match_params
        if beside and budget is not None and backbone.hidden_features is None:
            if budget <= beside:
                raise PartinrError(
                    f"backbone.match_params={budget} is too few: partition={self.partition.title} alone has {beside} "
                    "parameters; give more"
                )
            backbone = replace(backbone, match_params=budget - beside)
        if (live := self.live(signal)) is not None:
            backbone = backbone.sized(live.limit, len(partition.shape), signal.shape[-1])
        model = PiecewiseINR(
            partition,
            backbone,
            widths=probed if self.capacity in PROBED else widths(self.capacity, backbone, partition, signal),
            channels=signal.shape[-1],
            frame=self.frame,
            overlap=self.overlap,
            global_network=self.global_network,
            layout=self.layout,
            engine=self.engine,
            seed=self.seed if seed is None else seed,
            kind=None if kind in (None, default_kind(signal.ndim - 1)) else kind.plain(),
        )
        if live is not None:
            begin_fine(model, live.limit)
        return model

    def training(self) -> dict[str, Any]:
        """Arguments that every module takes: optimiser, schedule, stop rule, seed."""
        return {"optimizer": self.optimizer, "schedule": self.schedule, "stop": self.stop, "seed": self.seed}

    def check_all_fitted(self, regime: str) -> None:
        """Check that the data holds no signal out.

        Raises:
            PartinrError: the data holds signals out.
        """
        if held_out := len(self.data.val()):
            raise PartinrError(
                f"data holds {held_out} of its signals out, and {regime} fits all that it is given; "
                "hold none out: give data.val_items=0 for a generated set, or leave out data.val_path, val_list and "
                "val_fraction"
            )


def without_places(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those that say where files lie, which is not what they are."""
    return {key: value for key, value in settings.items() if not (isinstance(value, str) and os.path.isabs(value))}


@spec
class RegimeSettings(ABC):
    """The settings of a regime: a spec whose fields are the keys of the group ``regime``.

    A subclass sets :attr:`kind` and either sets :attr:`builder` or overrides :meth:`build`. Nothing else is needed: the
    loop, checkpoints, shards, run directories and reports use only the kind and the module. Mark a field with
    :data:`~partinr.base.spec.ASIDE` if it does not change the course of training.
    """

    kind: ClassVar[str]
    """A short, unique name, written to ``run.json`` and checkpoints."""

    builder: ClassVar[str]
    """``MODULE:FUNCTION`` that makes the module from settings and :class:`RunContext`; imported when a run begins."""

    blends: ClassVar[bool] = False
    """Whether the regime can train networks that share samples or parameters (``overlap``, ``global_network``)."""

    gates: ClassVar[bool] = False
    """Whether the regime can train the gate of a partition (:meth:`PartitionRule.gate
    <partinr.partition.PartitionRule.gate>`) with the networks."""

    observes: ClassVar[bool] = False
    """Whether the regime takes its loss through what the group ``observe`` lets it see."""

    probes: ClassVar[bool] = False
    """Whether the regime can divide parameters by the error of a short fit (``capacity=error``)."""

    draws: ClassVar[bool] = False
    """Whether the regime draws the samples of a step as the group ``sampler`` says."""

    starts: ClassVar[bool] = False
    """Whether the regime lets networks begin as the group ``start`` says."""

    lives: ClassVar[bool] = False
    """Whether the regime follows partitions that change during training."""

    layouts: ClassVar[tuple[Layout, ...]] = ()
    """The choices of ``coords.layout`` that the regime takes beside the right one."""

    def build(self, context: RunContext) -> TrainingLoop:
        """The module of a run. Reads the signals and makes partitions and models.

        Raises:
            PartinrError: settings contradict each other, or a signal cannot be read, partitioned or fitted.
        """
        module: TrainingLoop = load(self.builder)(self, context)
        return module

    def check(self, *, blended: bool) -> None:
        """Check the settings of other groups before anything is loaded.

        Args:
            blended: whether networks share samples or parameters.

        Raises:
            PartinrError: the regime does not support a setting.
        """
        if blended and not self.blends:
            raise PartinrError(
                "overlap and global_network are for regime=fit, where networks are trained together; "
                "give overlap=0 and global_network=false"
            )

    def name(self, partition: str) -> str:
        """The part of a run's name that stands for regime and partition."""
        return partition

    def describe(self) -> dict[str, Any]:
        """The regime's entry in ``run.json``, from which a report works without the regime's code."""
        return {"kind": self.kind}
