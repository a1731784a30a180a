"""How many boxes a grid of a given number of them has along each axis."""

from __future__ import annotations

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
