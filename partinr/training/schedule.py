"""Learning-rate schedules, step by step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import Field
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.training.clock import StopRule

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]


@spec
class Schedule(ABC):
    """How the learning rate moves. A subclass is a spec and writes :meth:`build`.

    Attributes:
        warmup_steps: the rate rises linearly to its full value over so many steps first; 0 for none.
    """

    warmup_steps: Count = 0

    @abstractmethod
    def build(self, optimizer: torch.optim.Optimizer, stop: StopRule, elapsed: Callable[[], float]) -> LRScheduler:
        """Make torch's scheduler, to be stepped after every optimiser step.

        A ``ReduceLROnPlateau`` is stepped after every evaluation instead, with its PSNR.

        Args:
            optimizer: whose rates it moves.
            stop: when the run is over.
            elapsed: the seconds of training so far.
        """

    def check(self, stop: StopRule) -> None:
        """Refuse, before anything is loaded, a run that this schedule does not fit.

        Raises:
            PartinrError: the warm-up does not fit before its end.
        """
        if stop.max_steps is not None and self.warmup_steps >= stop.max_steps:
            raise PartinrError(
                f"schedule.warmup_steps={self.warmup_steps} leaves nothing of max_steps={stop.max_steps}; "
                "give a shorter warm-up"
            )

    def _warmed(self, step: int) -> float:
        return min(1.0, (step + 1) / (self.warmup_steps + 1))


@spec
class Constant(Schedule):
    """The same rate throughout."""

    def build(self, optimizer: torch.optim.Optimizer, stop: StopRule, elapsed: Callable[[], float]) -> LRScheduler:
        """See :meth:`Schedule.build`."""
        return LambdaLR(optimizer, self._warmed)


@spec
class WarmUp(Constant):
    """A linear rise, then the same rate throughout.

    Attributes:
        warmup_steps: length of the rise.
    """

    warmup_steps: Count = 100


@spec
class Cosine(Schedule):
    """Half a cosine from the full rate to ``final`` times it at the end (Loshchilov & Hutter 2017, eq. 5).

    The end is at ``max_steps``. Without these it is at ``max_seconds`` of training: a run then uses its time whatever
    the pace, but its rates, and with them its curve, depend on the clock.

    Attributes:
        final: what is left of the rate at the end, 0 … 1.
    """

    final: Fraction = 0.0

    def build(self, optimizer: torch.optim.Optimizer, stop: StopRule, elapsed: Callable[[], float]) -> LRScheduler:
        """See :meth:`Schedule.build`."""
        self.check(stop)

        def factor(step: int) -> float:
            if stop.max_steps is not None:
                progress = max(0, step - self.warmup_steps) / (stop.max_steps - self.warmup_steps)
            else:
                assert stop.max_seconds is not None  # or StopRule would have refused
                progress = elapsed() / stop.max_seconds
            return self._warmed(step) * (
                self.final + (1 - self.final) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
            )

        return LambdaLR(optimizer, factor)


@spec
class Plateau(Schedule):
    """The rate falls by ``factor`` when the PSNR has not risen for ``patience`` evaluations.

    Attributes:
        factor: what the rate is multiplied by, above 0 and below 1.
        patience: evaluations without a new best PSNR that are waited for.
        min_lr: the rate falls no lower, 0 or more.
        threshold: how much, in dB, counts as a rise.
    """

    factor: Annotated[float, Field(gt=0, lt=1)] = 0.5
    patience: Count = 5
    min_lr: Annotated[float, Field(ge=0)] = 1e-6
    threshold: Annotated[float, Field(ge=0)] = 0.1

    def check(self, stop: StopRule) -> None:
        """See :meth:`Schedule.check`."""
        if self.warmup_steps:
            raise PartinrError("schedule=plateau has no warm-up; take schedule.warmup_steps=0 or schedule=warmup")

    def build(self, optimizer: torch.optim.Optimizer, stop: StopRule, elapsed: Callable[[], float]) -> LRScheduler:
        """See :meth:`Schedule.build`."""
        return ReduceLROnPlateau(
            optimizer,
            mode="max",
            factor=self.factor,
            patience=self.patience,
            min_lr=self.min_lr,
            threshold=self.threshold,
            threshold_mode="abs",
        )
