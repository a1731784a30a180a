"""Chooses how the samples of a step are selected."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from partinr.model.batch import RegionBatch
from partinr.training.sampling import CoarseToFine, ErrorSampler, FullBatch, UniformSampler, lattices
from partinr.training.whole import Error, Joint

if TYPE_CHECKING:
    from partinr.regimes.fit.settings import FitSettings


def sampler_of(
    settings: FitSettings,
    batch: RegionBatch,
    shapes: Sequence[Sequence[int]],
    seed: int,
    error: Error | None,
    exchange: Callable[[Tensor], Tensor],
) -> FullBatch:
    """The sampler of a fit.

    Args:
        settings: settings of the regime.
        batch: all samples of the signals.
        shapes: ``[*grid, C]`` of each signal.
        seed: seed for drawing samples.
        error: a loss by the values of all samples; None for the squared error of each sample.
        exchange: sums a tensor over the processes.
    """
    points, sizes = settings.points_per_step, batch.sizes
    if error is not None:
        return Joint(sizes, batch.samples, error, exchange)
    if settings.coarse_until:
        lattice = torch.cat([lattices(shape[:-1]).reshape(-1) for shape in shapes])
        return CoarseToFine(sizes, batch.by_sample(lattice), 2 ** (len(shapes[0]) - 1))
    if points is None:
        return FullBatch(sizes, batch.samples)
    if settings.sampling == "error":
        return ErrorSampler(batch.network.cpu(), sizes, points, seed)
    return UniformSampler(sizes, batch.samples, points, seed)
