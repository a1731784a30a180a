"""What a partition is, and what a rule that makes one is."""

from __future__ import annotations

import dataclasses
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.coords import AxisSamples, axis_samples, vote_of_nearest
from partinr.partition.coding import coded_bits
from partinr.partition.cover import Cover, blended_cover
from partinr.signals import Source

DEFAULT_REGIONS = 9
"""Of every rule that is told nothing: the paper's #9."""


@dataclass(frozen=True, eq=False)
class Partition:
    """A region for every sample of a signal's grid.

    Attributes:
        labels: int64 ``[*grid]`` (``[H, W]`` for an image), 0 … R-1, every number at least once. Given as any integer
            tensor; a copy is kept.
        seconds: wall time that the rule took; None if no rule made it. From a cache it is what the rule took when it
            was carried out.
        free: whether the map follows from the rule's options alone, so that nobody has to store or send it.
        notice: what somebody who compares should know, in one line: fewer regions than were asked for.

    Raises:
        PartinrError: no samples, not whole numbers, negative, or a number between 0 and the largest is missing.
    """

    labels: Tensor
    seconds: float | None = None
    free: bool = False
    notice: str | None = None

    def __post_init__(self) -> None:
        labels = torch.as_tensor(self.labels)
        if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
            raise PartinrError(f"labels are {labels.dtype}; give whole numbers, one region number a sample")
        if labels.ndim == 0 or labels.numel() == 0:
            raise PartinrError(
                f"labels have the shape {list(labels.shape)}; give one label for each sample of the grid"
            )
        labels = labels.detach().to("cpu", torch.int64, copy=True).contiguous()
        if int(labels.min()) < 0:
            raise PartinrError(f"labels go down to {int(labels.min())}; number the regions from 0")
        # Among M samples a label of M or more means a gap below it, whatever it is: nothing larger need be counted.
        used = torch.bincount(labels.reshape(-1).clamp(max=labels.numel()))
        if int(used.min()) == 0:
            missing = int((used == 0).nonzero()[0, 0])
            raise PartinrError(
                f"labels go up to {int(labels.max())} but no sample has label {missing}; "
                "number the regions 0 … R-1 without a gap"
            )
        object.__setattr__(self, "labels", labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the grid, ``(H, W)`` for an image."""
        return tuple(self.labels.shape)

    @property
    def regions(self) -> int:
        """R, how many regions there are."""
        return int(self.labels.max()) + 1

    @property
    def sizes(self) -> Tensor:
        """int64 ``[R]``: samples in each region."""
        return torch.bincount(self.labels.reshape(-1))

    @cached_property
    def bits(self) -> int:
        """What the label map costs whoever stores it: 0 if it is ``free``, else its length in a lossless coder.

        The coder is that of :func:`~partinr.partition.coding.coded_bits`.
        """
        return 0 if self.free else coded_bits(self.labels)

    def near_border(self, width: int) -> Tensor:
        """Which samples have one of another region within ``width`` steps along the axes, diagonals among them.

        Args:
            width: in samples, 1 or more.

        Returns:
            bool ``[*grid]``; False everywhere where there is one region.
        """
        lowest = highest = self.labels
        for axis, n in enumerate(self.shape):
            # The outermost samples repeated beyond the edge: there is no border.
            places = torch.arange(-width, n + width).clamp(0, n - 1)
            lowest = lowest.index_select(axis, places).unfold(axis, 2 * width + 1, 1).amin(-1)
            highest = highest.index_select(axis, places).unfold(axis, 2 * width + 1, 1).amax(-1)
        return lowest != highest

    def labels_at(self, shape: Sequence[int], smooth: bool = False) -> Tensor:
        """The label map at another resolution, over the same extent.

        A point belongs to the region of the sample whose cell holds it. For a grid of rectangles these are the
        rectangles themselves; the border of any other region is the staircase of its pixels. With ``smooth`` the
        samples around a point vote, each with its weight in linear interpolation, and the region with most of the
        weight has the point (in a tie, that of the cell): stairs become slopes, borders along an axis and the corners
        of a grid stay where they are, and every sample keeps its own label.

        Args:
            shape: the other grid's, as many axes as this one's.
            smooth: let the neighbours vote.

        Returns:
            int64 ``[*shape]``; it may lack regions that no new sample falls into.
        """
        return self.labels_on([axis_samples(n, m) for n, m in zip(self.shape, shape, strict=True)], smooth)

    def labels_on(self, axes: Sequence[AxisSamples], smooth: bool = False) -> Tensor:
        """The labels of some points, as :meth:`labels_at` finds them.

        Args:
            axes: the points, along each axis.
            smooth: let the neighbours vote.

        Returns:
            int64 ``[*points]``.
        """
        nearest = self.labels
        for number, axis in enumerate(axes):
            nearest = nearest.index_select(number, axis.cells)
        return vote_of_nearest(self.labels, axes, nearest) if smooth else nearest

    @property
    def axes(self) -> tuple[AxisSamples, ...]:
        """The samples of its own grid, along each axis."""
        return tuple(axis_samples(n, n) for n in self.shape)

    def cover_on(self, axes: Sequence[AxisSamples], overlap: int, smooth: bool = False) -> Cover:
        """Which regions have a part in each of some points, if they reach beyond their borders.

        Args:
            axes: the points, along each axis.
            overlap: how far they reach, in samples of the partition; 0 for not at all.
            smooth: as for :meth:`labels_at`, where they do not reach beyond; where they do, weights are smooth anyway.
        """
        if overlap:
            return blended_cover(self.labels, self.near_border(overlap), axes, overlap)
        label = self.labels_on(axes, smooth).reshape(-1)
        return Cover(torch.arange(len(label)), label, torch.ones(len(label), dtype=torch.float64))


@spec
class PartitionRule(ABC):
    """A rule from a signal to a :class:`Partition`. A subclass is a spec and writes :meth:`labels`.

    Attributes:
        title: what a table calls the rule; the class's name in lower case if a subclass says nothing.
        free: whether the label map follows from the rule's options alone, whatever the signal is.
        cached: whether a label map may be kept and found again by signal and options (:mod:`partinr.partition.cache`);
            not for a rule that is cheap, or that looks at what its options do not say.
    """

    title: ClassVar[str]
    free: ClassVar[bool] = False
    cached: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "title" not in vars(cls):
            cls.title = cls.__name__.lower()

    @abstractmethod
    def labels(self, signal: Tensor) -> Tensor:
        """The region of each sample.

        Args:
            signal: float32 ``[*grid, C]`` in [0, 1].

        Returns:
            whole numbers ``[*grid]``, 0 … R-1 without a gap.

        Raises:
            PartinrError: the rule cannot be carried out on this signal.
        """

    def labels_of(self, signal: Tensor, source: Source | None) -> Tensor:
        """:meth:`labels` for a rule that also wants to know where the signal is from; it overrides this.

        Args:
            signal: float32 ``[*grid, C]`` in [0, 1].
            source: of the signal; None if unknown.
        """
        return self.labels(signal)

    def fingerprint(self) -> dict[str, Any]:
        """What, beside the signal, the label map depends on: plain containers."""
        return {"rule": f"{type(self).__module__}.{type(self).__qualname__}", **dataclasses.asdict(self)}

    def check(self, partition: Partition) -> Partition:
        """See that a partition is what was asked for, or say what is not.

        Raises:
            PartinrError: it is not, and the rule's options do not let that pass.
        """
        return partition

    def __call__(self, signal: Tensor, source: Source | None = None) -> Partition:
        """Carry out the rule.

        Args:
            signal: float32 ``[*grid, C]`` in [0, 1].
            source: where it is from, for the rules that look beside it.

        Raises:
            PartinrError: it cannot be carried out, or what it gives is no partition of this signal.
        """
        if math.prod(signal.shape) == 0:
            raise PartinrError(f"the signal has the shape {list(signal.shape)}; give one with samples")
        start = time.perf_counter()
        labels = self.labels_of(signal, source)
        seconds = time.perf_counter() - start
        if tuple(labels.shape) != tuple(signal.shape[:-1]):
            raise PartinrError(
                f"{type(self).__name__} gave labels of shape {list(labels.shape)} for a grid of "
                f"{list(signal.shape[:-1])}; a rule gives one label a sample"
            )
        return self.check(Partition(labels, seconds=seconds, free=self.free))
