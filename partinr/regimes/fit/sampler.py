"""Chooses how the samples of a step are selected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from partinr.model.batch import RegionBatch
from partinr.model.signal_stack import SignalStack
from partinr.training.jitter import Jitter
from partinr.training.sampling import CoarseToFine, ErrorSampler, FullBatch, UniformSampler, lattices
from partinr.training.whole import Error, Joint

if TYPE_CHECKING:
    from partinr.regimes.fit.settings import FitSettings


def sampler_of(
    settings: FitSettings,
    model: SignalStack,
    batch: RegionBatch,
    signals: Sequence[Tensor],
    seed: int,
    error: Error | None,
    exchange: Callable[[Tensor], Tensor],
) -> FullBatch:
    """The sampler of a fit.

    Args:
        settings: settings of the regime.
        model: the model to fit.
        batch: all samples of the signals.
        signals: ``[*grid, C]`` each.
        seed: seed for drawing samples.
        error: a loss by the values of all samples; None for the squared error of each sample.
        exchange: sums a tensor over the processes.
    """
    points, sizes = settings.points_per_step, batch.sizes
    if error is not None:
        return Joint(sizes, batch.samples, error, exchange)
    if settings.coarse_until:
        lattice = torch.cat([lattices(signal.shape[:-1]).reshape(-1) for signal in signals])
        return CoarseToFine(sizes, batch.by_sample(lattice), 2 ** (signals[0].ndim - 1))
    if points is None:
        return FullBatch(sizes, batch.samples)
    jitter = _jitter(model, batch, signals, seed) if settings.jitter else None
    if settings.sampling == "error":
        return ErrorSampler(batch.network.cpu(), sizes, points, seed, jitter)
    return UniformSampler(sizes, batch.samples, points, seed, jitter)


def _jitter(model: SignalStack, batch: RegionBatch, signals: Sequence[Tensor], seed: int) -> Jitter:
    steps = [
        frames.steps(partition.shape, partition.labels.reshape(-1))
        for frames, partition in zip(model.frames, model.partitions, strict=True)
    ]
    return Jitter(signals, batch.order, torch.cat(steps)[batch.order.cpu()], seed)
