"""Small boxes where a signal has detail, or where a surface passes, and large ones elsewhere."""

from __future__ import annotations

import heapq
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from partinr.base.later import Later
from partinr.base.rectangles import Box, samples, size, split
from partinr.base.spec import spec
from partinr.partition.base import DEFAULT_REGIONS, Partition, PartitionRule, Regions, fitting, settled
from partinr.signals.detail import FLAT_DETAIL, gradient_energy

if TYPE_CHECKING:
    from scipy import ndimage
else:
    ndimage = Later("scipy.ndimage")


@spec
class Octree(PartitionRule):
    """Boxes that are halved across their longest side, the one with the most detail first.

    In three halvings along three axes a box becomes the eight of an octree, along two axes the four of a quadtree; one
    halving at a time makes the number of regions exact. Detail is gradient energy, and every box is a region.

    With ``level``, only boxes that the surface of this value passes are halved, the one with the most of it first, and
    only these are regions of their own. All boxes without the surface are two regions, whatever their number: one
    below the level and one above it (the empty space inside and outside of a signed distance field).

    Attributes:
        regions: their number, those two included.
        level: the value of the surface, averaged over channels, in the [0, 1] of the signal; None for detail.
    """

    regions: Regions = DEFAULT_REGIONS
    level: Annotated[float, Field(ge=0, le=1)] | None = None

    def labels(self, signal: Tensor) -> Tensor:
        """The boxes in the order of their first samples, then the region below the level and that above it.

        Raises:
            PartinrError: more regions than samples.
        """
        shape = tuple(signal.shape[:-1])
        values = signal.detach().cpu().float()
        labels = np.zeros(shape, np.int64)
        if self.level is None:
            weight = (gradient_energy(values) + FLAT_DETAIL).numpy()
        else:
            mean = values.mean(-1).numpy()
            # A surface between two samples is near both.
            near = ndimage.minimum_filter(mean, 3, mode="nearest") <= self.level
            weight = (near & (ndimage.maximum_filter(mean, 3, mode="nearest") > self.level)).astype(np.float64)
            labels = (mean > self.level).astype(np.int64)
        boxes = self._boxes(weight, labels, fitting(self.regions, shape))
        for number, box in enumerate(sorted(boxes)):
            labels[samples(box)] = number - len(boxes)
        return torch.from_numpy(np.unique(labels, return_inverse=True)[1].reshape(shape))

    def _boxes(self, weight: NDArray[Any], empty: NDArray[np.int64], regions: int) -> list[Box]:
        """The boxes that are regions of their own.

        Args:
            weight: ``[*grid]``, how much each sample counts; a box whose samples count nothing is empty.
            empty: ``[*grid]``, the region of a sample in an empty box.
            regions: wanted number, those of empty boxes included.
        """
        whole = tuple((0, n) for n in weight.shape)
        heap: list[tuple[float, Box]] = [(-float(weight.sum()), whole)]
        single: list[Box] = []
        used: set[int] = set()
        if not weight.any():
            return []
        while heap and len(heap) + len(single) + len(used) < regions:
            _, box = heapq.heappop(heap)
            if size(box) == 1:
                single.append(box)
                continue
            for half in split(box):
                if total := float(weight[samples(half)].sum()):
                    heapq.heappush(heap, (-total, half))
                else:
                    used |= set(np.unique(empty[samples(half)]).tolist())
        return [*single, *(box for _, box in heap)]

    def check(self, partition: Partition) -> Partition:
        """The partition, with a notice if the surface passes too few samples for the regions asked for."""
        if partition.regions >= settled(self.regions):
            return partition
        said = (
            f"partition=octree finds {partition.regions} of the {self.regions} regions asked for, since the surface at "
            f"partition.level={self.level} passes no more boxes"
        )
        return replace(partition, notice=said)
