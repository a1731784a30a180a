"""Signals, each with its partition, as one ragged region batch; what :mod:`partinr.networks` evaluates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from partinr.coords import AxisSamples, Frame, axis_coords, outer_coords, region_frames, to_frame
from partinr.errors import PartinrError
from partinr.partition import Partition
from partinr.stack import RegionBatch, sort_by_network


def check_frame(frame: str) -> None:
    """See that there is such a frame.

    Raises:
        PartinrError: there is none.
    """
    if frame not in get_args(Frame):
        raise PartinrError(f"coords.frame={frame!r} is unknown; choose from {', '.join(get_args(Frame))}")


@dataclass(frozen=True)
class Frames:
    """What the networks of a partition see of a place.

    Attributes:
        centre: float64 ``[R, d]`` of each region's frame, in global coordinates; None where all have the global one.
        half_extent: float64 ``[R, d]``; None likewise.
    """

    centre: Tensor | None = None
    half_extent: Tensor | None = None

    @classmethod
    def of(cls, partition: Partition, frame: Frame) -> Frames:
        """Those of a partition."""
        return cls(*region_frames(partition.labels, partition.regions)) if frame == "local" else cls()

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
        if self.centre is not None and self.half_extent is not None:
            coords = to_frame(coords, self.centre, self.half_extent, labels.reshape(-1))
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
        the samples of all, sorted by network; ``order`` counts them signal by signal, each row-major.
    """
    first = torch.tensor([0, *(partition.regions for partition in partitions)]).cumsum(0)
    region = torch.cat([start + each.labels.reshape(-1) for start, each in zip(first, partitions, strict=False)])
    network = region if position is None else position[region]
    order, sizes = sort_by_network(network, int(first[-1]))
    coords = torch.cat([own.coords(each.labels) for own, each in zip(frames, partitions, strict=True)])
    targets = torch.cat([signal.reshape(-1, signal.shape[-1]) for signal in signals])
    return RegionBatch(coords[order], targets[order], network[order], order, sizes)
