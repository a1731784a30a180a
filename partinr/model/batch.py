"""The ragged region batch: samples sorted by the network that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.model.frames import Frames
from partinr.partition import Partition


def sort_by_network(network: Tensor, networks: int) -> tuple[Tensor, tuple[int, ...]]:
    """Bring samples into the order that a stack sees them in.

    Args:
        network: int64 ``[M]``, the network of each sample, 0 … networks - 1.
        networks: how many networks there are; one may have no sample at all.

    Returns:
        ``(order, sizes)``: ``order`` int64 ``[M]`` numbers the samples network by network, within a network as they
        came; ``sizes`` says how many each network has, N whole numbers.
    """
    order = torch.argsort(network, stable=True)
    # Counted on the host: the engines cut tensors by these numbers, and a cut on a GPU tensor would wait for it.
    sizes = tuple(torch.bincount(network.cpu(), minlength=networks).tolist())
    return order, sizes


def mix(values: Tensor, weight: Tensor, sample: Tensor, samples: int) -> Tensor:
    """The values of samples from those of the networks that have a part in them; differentiable.

    Args:
        values: ``[P, c]``, of the networks.
        weight: ``[P, 1]``, what they count.
        sample: int64 ``[P]``, of which sample they are.
        samples: how many there are, M.

    Returns:
        ``[M, c]``, in the precision of the weights.
    """
    parts = weight * values
    # Three times as fast, backwards too, as index_add.
    return parts.new_zeros(samples, values.shape[1]).scatter_add(0, sample.unsqueeze(1).expand_as(parts), parts)


@dataclass(frozen=True, eq=False)
class Part:
    """Some of a batch, for one pass of an engine.

    Attributes:
        pairs: int64 ``[p]``, positions in the batch, ascending; None for the whole batch.
        sizes: how many of them each network has.
        sample: int64 ``[m]``, the rows of these samples in what :meth:`RegionBatch.by_sample` gives; None where they
            are ``pairs``.
        place: int64 ``[p]``, which of the m samples each pair has a part in; None where that is its own number.
        blend: ``[p, 1]``, the weight of each pair's value in its sample; None where all are 1.
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

    Where networks are blended, a sample of the signal is in the batch once for each network that has a part in it.

    Attributes:
        coords: float32 ``[M, d]`` in [-1, 1].
        targets: float32 ``[M, c]`` in [0, 1].
        network: int64 ``[M]``, ascending: the network of each sample.
        order: int64 ``[M]``: sample ``i`` of the batch is sample ``order[i]`` of the signal, counted row-major.
        sizes: how many samples each network has; N whole numbers that sum to M.
        blend: float32 ``[M, 1]``, what each network's value counts in the sample of the signal, whose value is their
            sum; None where each sample is in the batch once.
    """

    coords: Tensor
    targets: Tensor
    network: Tensor
    order: Tensor
    sizes: tuple[int, ...]
    blend: Tensor | None = None

    @cached_property
    def samples(self) -> int:
        """How many samples the signal has."""
        return len(self.order) if self.blend is None else int(self.order.max()) + 1

    def by_sample(self, table: Tensor) -> Tensor:
        """A table over the samples of the signal, ``[M, …]``, in the order in which :class:`Part` counts samples.

        Where each sample is in the batch once, that is the order of the batch, so that no step has to look it up.
        """
        return table[self.order] if self.blend is None else table

    def parts(self, drawn: Tensor | None = None) -> list[Part]:
        """The batch, or some samples of it, in parts that an engine takes in one pass.

        Most samples belong to one network, and an engine takes their errors and gradients in one pass. The values of
        samples that several networks have a part in must be blended first, so those are a part of their own.

        Args:
            drawn: int64 ``[P]`` on the CPU, ascending: samples, counted as :meth:`by_sample` does; None for all.
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

    def unsort(self, values: Tensor) -> Tensor:
        """Bring ``values`` ``[M, c]`` from the order of the batch back to the order of the signal, blended."""
        if self.blend is not None:
            return mix(values, self.blend.to(values), self.order.to(values.device), self.samples)
        unsorted = torch.empty_like(values)
        unsorted[self.order] = values
        return unsorted

    def count(self, samples: Tensor) -> tuple[int, ...]:
        """How many of some samples each network has.

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
        partitions: of each signal, on the same grid.
        frames: of each partition.
        position: int64 ``[N]``, where the network of each region lies in the stack, the regions counted signal by
            signal; None where it is in that order.

    Returns:
        the samples of all, sorted by network; ``order`` counts them signal by signal, each row-major. Where several
        networks have a part in a sample it is there for each of them.
    """
    networks = [partition.regions + own.global_network for partition, own in zip(partitions, frames, strict=True)]
    first = torch.tensor([0, *networks]).cumsum(0)
    if not all(own.plain for own in frames):
        return _blended_batch(signals, partitions, frames, position, first)
    region = torch.cat([start + each.labels.reshape(-1) for start, each in zip(first, partitions, strict=False)])
    network = region if position is None else position[region]
    order, sizes = sort_by_network(network, int(first[-1]))
    coords = torch.cat([own.coords(each.labels) for own, each in zip(frames, partitions, strict=True)])
    targets = torch.cat([signal.reshape(-1, signal.shape[-1]) for signal in signals])
    return RegionBatch(coords[order], targets[order], network[order], order, sizes)


def _blended_batch(
    signals: Sequence[Tensor],
    partitions: Sequence[Partition],
    frames: Sequence[Frames],
    position: Tensor | None,
    first: Tensor,
) -> RegionBatch:
    """:func:`region_batch` where several networks have a part in a sample.

    Args:
        signals: as there.
        partitions: as there.
        frames: as there.
        position: as there.
        first: int64 ``[S + 1]``, the number of the first network of each signal, and at the end N.
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
    targets = torch.cat([signal.reshape(-1, signal.shape[-1]) for signal in signals])
    sample = sample[order]
    blend = torch.cat([cover.weight for cover in covers])[order].float().unsqueeze(1)
    return RegionBatch(torch.cat(coords)[order], targets[sample], network[order], sample, sizes, blend)
