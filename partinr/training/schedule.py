"""Learning-rate schedules, step by step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, ClassVar

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
    """A learning-rate schedule. A subclass is a spec and implements :meth:`build`.

    Attributes:
        warmup_steps: length of a linear rise to the full rate; 0 for none.
    """

    follows_end: ClassVar[bool] = True
    """Whether the rate depends on the end of the run: ``max_steps``, or without it ``max_seconds``."""

    warmup_steps: Count = 0

    @abstractmethod
    def build(self, optimizer: torch.optim.Optimizer, stop: StopRule, elapsed: Callable[[], float]) -> LRScheduler:
        """A torch scheduler to step after every optimiser step.

        A ``ReduceLROnPlateau`` is stepped after every evaluation instead, with its PSNR.

        Args:
            optimizer: the optimiser whose rates it changes.
            stop: when the run ends.
            elapsed: returns the seconds of training so far.
        """

    def check(self, stop: StopRule) -> None:
        """Check, before anything is loaded, that schedule and run are compatible.

        Raises:
            PartinrError: the warm-up is longer than the run.
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
    """A constant rate."""

    follows_end = False

    def build(self, optimizer: torch.optim.Optimizer, stop: StopRule, elapsed: Callable[[], float]) -> LRScheduler:
        """See :meth:`Schedule.build`."""
        return LambdaLR(optimizer, self._warmed)


@spec
class WarmUp(Constant):
    """A linear rise, then a constant rate.

    Attributes:
        warmup_steps: length of the rise.
    """

    warmup_steps: Count = 100


@spec
class Cosine(Schedule):
    """Half a cosine from the full rate to ``final`` times it at the end (Loshchilov & Hutter 2017, eq. 5).

    The end is at ``max_steps``, or without it at ``max_seconds`` of training. In the latter case the rates, and with
    them the curve, depend on the clock.

    Attributes:
        final: fraction of the rate that remains at the end, 0 … 1.
        full_rate_steps: a longer run has a lower rate, in proportion to 1 / √steps, since the best rate falls about as
            fast; None for the full rate at any length. A run that ends by the clock has the steps that its pace so far
            leads to.
    """

    final: Fraction = 0.0
    full_rate_steps: Annotated[int, Field(ge=1)] | None = None

    def build(self, optimizer: torch.optim.Optimizer, stop: StopRule, elapsed: Callable[[], float]) -> LRScheduler:
        """See :meth:`Schedule.build`."""
        self.check(stop)

        def factor(step: int) -> float:
            if stop.max_steps is not None:
                progress = max(0, step - self.warmup_steps) / (stop.max_steps - self.warmup_steps)
                steps: float = stop.max_steps
            else:
                assert stop.max_seconds is not None  # StopRule refuses both None
                progress = elapsed() / stop.max_seconds
                steps = step / progress if progress else 0.0
            shape = self.final + (1 - self.final) * (1 + math.cos(math.pi * min(1.0, progress))) / 2
            return self._warmed(step) * self._of_length(steps) * shape

        return LambdaLR(optimizer, factor)

    def _of_length(self, steps: float) -> float:
        """The fraction of the rate that a run of so many steps has."""
        if self.full_rate_steps is None or steps <= self.full_rate_steps:
            return 1.0
        return math.sqrt(self.full_rate_steps / steps)


@spec
class Plateau(Schedule):
    """The rate falls by ``factor`` when the PSNR has not risen for ``patience`` evaluations.

    Attributes:
        factor: factor on the rate, above 0 and below 1.
        patience: number of evaluations to wait for a new best PSNR.
        min_lr: lowest rate, 0 or more.
        threshold: smallest rise that counts, in dB.
    """

    follows_end = False

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
