"""Boxes that are halved where the error is while networks are trained, and merged where it is not."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.rectangles import Box, samples, size, split
from partinr.base.spec import spec
from partinr.partition.base import DEFAULT_REGIONS, Partition, PartitionRule, Regions, fitting, settled
from partinr.partition.live import Change, Live

SMALLEST = 16
"""Least samples of a half."""

GAIN = 0.5
"""Expected error of a box after it has two networks instead of one, as a fraction of that before."""

GROWING = 0.5
"""The part of the time for changes in which the number of regions grows. In the rest, boxes are merged for others."""


@spec
class Adaptive(PartitionRule):
    """A few boxes at first, of which those with the most error are halved during training, across their longest side.

    So a signal of one axis gets a binary tree, an image a quadtree and a volume an octree, one halving at a time. All
    networks have one width, that of a partition with ``regions`` regions and the same ``backbone.match_params``: the
    parameters grow with the regions and never exceed those, as the blocks of ACORN (Martel et al., SIGGRAPH 2021,
    section 3.2), whose number is limited, and as those of MINER (Saragadam et al., ECCV 2022), each of which has a
    small network of the same width. The number of regions grows geometrically until half of the time for changes
    (``until``) is over. Then two halves of a box whose error is small are merged where that pays for another halving. A
    merged box begins with the network of the half that has more error.

    Attributes:
        regions: the number at the end; or ``auto``.
        begin: the number at the beginning, 2 or more; None for half of ``regions``.
        until: the fraction of the run in which labels change.
        merge: two halves are merged if a box has this many times their error, 1 or more; None to merge none.
    """

    regions: Regions = DEFAULT_REGIONS
    begin: Annotated[int, Field(ge=2)] | None = None
    until: Annotated[float, Field(gt=0, le=1)] = 0.6
    merge: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = 4.0

    def __post_init__(self) -> None:
        """Check that the number of regions does not fall.

        Raises:
            PartinrError: ``begin`` is more than ``regions``.
        """
        if self.begin is not None and self.regions != "auto" and self.begin > self.regions:
            raise PartinrError(
                f"partition.begin={self.begin} is more than partition.regions={self.regions}; give at most that"
            )

    @property
    def limit(self) -> int:
        """The largest number of regions."""
        return settled(self.regions)

    @property
    def live(self) -> Live:
        """The rule itself."""
        return self

    @property
    def first(self) -> int:
        """The number of regions at the beginning."""
        return min(self.limit, max(2, self.limit // 2) if self.begin is None else self.begin)

    def labels(self, signal: Tensor) -> Tensor:
        """The boxes at the beginning, of about equal size.

        Raises:
            PartinrError: more regions than samples.
        """
        shape = tuple(signal.shape[:-1])
        fitting(self.regions, shape)
        boxes = [(-math.prod(shape), tuple((0, n) for n in shape))]
        while len(boxes) < self.first:
            for half in split(heapq.heappop(boxes)[1]):
                heapq.heappush(boxes, (-size(half), half))
        return _labels([box for _, box in boxes], shape)

    def change(self, partition: Partition, error: Tensor, done: float) -> Change | None:
        """Halve boxes up to the number of regions that is due, then merge where it pays; see :class:`Live`."""
        grown = min(1.0, done / (GROWING * self.until))
        due = self.limit if grown == 1 else int(self.first * (self.limit / self.first) ** grown)
        leaves, pairs = _tree(partition.labels, error)
        if due <= len(leaves) and (self.merge is None or done >= self.until):
            return None
        waiting = [(-each.error, each.box, each.region) for each in leaves if _may_be_halved(each.box)]
        heapq.heapify(waiting)
        regions = {each.box: each.region for each in leaves}
        while len(regions) < due and waiting:
            _halve(waiting, regions, error)
        pairs.sort(key=lambda pair: pair.error, reverse=True)
        while self.merge is not None and done < self.until and len(regions) >= self.limit and waiting and pairs:
            pair = pairs.pop()
            if -waiting[0][0] <= self.merge * pair.error:
                break
            if all(half in regions for half in pair.halves):  # none has just been halved
                for half in pair.halves:
                    del regions[half]
                regions[pair.box] = pair.region
                waiting = [each for each in waiting if each[1] not in pair.halves]
                heapq.heapify(waiting)
                _halve(waiting, regions, error)
        if regions.keys() == {each.box for each in leaves}:
            return None
        boxes = sorted(regions)
        return Change(_labels(boxes, partition.shape), torch.tensor([regions[box] for box in boxes]))


@dataclass(frozen=True)
class _Leaf:
    """A box that is a region."""

    box: Box
    region: int
    error: float


@dataclass(frozen=True)
class _Pair:
    """A box whose halves are regions, and the region that a merged box begins as."""

    box: Box
    halves: tuple[Box, Box]
    region: int
    error: float


def _may_be_halved(box: Box) -> bool:
    return size(box) >= 2 * SMALLEST


def _halve(waiting: list[tuple[float, Box, int]], regions: dict[Box, int], error: Tensor) -> None:
    """Halve the box with the most error; both halves wait with the error that is expected of them."""
    found, box, region = heapq.heappop(waiting)
    del regions[box]
    halves = split(box)
    errors = [float(error[samples(half)].sum()) for half in halves]
    total = sum(errors)
    for half, own in zip(halves, errors, strict=True):
        regions[half] = region
        if _may_be_halved(half):
            # A box that was halved before already has an expected error.
            heapq.heappush(waiting, (GAIN * found * (own / total if total else 0.5), half, region))


def _tree(labels: Tensor, error: Tensor) -> tuple[list[_Leaf], list[_Pair]]:
    """The boxes of a label map, and those that were halved once. Boxes follow from the labels, as halving is exact."""
    leaves: list[_Leaf] = []
    pairs: list[_Pair] = []

    def visit(box: Box) -> _Leaf | None:
        own = labels[samples(box)]
        region = int(own.reshape(-1)[0])
        if bool((own == region).all()):
            leaves.append(_Leaf(box, region, float(error[samples(box)].sum())))
            return leaves[-1]
        first, second = (visit(half) for half in split(box))
        if first is not None and second is not None:
            harder = max(first, second, key=lambda each: each.error)
            pairs.append(_Pair(box, (first.box, second.box), harder.region, first.error + second.error))
        return None

    visit(tuple((0, n) for n in labels.shape))
    return leaves, pairs


def _labels(boxes: list[Box], shape: tuple[int, ...]) -> Tensor:
    """Boxes as regions, in the order of their first samples."""
    labels = torch.empty(shape, dtype=torch.int64)
    for number, box in enumerate(sorted(boxes)):
        labels[samples(box)] = number
    return labels
