"""When a run stops and is evaluated, and a clock that separates training from evaluation."""

from __future__ import annotations

import ctypes
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Literal

import torch
from pydantic import Field

from partinr.base.errors import PartinrError
from partinr.base.machine import cpu_seconds
from partinr.base.spec import spec
from partinr.training.ranks import ALONE, Ranks

Kind = Literal["training", "evaluation"]
Counted = Literal["wall", "cpu"]


@spec
class StopRule:
    """The end of a run: the first of these limits that is reached.

    Attributes:
        max_steps: limit of optimiser steps, 1 or more.
        max_seconds: limit of training time without evaluation, above 0.
        target_psnr: PSNR in dB that an evaluation must reach.
        clock: the seconds that ``max_seconds`` limits, and that schedules follow: ``wall``, or ``cpu``, those of all
            threads of all processes, so that the budget is the same on a shared machine.
    """

    max_steps: Annotated[int, Field(ge=1)] | None = None
    max_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    target_psnr: Annotated[float, Field(allow_inf_nan=False)] | None = None
    clock: Counted = "wall"

    def __post_init__(self) -> None:
        """Check that the run ends.

        Raises:
            PartinrError: neither steps nor seconds are limited.
        """
        if self.max_steps is None and self.max_seconds is None:
            raise PartinrError("the run has no certain end; give max_steps or max_seconds")

    def done(self, step: int, seconds: float) -> float:
        """How much of the run is over, 0 … 1: of its steps, or without a limit of these, of its seconds."""
        return min(1.0, seconds / (self.max_seconds or math.inf) if self.max_steps is None else step / self.max_steps)

    def check(self, device: torch.device) -> None:
        """Check that the seconds that are counted are those of the device.

        Raises:
            PartinrError: they are not.
        """
        if self.clock == "cpu" and device.type != "cpu":
            raise PartinrError(f"clock=cpu does not count the work of {device}; give clock=wall")

    def step_at(self, fraction: float, step: int, seconds: float) -> int:
        """The step at which a fraction of the run is over: of its steps, or without a limit of these, of its seconds.

        Args:
            fraction: 0 … 1.
            step: number of optimiser steps so far.
            seconds: seconds of training so far, of :attr:`clock`; their pace tells the step.
        """
        if self.max_steps is not None:
            return round(fraction * self.max_steps)
        assert self.max_seconds is not None  # see above
        left = fraction * self.max_seconds - seconds
        if left <= 0:
            return step
        return step + (max(1, int(left / seconds * step)) if step and seconds else 1)


@dataclass(frozen=True)
class Reading:
    """What the clocks show: wall seconds and CPU seconds, from an arbitrary start."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Reading:
        """What they show now."""
        return cls(time.perf_counter(), cpu_seconds())


class Clock:
    """Separate seconds of training and evaluation, with the device synchronised at both ends.

    Args:
        counted: the seconds that limit a run.

    Attributes:
        training, evaluation: wall seconds; of several processes, those of the slowest.
        training_cpu, evaluation_cpu: CPU seconds of all threads of all processes; NaN if those of an earlier part of a
            resumed run are unknown.
    """

    def __init__(self, counted: Counted = "wall") -> None:
        self._counted = counted
        self.training = self.training_cpu = 0.0
        self.evaluation = self.evaluation_cpu = 0.0
        self._training_since: Reading | None = None
        self._processes = 1

    @property
    def spent(self) -> float:
        """Seconds of training that count against the limit of a run."""
        return self.training if self._counted == "wall" else self.training_cpu

    @contextmanager
    def run(self, kind: Kind, device: torch.device, ranks: Ranks = ALONE) -> Iterator[None]:
        """Count the time of the block as ``training`` or ``evaluation``. All processes must end it together."""
        _synchronise(device)
        start = Reading.now()
        self._training_since, self._processes = start if kind == "training" else None, ranks.size
        yield
        _synchronise(device)
        self._training_since = None
        self.count(kind, start, ranks)

    def count(self, kind: Kind, since: Reading, ranks: Ranks = ALONE) -> None:
        """Count the time since a reading, of the slowest process, and the CPU seconds of all."""
        now = Reading.now()
        (wall,), (cpu,) = ranks.most(now.wall - since.wall), ranks.total(now.cpu - since.cpu)
        setattr(self, kind, getattr(self, kind) + wall)
        setattr(self, f"{kind}_cpu", getattr(self, f"{kind}_cpu") + cpu)

    def add(self, other: Clock) -> None:
        """Count what another clock shows, too."""
        for name in ("training", "training_cpu", "evaluation", "evaluation_cpu"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def elapsed(self) -> float:
        """What is :attr:`spent` so far, also during training; does not wait for the device, nor for other processes."""
        since = self._training_since
        if since is None:
            return self.spent
        if self._counted == "wall":
            return self.spent + time.perf_counter() - since.wall
        return self.spent + (cpu_seconds() - since.cpu) * self._processes


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


EVALUATION_SHARE = 0.1
"""Evaluations of a run that only seconds limit take at most this fraction of its training seconds."""


def next_evaluation(
    step: int, every: int | None, per_decade: int, also_at: tuple[int, ...], not_before: int = 0
) -> int:
    """The first step after ``step`` at which a run is evaluated.

    Args:
        step: number of optimiser steps so far.
        every: steps between evaluations; None for a geometric sequence.
        per_decade: evaluations per factor of ten in the geometric sequence. Steps are rounded to two digits, so that
            with 20 the sequence includes 1, 2, 5, 10, 20, 50, 100, 250, 500, 1000 …
        also_at: further steps to evaluate.
        not_before: steps of the geometric sequence before this one are left out.
    """
    candidates = [extra for extra in also_at if extra > step]
    if every is not None:
        candidates.append((step // every + 1) * every)
    else:
        exponent = 0
        while (candidate := _two_digits(10 ** (exponent / per_decade))) < max(step + 1, not_before):
            exponent += 1
        candidates.append(candidate)
    return min(candidates)


def _two_digits(value: float) -> int:
    return round(value) if value < 100 else int(float(f"{value:.1e}"))


@cache
def keep_freed_memory() -> None:
    """Let the C library keep freed memory, for the whole process.

    Every training step allocates and frees the same tensors. By default glibc returns large ones to the system at once,
    and new ones are zeroed page by page, which takes up to half of a step (experiments/benchmarks/limits.py measures
    fresh memory). This does nothing without glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
        # Setting either stops glibc from adapting both, so the important one comes first. Older versions allow 32 MB.
        if mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25):
            mallopt(trim_threshold, 2**31 - 1)
