"""Signals, each with its partition, as one ragged region batch; what :mod:`partinr.model.stack` evaluates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.coords import AxisSamples, Frame, axis_coords, outer_coords, region_frames, to_frame
from partinr.model.batch import RegionBatch, sort_by_network
from partinr.partition import Cover, Partition


def check_frame(frame: str) -> None:
    """See that there is such a frame.

    Raises:
        PartinrError: there is none.
    """
    if frame not in get_args(Frame):
        raise PartinrError(f"coords.frame={frame!r} is unknown; choose from {', '.join(get_args(Frame))}")


@dataclass(frozen=True)
class Frames:
    """What the networks of a partition see of a place, and which of them have a part in it.

    Attributes:
        centre: float64 ``[N, d]`` of each network's frame, in global coordinates; None where all have the global one.
        half_extent: float64 ``[N, d]``; None likewise.
        overlap: by so many samples the network of a region reaches beyond its borders, see
            :meth:`Partition.cover_on <partinr.partition.Partition.cover_on>`.
        global_network: whether there is one more network, the last, which has the whole signal in the global frame; its
            values are added to those of the regions.
    """

    centre: Tensor | None = None
    half_extent: Tensor | None = None
    overlap: int = 0
    global_network: bool = False

    @classmethod
    def of(cls, partition: Partition, frame: Frame, overlap: int = 0, global_network: bool = False) -> Frames:
        """Those of a partition."""
        if frame == "global":
            return cls(overlap=overlap, global_network=global_network)
        centre, half_extent = region_frames(partition.labels, partition.regions, overlap)
        if global_network:
            centre = torch.cat([centre, torch.zeros_like(centre[:1])])
            half_extent = torch.cat([half_extent, torch.ones_like(half_extent[:1])])
        return cls(centre, half_extent, overlap, global_network)

    def sizes(self, partition: Partition) -> list[int]:
        """How many samples each network has a part in, those of the partition that the frames are of."""
        if self.plain:
            return partition.sizes.tolist()
        regions = torch.bincount(partition.cover_on(partition.axes, self.overlap).network, minlength=partition.regions)
        return [*regions.tolist(), *([partition.labels.numel()] if self.global_network else [])]

    @property
    def plain(self) -> bool:
        """Whether each sample is its own region's network's alone."""
        return self.overlap == 0 and not self.global_network

    def coords(self, labels: Tensor, axes: Sequence[AxisSamples] | None = None) -> Tensor:
        """What the networks see of each of some places.

        Args:
            labels: int64 ``[*grid]``, the region of each.
            axes: where they are, along each axis; None for the samples of a grid of that shape, at any resolution.

        Returns:
            float32 ``[M, d]``, row-major.
        """
        coords = outer_coords(
            [axis_coords(n) for n in labels.shape] if axes is None else [axis.coords for axis in axes]
        )
        return self._seen(coords, labels.reshape(-1))

    def cover(self, partition: Partition, axes: Sequence[AxisSamples], smooth: bool = False) -> tuple[Cover, Tensor]:
        """Which networks have a part in each of some places, and what they see of it.

        Args:
            partition: the one that the frames are of.
            axes: where they are, along each axis.
            smooth: smooth the borders between regions where they do not overlap.

        Returns:
            the cover, and float32 ``[P, d]`` for its P pairs.
        """
        cover = partition.cover_on(axes, self.overlap, smooth)
        if self.global_network:
            every = torch.arange(math.prod(map(len, axes)))
            last = torch.full_like(every, partition.regions)
            parts = (cover, Cover(every, last, torch.ones(len(every), dtype=torch.float64)))
            sample = torch.cat([part.sample for part in parts])
            order = torch.argsort(sample, stable=True)
            network, weight = (torch.cat([getattr(each, name) for each in parts]) for name in ("network", "weight"))
            cover = Cover(sample[order], network[order], weight[order])
        return cover, self._seen(outer_coords([axis.coords for axis in axes])[cover.sample], cover.network)

    def _seen(self, coords: Tensor, network: Tensor) -> Tensor:
        if self.centre is not None and self.half_extent is not None:
            coords = to_frame(coords, self.centre, self.half_extent, network)
        return coords.float()

    def steps(self, shape: Sequence[int], region: Tensor) -> Tensor:
        """How far from one sample of the signal to the next is, in the coordinates that the networks see.

        Args:
            shape: of the grid of the signal.
            region: int64 ``[M]``, the region of each place.

        Returns:
            float64 ``[M, d]``, along each axis.
        """
        step = 2 / torch.tensor(shape, dtype=torch.float64)
        if self.half_extent is None:
            return step.expand(len(region), -1)
        return (step / self.half_extent)[region]


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
