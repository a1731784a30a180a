"""From a grid to coordinates: the one place that decides axis order and range.

A signal lies on a regular grid of shape ``[n_0, …, n_(d-1)]``; for an image, ``n_0`` is the height and ``n_1`` the
width. Samples are numbered in row-major order (the last axis runs fastest), like ``values.reshape(-1, C)``, and
coordinate ``k`` belongs to axis ``k``: **the first coordinate is the row**. The grid fills [-1, 1] along every axis,
and a sample lies at the centre of its cell,

    x_i = (2 i + 1) / n - 1,    i = 0 … n - 1,

so the outer edges are at -1 and 1, neighbouring samples are 2 / n apart, and a place in the image has the same
coordinates at every resolution.

There are two frames: ``global``, one for the whole signal (the paper's), and ``local``, in which each region's bounding
box (at the outer edges of its cells) is [-1, 1] along every axis.

There is one more layout, for the study of the published claim alone: ``public_code``, a fault of the paper's public
code, see :func:`layout_coords`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError, check_choice

Frame = Literal["global", "local"]

Layout = Literal["public_code"]
"""Another layout than the right one: a fault, see :func:`layout_coords`."""

_AT_ONCE = 1_000_000
"""Points that vote at a time, to limit memory."""


@door
def axis_coords(n: int) -> Tensor:
    """Cell centres of one axis of ``n`` samples: float64 ``[n]`` in (-1, 1), ascending."""
    return (2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1


@door
def grid_coords(shape: Sequence[int]) -> Tensor:
    """Coordinates of every sample of a grid.

    Args:
        shape: ``[n_0, …, n_(d-1)]``, each at least 1.

    Returns:
        float64 ``[n_0 · … · n_(d-1), d]`` in (-1, 1), row-major. Double precision keeps the local frame of a small
        region in a large grid exact; networks get float32.
    """
    return outer_coords([axis_coords(n) for n in shape])


@door
def outer_coords(axes: Sequence[Tensor]) -> Tensor:
    """Coordinates of every combination of one sample from each axis.

    Args:
        axes: the coordinates along each axis, ``[m_k]``.

    Returns:
        ``[m_0 · … · m_(d-1), d]``, row-major.
    """
    return torch.stack([axis.reshape(-1) for axis in torch.meshgrid(*axes, indexing="ij")], dim=-1)


def check_layout(layout: Layout | None, frame: Frame, dimensions: int = 2) -> None:
    """Check that a layout of coordinates can be had.

    Args:
        layout: the layout; None for the right one.
        frame: frame of the coordinates.
        dimensions: axes of the signal.

    Raises:
        PartinrError: the layout is unknown, or goes neither with the frame nor with the signal.
    """
    check_choice("coords.layout", layout, (None, *get_args(Layout)))
    if layout is not None and frame != "global":
        raise PartinrError(
            f"coords.layout=public_code scatters a region over the plane, so coords.frame={frame} has no box to fill; "
            "give coords.frame=global"
        )
    if layout is not None and dimensions != 2:
        raise PartinrError(
            f"coords.layout=public_code is for images, and the signal has {dimensions} axes; leave the layout out"
        )


def layout_coords(axes: Sequence[AxisSamples], layout: Layout | None = None) -> Tensor:
    """Global coordinates of every combination of one point from each axis.

    ``public_code`` repeats a fault of the paper's public code. It flattens pixels row by row, H rows of W, and
    coordinates as W rows of H. So pixel number ``n`` of the image, at row ``n // W`` and column ``n % W``, has the
    coordinates of row ``n // H`` and column ``n % H`` of a grid ``[W, H]``. What the networks fit is therefore
    ``image.reshape(W, H, C)``. A 2×3 image is seen as 3×2::

        a b c            a b
        d e f    as      c d
                         e f

    Neighbours a and d lie apart, and c and d, at opposite ends of the image, are neighbours. If H = W, both layouts are
    the same. The regions are still those of the image: each is scattered over the plane in stripes.

    Args:
        axes: the points along each axis.
        layout: the layout; None for the right one, in which a sample has the coordinates of its row and column.

    Returns:
        float64 ``[m_0 · … · m_(d-1), d]``, row-major.

    Raises:
        PartinrError: the layout is ``public_code`` and a point is not at the centre of a sample.
    """
    if layout is None:
        return outer_coords([axis.coords for axis in axes])
    if not all(axis.on_samples for axis in axes):
        raise PartinrError(
            "coords.layout=public_code scrambles the image, so there is nothing between its pixels; "
            "render at scale 1, all of it or whole pixels"
        )
    rows, columns = axes
    sample = (rows.cells[:, None] * columns.n + columns.cells).reshape(-1)
    return grid_coords((columns.n, rows.n))[sample]


def scaled_shape(shape: Sequence[int | Fraction], scale: float) -> tuple[int, ...]:
    """The shape of a grid at ``scale`` times the resolution, rounded, with at least one sample along each axis.

    Args:
        shape: samples along each axis; a part of a grid may have fractions.
        scale: above 0.

    Raises:
        PartinrError: ``scale`` is not a positive finite number.
    """
    if not 0 < scale < float("inf"):
        raise PartinrError(f"scale is {scale}; give a positive number, such as 2")
    return tuple(max(1, round(n * scale)) for n in shape)


@door
def nearest_samples(shape: Sequence[int], target_shape: Sequence[int]) -> Tensor:
    """For each sample of a grid of ``target_shape``, the sample of a grid of ``shape`` whose cell contains it.

    A point on the border of two cells goes to the later one.

    Returns:
        int64 ``[prod(target_shape)]``, row-major positions in the grid of ``shape``.
    """
    index = torch.zeros(1, dtype=torch.int64)
    for n, m in zip(shape, target_shape, strict=True):
        # The centre of target cell j lies at (2 j + 1) / 2 m of the axis; integers avoid rounding.
        cell = (2 * torch.arange(m) + 1) * n // (2 * m)
        index = (index[:, None] * n + cell).reshape(-1)
    return index


@door
@dataclass(frozen=True)
class AxisSamples:
    """Points along one axis of a grid, evenly spaced over all or part of it, at any resolution.

    They are the centres of equal cells. Values are computed on demand, so the number of points does not matter.

    Attributes:
        n: samples of the grid.
        m: cells between start and end.
        start: start of the first cell, in units of 1 / ``parts`` samples of the grid; sample i extends from i to i + 1.
        length: from the start of the first cell to the end of the last, in the same units.
        parts: units in a sample of the grid.
        numbers: numbers of these cells among the m cells.
    """

    n: int
    m: int
    start: int
    length: int
    parts: int
    numbers: range

    def __len__(self) -> int:
        return len(self.numbers)

    def part(self, start: int, stop: int, step: int = 1) -> AxisSamples:
        """The points of the slice ``start:stop:step``."""
        return replace(self, numbers=self.numbers[start:stop:step])

    @property
    def on_samples(self) -> bool:
        """Whether every point is a sample of the grid."""
        return torch.equal(self.places, self.cells.double())

    @cached_property
    def cells(self) -> Tensor:
        """int64 ``[M]``, the grid sample whose cell contains each point; on a border, the later one."""
        return self._centres // (2 * self.m * self.parts)

    @cached_property
    def places(self) -> Tensor:
        """float64 ``[M]``, position of each point in samples: sample i is at i.

        Positions beyond the outermost samples are clamped to 0 … n - 1.
        """
        return (self._centres.double() / (2 * self.m * self.parts) - 0.5).clamp(0, self.n - 1)

    @cached_property
    def coords(self) -> Tensor:
        """float64 ``[M]``, global coordinates of the points."""
        return self._centres.double() / (self.m * self.parts * self.n) - 1

    @property
    def _centres(self) -> Tensor:
        """Centres of the cells, in units of 1 / (2 m ``parts``) samples of the grid; integers avoid rounding."""
        numbers = torch.arange(self.numbers.start, self.numbers.stop, self.numbers.step)
        return 2 * self.m * self.start + (2 * numbers + 1) * self.length


def axis_samples(n: int, m: int, start: Fraction | int = 0, stop: Fraction | int | None = None) -> AxisSamples:
    """The centres of m equal cells, from one place of an axis to another.

    Args:
        n: samples of the grid along the axis.
        m: number of cells.
        start: start of the first cell, in samples of the grid; sample i extends from i to i + 1.
        stop: end of the last cell, above ``start``; None for the end of the axis, n.

    Raises:
        PartinrError: the cells are too many, or too fine, to be told apart.
    """
    low, high = Fraction(start), Fraction(n if stop is None else stop)
    parts = math.lcm(low.denominator, high.denominator)
    if 2 * m * n * parts >= 2**63:
        raise PartinrError(f"{m} samples over {float(high - low):g} of {n} are too many to be told apart; give fewer")
    return AxisSamples(n, m, int(low * parts), int((high - low) * parts), parts, range(m))


@door
def vote_of_nearest(labels: Tensor, axes: Sequence[AxisSamples], nearest: Tensor) -> Tensor:
    """For each point, the label with the largest weight in linear interpolation between samples.

    Args:
        labels: int64 ``[*grid]``.
        axes: the points, along each axis.
        nearest: int64 ``[*points]``, the label of the sample whose cell contains each point; it wins ties.

    Returns:
        int64 ``[*points]``.
    """
    # Only the part of the grid around the points, so that many bands cost no more than all points at once.
    first = [int(axis.places[0]) for axis in axes]
    ends = [int(axis.places[-1]) + 2 for axis in axes]
    labels = labels[tuple(slice(low, high) for low, high in zip(first, ends, strict=True))]
    lower = [axis.places.long() - low for axis, low in zip(axes, first, strict=True)]
    share = [axis.places - axis.places.floor() for axis in axes]
    corners = list(itertools.product((0, 1), repeat=labels.ndim))

    def at(places: Sequence[Tensor], corner: Sequence[int]) -> Tensor:
        """Labels of the samples ``corner`` steps beyond ``places``."""
        indices = zip(places, corner, labels.shape, strict=True)
        return labels[tuple((place + step).clamp(max=n - 1) for place, step, n in indices)]

    # Only points between samples of different regions need a vote.
    samples = torch.meshgrid(*map(torch.arange, labels.shape), indexing="ij")
    mixed = torch.stack([at(samples, corner) != labels for corner in corners]).any(dim=0)
    disputed = mixed[torch.meshgrid(*lower, indexing="ij")].nonzero()
    chosen = nearest.clone()
    for points in disputed.split(_AT_ONCE):  # [P, d]
        point = points.unbind(dim=1)
        places = [low[index] for low, index in zip(lower, point, strict=True)]
        shares = [part[index] for part, index in zip(share, point, strict=True)]
        voters = torch.stack([at(places, corner) for corner in corners])  # [2^d, P]
        weight = torch.ones(voters.shape, dtype=torch.float64)
        for row, corner in zip(weight, corners, strict=True):
            for step, part in zip(corner, shares, strict=True):
                row *= part if step else 1 - part
        winner = chosen[point]
        best = ((voters == winner) * weight).sum(dim=0)
        for candidate in voters:
            votes = ((voters == candidate) * weight).sum(dim=0)
            # Only a clear majority moves a point: equal sums may differ in their last bits.
            more = votes > best + 1e-9
            best, winner = torch.where(more, votes, best), torch.where(more, candidate, winner)
        chosen[point] = winner
    return chosen


@door
def region_frames(labels: Tensor, regions: int, margin: int = 0) -> tuple[Tensor, Tensor]:
    """The local frame of each region: centre and half extent of its bounding box, in global coordinates.

    Args:
        labels: int64 ``[*grid]``, 0 … regions - 1, each at least once.
        regions: their number.
        margin: samples added to the box on every side, within the grid.

    Returns:
        ``(centre, half_extent)``, float64 ``[regions, d]`` each; the half extent of a region one sample wide is that of
        a cell, never 0.
    """
    dimensions = labels.ndim
    centre = torch.empty(regions, dimensions, dtype=torch.float64)
    half_extent = torch.empty_like(centre)
    flat = labels.reshape(-1)
    for axis, n in enumerate(labels.shape):
        position = torch.arange(n).reshape([-1 if k == axis else 1 for k in range(dimensions)])
        position = position.expand(labels.shape).reshape(-1)
        first = torch.full((regions,), n).scatter_reduce(0, flat, position, "amin")
        last = torch.full((regions,), -1).scatter_reduce(0, flat, position, "amax")
        first, last = (first - margin).clamp(min=0), (last + margin).clamp(max=n - 1)
        low, high = 2 * first.double() / n - 1, 2 * (last.double() + 1) / n - 1
        centre[:, axis], half_extent[:, axis] = (low + high) / 2, (high - low) / 2
    return centre, half_extent


@door
def to_frame(coords: Tensor, centre: Tensor, half_extent: Tensor, region: Tensor) -> Tensor:
    """Global coordinates in the local frame of each sample's region.

    Args:
        coords: float64 ``[M, d]``, global.
        centre: float64 ``[R, d]``, from :func:`region_frames`.
        half_extent: float64 ``[R, d]``.
        region: int64 ``[M]``, the region of each sample.

    Returns:
        float64 ``[M, d]``; within [-1, 1] for samples inside their region's bounding box.
    """
    return (coords - centre[region]) / half_extent[region]
