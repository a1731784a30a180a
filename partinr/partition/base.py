"""Partitions, and the base class of the rules that make them."""

from __future__ import annotations

import dataclasses
import math
import os
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError, PartinrWarning
from partinr.base.spec import spec
from partinr.coords import AxisSamples, axis_samples, vote_of_nearest
from partinr.partition.coding import coded_bits
from partinr.partition.cover import Cover, blended_cover
from partinr.pictures.notebook import card, draw_picture, label_picture, shown
from partinr.signals import Given, Source, signal_from

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from partinr.partition.gate import Gate
    from partinr.partition.live import Live

DEFAULT_REGIONS = 9
"""The default number of regions: the paper's #9."""

Regions = Annotated[int, Field(ge=1)] | Literal["auto"]
"""A number of regions, or ``auto``, see :func:`partinr.model.capacity.settle_regions`."""


def settled(regions: int | Literal["auto"]) -> int:
    """A number of regions.

    Raises:
        PartinrError: it is ``auto``.
    """
    if regions == "auto":
        raise PartinrError(
            "partition.regions=auto follows from backbone.match_params, which a rule alone does not know; "
            "give a number, or settle it with partinr.model.capacity.settle_regions"
        )
    return regions


def fitting(regions: int | Literal["auto"], shape: Sequence[int]) -> int:
    """A number of regions for a grid.

    Raises:
        PartinrError: it is ``auto``, or more than the samples.
    """
    if (number := settled(regions)) > (samples := math.prod(shape)):
        raise PartinrError(
            f"partition.regions={number} is more than the {samples} samples of a {'×'.join(map(str, shape))} signal; "
            "give fewer"
        )
    return number


@door
@dataclass(frozen=True, eq=False)
class Partition:
    """A region for every sample of a signal's grid.

    Attributes:
        labels: int64 ``[*grid]`` (``[H, W]`` for an image), 0 … R-1, each number at least once. Any integer tensor is
            accepted and copied.
        seconds: wall time that the rule took; None if no rule made the partition. A partition from a cache has the
            time of the original run.
        free: whether the map follows from the rule's options alone, so that it need not be stored or sent.
        notice: one line for a user who compares results, such as fewer regions than requested.

    Raises:
        PartinrError: the labels are empty, not whole numbers, negative or not contiguous.
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
        # Among M samples any label of M or more implies a gap below it, so larger labels need no bins of their own.
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
        """The number of regions, R."""
        return int(self.labels.max()) + 1

    @property
    def sizes(self) -> Tensor:
        """The number of samples in each region: int64 ``[R]``."""
        return torch.bincount(self.labels.reshape(-1))

    @cached_property
    def bits(self) -> int:
        """Size of the stored label map: 0 if ``free``, else its length in a lossless coder.

        See :func:`~partinr.partition.coding.coded_bits`.
        """
        return 0 if self.free else coded_bits(self.labels)

    @door
    def _repr_html_(self) -> str:
        sizes = self.sizes
        facts = {
            "grid": "×".join(map(str, self.shape)),
            "regions": f"{self.regions:,}",
            "samples a region": f"{int(sizes.min()):,} to {int(sizes.max()):,}",
            "label map": f"{self.bits:,} bits",
            "made in": None if self.seconds is None else f"{self.seconds:.2g} s",
            "notice": self.notice,
        }
        return card("Partition", facts, [shown("regions", label_picture(self.labels))])

    def plot(self, image: Given | None = None, ax: Axes | None = None, title: str = "") -> Axes:
        """Draw the regions.

        Args:
            image: a picture to tint: a file, NumPy array or tensor; None for plain colours.
            ax: axes of matplotlib to draw on; None for a new figure.
            title: title of the axes.

        Raises:
            PartinrError: the image lies on another grid, or cannot be read.
        """
        under = None if image is None else signal_from(image, len(self.shape))
        if under is not None and tuple(under.shape[:-1]) != self.shape:
            raise PartinrError(
                f"the image lies on a grid of {list(under.shape[:-1])}, the partition on one of {list(self.shape)}; "
                "give the image that the partition was made of"
            )
        return draw_picture(label_picture(self.labels, under), ax, title)

    def near_border(self, width: int) -> Tensor:
        """Mask of the samples that have a sample of another region within ``width`` steps, diagonals included.

        Args:
            width: in samples, 1 or more.

        Returns:
            bool ``[*grid]``; all False if there is one region.
        """
        if self.regions == 1:
            return torch.zeros(self.shape, dtype=torch.bool)
        lowest = highest = self.labels.int()  # several copies are made, half as large
        for axis, n in enumerate(self.shape):
            # Repeating the outermost samples keeps the edge of the signal from counting as a border.
            places = torch.arange(-width, n + width).clamp(0, n - 1)
            lowest, highest = (
                reduce(better, (padded.narrow(axis, shift, n) for shift in range(2 * width + 1)))
                for better, padded in (
                    (torch.minimum, lowest.index_select(axis, places)),
                    (torch.maximum, highest.index_select(axis, places)),
                )
            )
        return lowest != highest

    def labels_at(self, shape: Sequence[int], smooth: bool = False) -> Tensor:
        """The label map at another resolution, over the same extent.

        A point belongs to the region of the sample whose cell contains it. A grid of rectangles thus keeps its
        rectangles; any other border becomes the staircase of its pixels. With ``smooth``, the samples around a point
        vote, each with its weight in linear interpolation, and the region with the largest total wins (in a tie, that
        of the cell). Stairs then become slopes, borders along an axis and corners of a grid stay in place, and every
        sample keeps its own label.

        Args:
            shape: of the other grid, with as many axes as this one.
            smooth: let the neighbours vote.

        Returns:
            int64 ``[*shape]``; a region that contains no new sample is missing from it.
        """
        return self.labels_on([axis_samples(n, m) for n, m in zip(self.shape, shape, strict=True)], smooth)

    def labels_on(self, axes: Sequence[AxisSamples], smooth: bool = False) -> Tensor:
        """The labels of some points, by the rule of :meth:`labels_at`.

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
        """The samples of the partition's own grid, along each axis."""
        return tuple(axis_samples(n, n) for n in self.shape)

    def cover_on(self, axes: Sequence[AxisSamples], overlap: int, smooth: bool = False) -> Cover:
        """The regions that contribute to each of some points, with their weights.

        Args:
            axes: the points, along each axis.
            overlap: how far a region reaches beyond its border, in samples of the partition; 0 for not at all.
            smooth: as for :meth:`labels_at`; ignored with an overlap, whose weights are smooth anyway.
        """
        if overlap:
            return blended_cover(self.labels, self.near_border(overlap), axes, overlap)
        label = self.labels_on(axes, smooth).reshape(-1)
        return Cover(torch.arange(len(label)), label, torch.ones(len(label), dtype=torch.float64))


@spec
class PartitionRule(ABC):
    """A rule from a signal to a :class:`Partition`. A subclass is a spec and writes :meth:`labels`.

    Attributes:
        title: name of the rule in tables; defaults to the class's name in lower case.
        free: whether the label map follows from the rule's options alone, whatever the signal is.
        axes: numbers of axes of the signals that the rule takes.
        cached: whether a label map may be kept under signal and options (:mod:`partinr.partition.cache`). Leave it
            False for a rule that is cheap, or that reads something its options do not name.
        gated: whether the regions move while the networks are trained, see :meth:`gate`.
    """

    title: ClassVar[str]
    free: ClassVar[bool] = False
    axes: ClassVar[Sequence[int]] = (1, 2, 3)
    cached: ClassVar[bool] = False
    gated: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "title" not in vars(cls):
            cls.title = cls.__name__.lower()
        if "labels" in vars(cls):
            cls.labels = door(cls.labels)  # type: ignore[method-assign]

    @property
    def live(self) -> Live | None:
        """What happens to the partition during training; None for labels that stay."""
        return None

    @abstractmethod
    def labels(self, signal: Tensor) -> Tensor:
        """The region of each sample.

        Args:
            signal: float32 ``[*grid, C]`` in [0, 1].

        Returns:
            whole numbers ``[*grid]``, 0 … R-1 without a gap.

        Raises:
            PartinrError: the rule does not work on this signal.
        """

    def refuses(self, signal: Tensor) -> str | None:
        """Why the rule is not for a signal ``[*grid, C]``, in one line with a cure; None if it is."""
        if signal.ndim - 1 in self.axes:
            return None
        wanted = " or ".join(map(str, self.axes))
        return (
            f"partition={self.title} is for signals of {wanted} ax{'i' if wanted == '1' else 'e'}s, and this one has "
            f"{signal.ndim - 1}; choose {suited(signal.ndim - 1)}"
        )

    def about(self, regions: int) -> PartitionRule:
        """This rule, whose ``regions`` is ``auto``, with a number instead."""
        return dataclasses.replace(self, regions=regions)  # type: ignore[call-arg]

    def gate(self, partition: Partition) -> Gate | None:
        """What weighs the networks while it is trained together with them, beginning with a partition of this rule.

        None if the regions stay as they are.
        """
        return None

    def labels_of(self, signal: Tensor, source: Source | None) -> Tensor:
        """:meth:`labels`, for a rule that also needs to know where the signal is from: override this instead.

        Args:
            signal: float32 ``[*grid, C]`` in [0, 1].
            source: of the signal; None if unknown.
        """
        return self.labels(signal)

    def fingerprint(self) -> dict[str, Any]:
        """Everything except the signal that the label map depends on, in plain containers."""
        return {"rule": f"{type(self).__module__}.{type(self).__qualname__}", **dataclasses.asdict(self)}

    def check(self, partition: Partition) -> Partition:
        """The partition, with a notice if it is not what was asked for.

        Raises:
            PartinrError: the partition is not as requested, and the rule's options do not accept that.
        """
        return partition

    def __call__(self, signal: Given, source: Source | None = None) -> Partition:
        """Same as :meth:`carry_out`, also for a file or a NumPy array.

        A notice of the partition is also a :class:`PartinrWarning`.
        """
        if isinstance(signal, (str, os.PathLike)) and source is None:
            source = Source(Path(signal).stem, os.fspath(signal))
        if not isinstance(signal, Tensor):
            signal = signal_from(signal)
        partition = self.carry_out(signal, source)
        if partition.notice is not None:
            warnings.warn(partition.notice, PartinrWarning, stacklevel=2)
        return partition

    @door
    def carry_out(self, signal: Tensor, source: Source | None = None) -> Partition:
        """The rule's partition of a signal. :func:`partinr.partition.make` does the same with a cache.

        Args:
            signal: float32 ``[*grid, C]`` in [0, 1].
            source: where it is from, for rules that look at more than its values.

        Raises:
            PartinrError: the rule fails, or its labels are not a partition of this signal.
        """
        if math.prod(signal.shape) == 0:
            raise PartinrError(f"the signal has the shape {list(signal.shape)}; give one with samples")
        if (reason := self.refuses(signal)) is not None:
            raise PartinrError(reason)
        start = time.perf_counter()
        labels = self.labels_of(signal, source)
        seconds = time.perf_counter() - start
        if tuple(labels.shape) != tuple(signal.shape[:-1]):
            raise PartinrError(
                f"{type(self).__name__} gave labels of shape {list(labels.shape)} for a grid of "
                f"{list(signal.shape[:-1])}; a rule gives one label a sample"
            )
        return self.check(Partition(labels, seconds=seconds, free=self.free))


def suited(axes: int) -> str:
    """Rules for signals of so many axes, for advice: the grid, and partinr's rules that are for no others."""
    known, left = [], [PartitionRule]
    while left:
        left += (rule := left.pop(0)).__subclasses__()
        if rule.axes == (axes,) and rule.__module__.startswith("partinr.partition."):
            known.append(f"partition={rule.title}")
    return " or ".join(["partition=grid", *known])
