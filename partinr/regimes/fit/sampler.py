"""Chooses how the samples of a step are selected."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.model.batch import RegionBatch
from partinr.model.signal_stack import SignalStack
from partinr.samplers import Error as ByError
from partinr.samplers import Pool, Sampler, Uniform
from partinr.training.jitter import Jitter, between
from partinr.training.sampling import CoarseToFine, Drawn, FullBatch, lattices
from partinr.training.whole import Joint

if TYPE_CHECKING:
    from partinr.regimes.fit.seen import Seen
    from partinr.regimes.fit.settings import FitSettings


def meant(settings: FitSettings, sampler: Sampler | None) -> Sampler:
    """The sampler that is given, also as ``sampling``.

    Raises:
        PartinrError: two are given.
    """
    sampler = sampler or Uniform()
    if settings.sampling == "uniform":
        return sampler
    if not sampler.plain:
        raise PartinrError(
            f"regime.sampling={settings.sampling} and sampler={sampler.title} both choose the points of a step; "
            "leave out regime.sampling"
        )
    return ByError()


def sampler_of(
    sampler: Sampler,
    settings: FitSettings,
    model: SignalStack,
    batch: RegionBatch,
    signals: Sequence[Tensor],
    seen: Seen,
) -> FullBatch:
    """The samples of the steps of a fit.

    Args:
        sampler: how they are drawn, if not all of them are seen.
        settings: settings of the regime.
        model: the model to fit.
        batch: all samples of the signals.
        signals: ``[*grid, C]`` each.
        seen: what is seen of them.
    """
    sizes, seed, points = batch.sizes, seen.seed, sampler.points(batch.samples, settings.points_per_step)
    if seen.joint:
        return Joint(sizes, batch.samples, seen.error)
    if settings.coarse_until:
        lattice = torch.cat([lattices(signal.shape[:-1]).reshape(-1) for signal in signals])
        return CoarseToFine(sizes, batch.by_sample(lattice), 2 ** (signals[0].ndim - 1), settings.coarse_until)
    if points is None:
        return FullBatch(sizes, batch.samples)
    apart = batch.blend is None
    order = batch.order.cpu() if apart else torch.arange(batch.samples)
    estimates = [each.estimate.float().cpu() for each in seen.signals]
    pool = Pool(estimates, order, sizes if apart else (batch.samples,), points, seed)
    return Drawn(sampler.begin(pool), sizes, _jitter(model, batch, signals, seen) if settings.jitter else None)


def _jitter(model: SignalStack, batch: RegionBatch, signals: Sequence[Tensor], seen: Seen) -> Jitter:
    steps = [
        frames.steps(partition.shape, partition.labels.reshape(-1))
        for frames, partition in zip(model.frames, model.partitions, strict=True)
    ]
    values = [
        partial(between, signal.cpu()) if each.everywhere is None else each.everywhere
        for signal, each in zip(signals, seen.signals, strict=True)
    ]
    shapes = [partition.shape for partition in model.partitions]
    return Jitter(shapes, values, batch.order, torch.cat(steps)[batch.order.cpu()], seen.seed)
