"""A short fit with equal widths, by whose error parameters are divided between regions (``capacity=error``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from partinr.model.capacity import PROBED, widths
from partinr.partition import Partition
from partinr.regimes.base import RunContext
from partinr.regimes.fit.module import FitModule
from partinr.signals.kind import SignalKind
from partinr.signals.observations import Observed
from partinr.training.clock import Clock, StopRule
from partinr.training.schedule import Constant
from partinr.training.trainer import make_trainer, run_fit

if TYPE_CHECKING:
    from partinr.regimes.fit.settings import FitSettings

FRACTION = 0.05
"""Length of a probe, as a fraction of the run."""

NEVER = 2**31
"""Steps between two evaluations of a probe, which needs only the last."""


@dataclass
class Probe:
    """The widths of the networks of a run by the error of a short fit, and what the fits cost.

    A fit has the settings of the run, a constant rate, and one device. Its networks are thrown away.

    Attributes:
        context: the configuration of the run.
        settings: settings of the regime.
        clock: the clocks of all fits together.
        macs: multiply-accumulates of their forward passes.
    """

    context: RunContext
    settings: FitSettings
    clock: Clock = field(default_factory=Clock)
    macs: int = 0

    def widths(self, name: str, partition: Partition, seen: Observed, kind: SignalKind | None) -> Sequence[int] | None:
        """The widths for a signal; None for equal ones, or if the capacity asks for no probe.

        A run that is resumed has those of its checkpoint.

        Args:
            name: name of the signal.
            partition: its partition.
            seen: the signal.
            kind: its kind.
        """
        context = self.context
        if context.capacity not in PROBED or name in context.widths:
            return context.widths.get(name)
        model = replace(context, capacity="equal").model(partition, seen.estimate, kind=kind)
        own = replace(self.settings, evaluate_every=NEVER, evaluate_at=[], freeze_at_psnr=None)
        module = FitModule(
            model,
            seen.estimate,
            settings=own,
            sampler=context.sampler,
            **{**context.training(), "stop": _shortened(context.stop), "schedule": Constant()},
        )
        accelerator = "gpu" if context.device_type == "cuda" else "cpu"
        run_fit(module, make_trainer(accelerator=accelerator, precision=context.precision))
        self.macs += module.macs
        self.clock.add(module.clock)
        (error,) = module.squared_errors()
        return widths(context.capacity, context.backbone, partition, seen.estimate, error)

    def charge(self, module: FitModule) -> None:
        """Let a run begin with the cost of its probes."""
        if self.macs:
            module.macs = self.macs
            module.clock.add(self.clock)
            self.context.begun["seconds"] = {**self.context.begun.get("seconds", {}), "probe": self.clock.training}


def _shortened(stop: StopRule) -> StopRule:
    """The end of a probe."""
    steps = None if stop.max_steps is None else max(1, round(FRACTION * stop.max_steps))
    seconds = None if stop.max_seconds is None else FRACTION * stop.max_seconds
    return replace(stop, max_steps=steps, max_seconds=seconds, target_psnr=None)
