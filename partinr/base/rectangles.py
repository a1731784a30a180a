"""Boxes of samples: grids of a given number of them, and boxes that are cut further."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence


def factorings(count: int, shape: Sequence[int]) -> list[tuple[int, ...]]:
    """The numbers of boxes along each axis whose product is ``count`` and that fit ``shape``, in samples."""
    if len(shape) == 1:
        return [(count,)] if count <= shape[0] else []
    divisors = (n for n in range(1, min(count, shape[0]) + 1) if count % n == 0)
    return [(first, *rest) for first in divisors for rest in factorings(count // first, shape[1:])]


def closest_to_cubes(count: int, shape: Sequence[int]) -> tuple[int, ...] | None:
    """The factoring whose boxes are closest to squares or cubes; None if none fits.

    Of boxes of the same volume, those have the smallest surface.
    """

    def surface(counts: tuple[int, ...]) -> int:
        # In whole numbers, so that ties are exact: the sum of 1 / side, times the volume of the signal.
        return sum(n * math.prod(shape) // side for n, side in zip(counts, shape, strict=True))

    # Ties go to fewer boxes along the earlier axes.
    return min(factorings(count, shape), key=lambda counts: (surface(counts), counts), default=None)


Box = tuple[tuple[int, int], ...]
"""First sample, and the one behind the last, along each axis."""


def split(box: Box, fraction: float = 0.5) -> tuple[Box, Box]:
    """Both parts of a box of two samples or more, cut across its longest side.

    Args:
        box: the box.
        fraction: about that of the first part.
    """
    axis = max(range(len(box)), key=lambda number: box[number][1] - box[number][0])
    start, stop = box[axis]
    middle = start + min(max(1, round((stop - start) * fraction)), stop - start - 1)
    return (*box[:axis], (start, middle), *box[axis + 1 :]), (*box[:axis], (middle, stop), *box[axis + 1 :])


def samples(box: Box) -> tuple[slice, ...]:
    """The index of the samples in a box."""
    return tuple(slice(*side) for side in box)


def size(box: Box) -> int:
    """The number of samples in a box."""
    return math.prod(stop - start for start, stop in box)


def divided(boxes: Sequence[Box], count: int) -> list[Box]:
    """Boxes cut further into ``count`` of about equal size, nearly squares or cubes, in the order of ``boxes``.

    Args:
        boxes: at most ``count``.
        count: at most the number of samples in all boxes.
    """
    shares = [1] * len(boxes)
    # The next cut goes to the box whose parts would be largest after it.
    waiting = [(-size(box) / 2, number) for number, box in enumerate(boxes)]
    heapq.heapify(waiting)
    for _ in range(count - len(boxes)):
        _, number = waiting[0]
        shares[number] += 1
        heapq.heapreplace(waiting, (-size(boxes[number]) / (shares[number] + 1), number))
    return [part for box, share in zip(boxes, shares, strict=True) for part in _bisected(box, share)]


def _bisected(box: Box, count: int) -> list[Box]:
    """A box as ``count`` boxes."""
    if count == 1:
        return [box]
    parts = split(box, (count // 2) / count)
    first, second = map(size, parts)
    share = min(max(1, count - second, round(count * first / (first + second))), count - 1, first)
    return [*_bisected(parts[0], share), *_bisected(parts[1], count - share)]
