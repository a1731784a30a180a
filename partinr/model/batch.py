"""The ragged region batch: samples sorted by the network that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.model.computed import TABLE, ComputedCoords, Coords, every
from partinr.model.frames import Frames
from partinr.partition import Partition


def sort_by_network(network: Tensor, networks: int) -> tuple[Tensor, tuple[int, ...]]:
    """The order of samples in the batch of a stack.

    Args:
        network: int64 ``[M]``, the network of each sample, 0 … networks - 1.
        networks: number of networks; a network may have no samples.

    Returns:
        ``(order, sizes)``: ``order`` int64 ``[M]`` sorts the samples by network and is stable; ``sizes`` has the number
        of samples of each of the N networks.
    """
    order = torch.argsort(network, stable=True) if networks > 1 else torch.arange(len(network), device=network.device)
    # Counted on the host: engines split tensors by these numbers, and reading them from the GPU would wait for it.
    sizes = tuple(torch.bincount(network.cpu(), minlength=networks).tolist())
    return order, sizes


def mix(values: Tensor, weight: Tensor, sample: Tensor, samples: int) -> Tensor:
    """The values of samples as weighted sums of the values of their networks; differentiable.

    Args:
        values: ``[P, c]``, values of the networks.
        weight: ``[P, 1]``, weight of each value.
        sample: int64 ``[P]``, the sample of each value.
        samples: number of samples, M.

    Returns:
        ``[M, c]``, in the precision of the weights.
    """
    parts = weight * values
    # Three times as fast as index_add, forward and backward.
    return parts.new_zeros(samples, values.shape[1]).scatter_add(0, sample.unsqueeze(1).expand_as(parts), parts)


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a batch, for one pass of an engine.

    Attributes:
        pairs: int64 ``[p]``, positions in the batch, ascending; None for the whole batch.
        sizes: number of pairs of each network.
        sample: int64 ``[m]``, the rows of these samples in the result of :meth:`RegionBatch.by_sample`; None if they
            equal ``pairs``.
        place: int64 ``[p]``, which of the m samples each pair contributes to; None if pair i contributes to sample i.
        blend: ``[p, 1]``, the weight of each pair's value in its sample; None if all weights are 1.
    """

    pairs: Tensor | None
    sizes: tuple[int, ...]
    sample: Tensor | None = None
    place: Tensor | None = None
    blend: Tensor | None = None


@door
@dataclass(frozen=True)
class RegionBatch:
    """Coordinates and targets of M samples, sorted by network; each region has one.

    If networks are blended, the batch contains a sample of the signal once for each network that contributes to it.

    Attributes:
        points: the coordinates of the samples, as a table or computed.
        signal: float32 ``[*, c]`` in [0, 1], the samples of the signal.
        network: int64 ``[M]``, ascending: the network of each sample.
        order: int64 ``[M]``: sample ``i`` of the batch is sample ``order[i]`` of the signal, counted row-major.
        sizes: number of samples of each network; N whole numbers that sum to M.
        blend: float32 ``[M, 1]``, the weight of each network's value in the sum that is the signal's value; None if
            each sample is in the batch once.
    """

    points: Coords
    signal: Tensor
    network: Tensor
    order: Tensor
    sizes: tuple[int, ...]
    blend: Tensor | None = None

    @cached_property
    def coords(self) -> Tensor:
        """Coordinates: float32 ``[M, d]`` in [-1, 1]."""
        return every(self.points)

    def with_table(self) -> RegionBatch:
        """The batch with a table of coordinates, for steps on all samples."""
        return self if isinstance(self.points, Tensor) else replace(self, points=self.coords)

    @cached_property
    def targets(self) -> Tensor:
        """Targets: float32 ``[M, c]`` in [0, 1]."""
        return self.signal[self.order]

    @property
    def samples(self) -> int:
        """Number of samples of the signal."""
        return len(self.signal)

    @property
    def _sorted(self) -> bool:
        """Whether the order is that of the signal."""
        return self.blend is None and len(self.sizes) == 1

    def by_sample(self, table: Tensor) -> Tensor:
        """A table over the samples of the signal, ``[M, …]``, in the order in which :class:`Part` counts samples.

        If each sample is in the batch once, this is the order of the batch, so that steps need no lookup.
        """
        return table if self._sorted or self.blend is not None else table[self.order]

    def parts(self, drawn: Tensor | None = None) -> list[Part]:
        """The batch, or some of its samples, in parts that an engine evaluates in one pass each.

        Most samples belong to one network, and an engine computes their errors and gradients in one pass. Samples of
        several networks form a separate part, since their values must be blended first.

        Args:
            drawn: int64 ``[P]`` on the CPU, ascending: samples in the order of :meth:`by_sample`; None for all.
        """
        if self.blend is None:
            return [Part(None, self.sizes) if drawn is None else Part(drawn, self.count(drawn))]
        meant = torch.ones(self.samples, dtype=torch.bool)
        if drawn is not None:
            meant = torch.zeros_like(meant)
            meant[drawn] = True
        alone = torch.bincount(self.order)[self.order] == 1
        found = []
        for pick, shared in ((alone, False), (~alone, True)):
            pairs = torch.nonzero(pick & meant[self.order]).squeeze(1)
            if len(pairs) == 0:
                continue
            sample, place, blend = self.order[pairs], None, None
            if shared:
                sample, place = torch.unique(sample, return_inverse=True)
                blend = self.blend[pairs]
            found.append(Part(pairs, self.count(pairs), sample, place, blend))
        return found

    def portion(self, samples: Tensor, portions: int, number: int) -> Tensor:
        """One of several equal portions of some samples; each network's samples are divided equally too.

        Args:
            samples: int64 ``[P]`` on the CPU, ascending, as for :meth:`parts`.
            portions: 1 or more.
            number: 0 … portions - 1.

        Returns:
            int64, ascending; the portions together are all samples.
        """
        if self.blend is None:  # sorted by network already
            return samples[number::portions].contiguous()
        order = torch.argsort(self._networks_of_samples[samples], stable=True)
        return samples[order[number::portions]].sort().values

    @cached_property
    def _networks_of_samples(self) -> Tensor:
        """A number for the networks that contribute to each sample, from the first and the last: int64 ``[M]``."""
        ends = [
            torch.zeros(self.samples, dtype=torch.int64).scatter_reduce_(
                0, self.order, self.network, end, include_self=False
            )
            for end in ("amin", "amax")
        ]
        return ends[0] * len(self.sizes) + ends[1]

    def unsort(self, values: Tensor) -> Tensor:
        """``values`` ``[M, c]`` of the batch, blended and in the order of the signal."""
        if self.blend is not None:
            return mix(values, self.blend.to(values), self.order.to(values.device), self.samples)
        if self._sorted:
            return values
        unsorted = torch.empty_like(values)
        unsorted[self.order] = values
        return unsorted

    def count(self, samples: Tensor) -> tuple[int, ...]:
        """The number of the given samples that each network has.

        Args:
            samples: int64 ``[P]`` on the CPU, positions in this batch, ascending, so that they are sorted by network
                too.
        """
        return tuple(torch.bincount(self.network[samples], minlength=len(self.sizes)).tolist())


def region_batch(
    signals: Sequence[Tensor],
    partitions: Sequence[Partition],
    frames: Sequence[Frames],
    position: Tensor | None = None,
) -> RegionBatch:
    """S signals as one batch for a network stack.

    Args:
        signals: float32 ``[*grid, C]`` each; the grids may differ, C may not.
        partitions: partition of each signal, on the same grid.
        frames: frames of each partition.
        position: int64 ``[N]``, the position of each region's network in the stack, regions numbered by signal; None if
            the stack has that order.

    Returns:
        all samples, sorted by network; ``order`` numbers them by signal, each row-major. A sample that several networks
        contribute to occurs once for each.
    """
    networks = [partition.regions + own.coupling.everywhere for partition, own in zip(partitions, frames, strict=True)]
    first = torch.tensor([0, *networks]).cumsum(0)
    if not all(own.plain for own in frames):
        return _blended_batch(signals, partitions, frames, position, first)
    region = joined([start + each.labels.reshape(-1) for start, each in zip(first, partitions, strict=False)])
    network = region if position is None else position[region]
    order, sizes = sort_by_network(network, int(first[-1]))
    flat = joined([signal.reshape(-1, signal.shape[-1]) for signal in signals])
    if len(order) > TABLE:
        return RegionBatch(ComputedCoords(frames, partitions, order), flat, network[order], order, sizes)
    coords = joined([own.coords(each.labels) for own, each in zip(frames, partitions, strict=True)])
    return RegionBatch(coords[order], flat, network[order], order, sizes)


def joined(tables: Sequence[Tensor]) -> Tensor:
    """Tables after one another; a single one is not copied."""
    return tables[0] if len(tables) == 1 else torch.cat(list(tables))


def _blended_batch(
    signals: Sequence[Tensor],
    partitions: Sequence[Partition],
    frames: Sequence[Frames],
    position: Tensor | None,
    first: Tensor,
) -> RegionBatch:
    """:func:`region_batch` for samples that several networks contribute to.

    Args:
        signals: as for :func:`region_batch`.
        partitions: likewise.
        frames: likewise.
        position: likewise.
        first: int64 ``[S + 1]``, the number of the first network of each signal, followed by N.
    """
    covers, coords = zip(
        *(own.cover(each, each.axes) for own, each in zip(frames, partitions, strict=True)), strict=True
    )
    before = torch.tensor([0, *(partition.labels.numel() for partition in partitions)]).cumsum(0)
    sample = torch.cat([start + cover.sample for start, cover in zip(before, covers, strict=False)])
    network = torch.cat([start + cover.network for start, cover in zip(first, covers, strict=False)])
    if position is not None:
        network = position[network]
    order, sizes = sort_by_network(network, int(first[-1]))
    flat = joined([signal.reshape(-1, signal.shape[-1]) for signal in signals])
    blend = torch.cat([cover.weight for cover in covers])[order].float().unsqueeze(1)
    return RegionBatch(torch.cat(coords)[order], flat, network[order], sample[order], sizes, blend)
