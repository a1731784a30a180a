"""When a run stops and is evaluated, and a clock that separates training from evaluation."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Annotated, Literal

import torch
from pydantic import Field

from partinr.base.errors import PartinrError
from partinr.base.spec import spec


@spec
class StopRule:
    """The end of a run: the first of these limits that is reached.

    Attributes:
        max_steps: limit of optimiser steps, 1 or more.
        max_seconds: limit of training time without evaluation, above 0.
        target_psnr: PSNR in dB that an evaluation must reach.
    """

    max_steps: Annotated[int, Field(ge=1)] | None = None
    max_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    target_psnr: Annotated[float, Field(allow_inf_nan=False)] | None = None

    def __post_init__(self) -> None:
        """Check that the run ends.

        Raises:
            PartinrError: neither steps nor seconds are limited.
        """
        if self.max_steps is None and self.max_seconds is None:
            raise PartinrError("the run has no certain end; give max_steps or max_seconds")


class Clock:
    """Separate seconds of training and evaluation, with the device synchronised at both ends."""

    def __init__(self) -> None:
        self.training = 0.0
        self.evaluation = 0.0
        self._training_since: float | None = None

    @contextmanager
    def run(self, kind: Literal["training", "evaluation"], device: torch.device) -> Iterator[None]:
        """Count the time of the block as ``training`` or ``evaluation``."""
        _synchronise(device)
        start = time.perf_counter()
        self._training_since = start if kind == "training" else None
        yield
        _synchronise(device)
        self._training_since = None
        setattr(self, kind, getattr(self, kind) + time.perf_counter() - start)

    def elapsed(self) -> float:
        """Seconds of training so far, also during training; does not wait for the device."""
        return self.training + (0.0 if self._training_since is None else time.perf_counter() - self._training_since)


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
