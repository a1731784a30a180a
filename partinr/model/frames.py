"""Frames: the coordinates that networks receive for a point, and the networks that contribute to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.coords import (
    AxisSamples,
    Frame,
    Layout,
    axis_samples,
    check_layout,
    layout_coords,
    region_frames,
    to_frame,
)
from partinr.model.coupling import NONE, Coupling, Places
from partinr.partition import Cover, Partition


@dataclass(frozen=True)
class Frames:
    """The coordinates that the networks of a partition receive for a point, and which networks contribute to it.

    Attributes:
        centre: float64 ``[N, d]``, centre of each network's frame in global coordinates; None if all frames are global.
        half_extent: float64 ``[N, d]``, half the extent of each frame; None likewise.
        overlap: number of samples that a region's network reaches beyond the region's border, see
            :meth:`Partition.cover_on <partinr.partition.Partition.cover_on>`.
        coupling: what the networks have in common. Its networks that cover the whole signal are the last.
        layout: layout of the coordinates, see :func:`partinr.coords.layout_coords`; None for the right one.
    """

    centre: Tensor | None = None
    half_extent: Tensor | None = None
    overlap: int = 0
    coupling: Coupling = NONE
    layout: Layout | None = None

    @classmethod
    def of(
        cls,
        partition: Partition,
        frame: Frame,
        overlap: int = 0,
        coupling: Coupling = NONE,
        layout: Layout | None = None,
    ) -> Frames:
        """The frames of a partition.

        Raises:
            PartinrError: the layout goes neither with the frame nor with the signal.
        """
        check_layout(layout, frame, len(partition.shape))
        if frame == "global":
            return cls(overlap=overlap, coupling=coupling, layout=layout)
        centre, half_extent = region_frames(partition.labels, partition.regions, overlap)
        further = centre.new_zeros(coupling.everywhere, centre.shape[1])
        return cls(torch.cat([centre, further]), torch.cat([half_extent, further + 1]), overlap, coupling)

    @property
    def places(self) -> Places | None:
        """The frames of the networks; None if all are global."""
        if self.centre is None or self.half_extent is None:
            return None
        return Places(self.centre, self.half_extent)

    @property
    def options(self) -> dict[str, Any]:
        """Those that are set; others are left out, so that checkpoints from before they existed can be continued."""
        given = {"overlap": self.overlap, "global_network": self.coupling.said, "layout": self.layout}
        return {name: value for name, value in given.items() if value}

    def sizes(self, partition: Partition) -> list[int]:
        """Number of samples of the frames' partition that each network contributes to."""
        if self.plain:
            return partition.sizes.tolist()
        regions = torch.bincount(partition.cover_on(partition.axes, self.overlap).network, minlength=partition.regions)
        return [*regions.tolist(), *[partition.labels.numel()] * self.coupling.everywhere]

    @property
    def plain(self) -> bool:
        """Whether each sample is evaluated by its own region's network alone."""
        return self.overlap == 0 and not self.coupling.everywhere

    def coords(self, labels: Tensor, axes: Sequence[AxisSamples] | None = None) -> Tensor:
        """The network coordinates of some points.

        Args:
            labels: int64 ``[*grid]``, the region of each point.
            axes: the points along each axis; None for the samples of a grid of that shape, at any resolution.

        Returns:
            float32 ``[M, d]``, row-major.
        """
        axes = [axis_samples(n, n) for n in labels.shape] if axes is None else axes
        return self._seen(layout_coords(axes, self.layout), labels.reshape(-1))

    def coords_of(self, shape: Sequence[int], sample: Tensor, region: Tensor | None) -> Tensor:
        """The network coordinates of some samples of a signal, bit by bit as :meth:`coords` gives them.

        Args:
            shape: of the signal's grid.
            sample: int64 ``[m]``, numbers of the samples, row-major.
            region: int64 ``[m]``, the region of each sample; None if all frames are global.

        Returns:
            float32 ``[m, d]``.
        """
        along, rest = [], sample.double()  # whole numbers, and several times faster than integers
        # The fault of the layout is a grid on its side, see layout_coords.
        for n in shape if self.layout is not None else reversed(shape):
            above = (rest / n).floor_()
            along.append((2 * (rest - above * n) + 1) / n - 1)
            rest = above
        coords = torch.stack(along[::-1], dim=-1)
        return coords.float() if region is None else self._seen(coords, region)

    def cover(self, partition: Partition, axes: Sequence[AxisSamples], smooth: bool = False) -> tuple[Cover, Tensor]:
        """The networks that contribute to each of some points, and their coordinates.

        Args:
            partition: the partition of the frames.
            axes: the points along each axis.
            smooth: smooth the borders between regions that do not overlap.

        Returns:
            the cover, and the coordinates of its P pairs, float32 ``[P, d]``.
        """
        cover = partition.cover_on(axes, self.overlap, smooth)
        if self.coupling.everywhere:
            every = torch.arange(math.prod(map(len, axes)))
            last = torch.full_like(every, partition.regions)
            parts = (cover, Cover(every, last, torch.ones(len(every), dtype=torch.float64)))
            sample = torch.cat([part.sample for part in parts])
            order = torch.argsort(sample, stable=True)
            network, weight = (torch.cat([getattr(each, name) for each in parts]) for name in ("network", "weight"))
            cover = Cover(sample[order], network[order], weight[order])
        return cover, self._seen(layout_coords(axes, self.layout)[cover.sample], cover.network)

    def _seen(self, coords: Tensor, network: Tensor) -> Tensor:
        if self.centre is not None and self.half_extent is not None:
            coords = to_frame(coords, self.centre.to(coords.device), self.half_extent.to(coords.device), network)
        return coords.float()

    def steps(self, shape: Sequence[int], region: Tensor) -> Tensor:
        """The distance between adjacent samples of the signal, in network coordinates.

        Args:
            shape: shape of the signal's grid.
            region: int64 ``[M]``, the region of each point.

        Returns:
            float64 ``[M, d]``, along each axis.

        Raises:
            PartinrError: the layout is not the right one.
        """
        if self.layout is not None:
            raise PartinrError(f"coords.layout={self.layout} scrambles the image: it has no slopes; render its values")
        step = 2 / torch.tensor(shape, dtype=torch.float64)
        if self.half_extent is None:
            return step.expand(len(region), -1)
        return (step / self.half_extent)[region]
