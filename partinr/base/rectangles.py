"""How many rows and columns a grid of a given number of rectangles has."""

from __future__ import annotations

from collections.abc import Sequence


def factorings(count: int, shape: Sequence[int]) -> list[tuple[int, int]]:
    """The pairs of rows and columns whose product is ``count`` and that fit ``shape``, two lengths in samples."""
    divisors = (n for n in range(1, min(count, shape[0]) + 1) if count % n == 0)
    return [(rows, count // rows) for rows in divisors if count // rows <= shape[1]]


def closest_to_squares(count: int, shape: Sequence[int]) -> tuple[int, int] | None:
    """The rows and columns whose rectangles are closest to squares; None if no factoring of ``count`` fits."""
    # Ties go to more columns.
    return min(factorings(count, shape), key=lambda pair: (_elongation(pair, shape), pair[0]), default=None)


def _elongation(pair: tuple[int, int], shape: Sequence[int]) -> float:
    """Long by short side of a factoring's rectangles; computed from whole numbers, so that ties are exact."""
    first, second = shape[0] * pair[1], shape[1] * pair[0]
    return max(first, second) / min(first, second)
