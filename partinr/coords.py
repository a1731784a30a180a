"""From a grid to coordinates: the one place where axis order and range are decided.

A signal lies on a regular grid of shape ``[n_0, …, n_(d-1)]``; for an image, ``n_0`` is the height and ``n_1`` the
width. Samples are numbered in row-major order (the last axis runs fastest), exactly as ``values.reshape(-1, C)``
numbers them, and coordinate ``k`` belongs to axis ``k``: **the first coordinate is the row**. The grid fills
[-1, 1] along every axis and a sample sits at the centre of its cell,

    x_i = (2 i + 1) / n - 1,    i = 0 … n - 1,

so the outer edges are at -1 and 1, two samples of one axis are 2 / n apart, and the same place in the image has the
same coordinates at every resolution.

Two frames: ``global``, one for the whole signal (the paper's), and ``local``, where each region's bounding box
(taken at the outer edges of its cells) is its own [-1, 1] along every axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from partinr.base.errors import PartinrError

Frame = Literal["global", "local"]

_AT_ONCE = 1_000_000
"""Points that vote at a time, to hold memory down."""


def axis_coords(n: int) -> Tensor:
    """Cell centres of one axis of ``n`` samples: float64 ``[n]`` in (-1, 1), ascending."""
    return (2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1


def grid_coords(shape: Sequence[int]) -> Tensor:
    """Coordinates of every sample of a grid.

    Args:
        shape: ``[n_0, …, n_(d-1)]``, each at least 1.

    Returns:
        float64 ``[n_0 · … · n_(d-1), d]`` in (-1, 1), row-major. Double precision, so that a local frame of a small
        region in a large grid loses nothing; networks get float32.
    """
    return outer_coords([axis_coords(n) for n in shape])


def outer_coords(axes: Sequence[Tensor]) -> Tensor:
    """Coordinates of every combination of one sample an axis.

    Args:
        axes: ``[m_k]`` each, the coordinates along axis k.

    Returns:
        ``[m_0 · … · m_(d-1), d]``, row-major.
    """
    return torch.stack([axis.reshape(-1) for axis in torch.meshgrid(*axes, indexing="ij")], dim=-1)


def scaled_shape(shape: Sequence[int | Fraction], scale: float) -> tuple[int, ...]:
    """The grid shape at ``scale`` times the resolution, each axis rounded, at least one sample.

    Args:
        shape: samples along each axis; of a part of a grid they need not be whole.
        scale: above 0.

    Raises:
        PartinrError: ``scale`` is not a positive finite number.
    """
    if not 0 < scale < float("inf"):
        raise PartinrError(f"scale is {scale}; give a positive number, such as 2")
    return tuple(max(1, round(n * scale)) for n in shape)


def nearest_samples(shape: Sequence[int], target_shape: Sequence[int]) -> Tensor:
    """For each sample of a grid of ``target_shape``, the sample of the grid of ``shape`` whose cell holds it.

    A point on the border of two cells goes to the later one.

    Returns:
        int64 ``[prod(target_shape)]``, row-major numbers into the grid of ``shape``.
    """
    index = torch.zeros(1, dtype=torch.int64)
    for n, m in zip(shape, target_shape, strict=True):
        # The centre of target cell j lies at (2 j + 1) / 2 m of the axis: in integers, so that no rounding moves it.
        cell = (2 * torch.arange(m) + 1) * n // (2 * m)
        index = (index[:, None] * n + cell).reshape(-1)
    return index


@dataclass(frozen=True)
class AxisSamples:
    """Samples along one axis of a grid, evenly spaced over the whole of it or a part, at any resolution.

    They sit at the centres of equal cells. Nothing is computed before it is asked for, so there may be any number.

    Attributes:
        n: samples of the grid itself.
        m: cells from ``start`` to the end.
        start: where the cells begin, in ``parts`` of a sample of the grid, whose sample i fills i … i + 1.
        length: how far they reach, likewise.
        parts: of a sample of the grid.
        numbers: those of the m cells that are meant.
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
        """Of them those that ``start:stop:step`` picks."""
        return replace(self, numbers=self.numbers[start:stop:step])

    @cached_property
    def cells(self) -> Tensor:
        """int64 ``[M]``, the grid's sample whose cell holds each; on the border of two it is the later one."""
        return self._centres // (2 * self.m * self.parts)

    @cached_property
    def places(self) -> Tensor:
        """float64 ``[M]``, where each is, if the grid's sample i is at i.

        Beyond the outermost ones there is nothing, so it is between 0 and n - 1.
        """
        return (self._centres.double() / (2 * self.m * self.parts) - 0.5).clamp(0, self.n - 1)

    @cached_property
    def coords(self) -> Tensor:
        """float64 ``[M]``, global coordinates."""
        return self._centres.double() / (self.m * self.parts * self.n) - 1

    @property
    def _centres(self) -> Tensor:
        """In 2 m ``parts`` of a sample of the grid: whole numbers, so that no rounding moves any."""
        numbers = torch.arange(self.numbers.start, self.numbers.stop, self.numbers.step)
        return 2 * self.m * self.start + (2 * numbers + 1) * self.length


def axis_samples(n: int, m: int, start: Fraction | int = 0, stop: Fraction | int | None = None) -> AxisSamples:
    """Samples at the centres of m equal cells, from one place of an axis to another.

    Args:
        n: samples of the grid along the axis.
        m: how many are wanted.
        start: where their cells begin, in samples of the grid; its sample i fills i … i + 1.
        stop: where they end, above ``start``; None for the end of the axis, n.

    Raises:
        PartinrError: they are too many, or too fine, to be told apart.
    """
    low, high = Fraction(start), Fraction(n if stop is None else stop)
    parts = math.lcm(low.denominator, high.denominator)
    if 2 * m * n * parts >= 2**63:
        raise PartinrError(f"{m} samples over {float(high - low):g} of {n} are too many to be told apart; give fewer")
    return AxisSamples(n, m, int(low * parts), int((high - low) * parts), parts, range(m))


def vote_of_nearest(labels: Tensor, axes: Sequence[AxisSamples], nearest: Tensor) -> Tensor:
    """For each of some points, the label with most weight in linear interpolation between samples.

    Args:
        labels: int64 ``[*grid]``.
        axes: the points, along each axis.
        nearest: int64 ``[*points]``, the label of the sample whose cell holds each point; it wins a tie.

    Returns:
        int64 ``[*points]``.
    """
    # Only the part of the grid that the points lie in, so that band by band costs no more than all at once.
    first = [int(axis.places[0]) for axis in axes]
    ends = [int(axis.places[-1]) + 2 for axis in axes]
    labels = labels[tuple(slice(low, high) for low, high in zip(first, ends, strict=True))]
    lower = [axis.places.long() - low for axis, low in zip(axes, first, strict=True)]
    share = [axis.places - axis.places.floor() for axis in axes]
    corners = list(itertools.product((0, 1), repeat=labels.ndim))

    def at(places: Sequence[Tensor], corner: Sequence[int]) -> Tensor:
        """Labels of the samples that are ``corner`` steps further than ``places``."""
        indices = zip(places, corner, labels.shape, strict=True)
        return labels[tuple((place + step).clamp(max=n - 1) for place, step, n in indices)]

    # Mostly all around a point are of one region, and there is nothing to vote about.
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


def region_frames(labels: Tensor, regions: int, margin: int = 0) -> tuple[Tensor, Tensor]:
    """The local frame of each region: centre and half extent of its bounding box, in global coordinates.

    Args:
        labels: int64 ``[*grid]``, 0 … regions - 1, each at least once.
        regions: how many there are.
        margin: by so many samples the box is larger on every side, as far as there are any.

    Returns:
        ``(centre, half_extent)``, float64 ``[regions, d]`` each; a region one sample wide has the half extent of one
        cell, never 0.
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


def to_frame(coords: Tensor, centre: Tensor, half_extent: Tensor, region: Tensor) -> Tensor:
    """Global coordinates seen from each sample's own region.

    Args:
        coords: float64 ``[M, d]``, global.
        centre: float64 ``[R, d]``, from :func:`region_frames`.
        half_extent: float64 ``[R, d]``.
        region: int64 ``[M]``, the region of each sample.

    Returns:
        float64 ``[M, d]``; within [-1, 1] for samples inside their region's bounding box.
    """
    return (coords - centre[region]) / half_extent[region]
