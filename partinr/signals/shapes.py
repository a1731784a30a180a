"""Signed distances of simple shapes in [-1, 1]³, exact everywhere: below 0 inside, above 0 outside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""Float64 ``[M, 3]``."""

Distances = NDArray[np.float64]
"""Float64 ``[M]``."""

Shape = Callable[[Points], Distances]


def sphere(points: Points, radius: float = 0.7) -> Distances:
    """Distances to a ball around the origin."""
    found: Distances = np.linalg.norm(points, axis=1) - radius
    return found


def torus(points: Points, ring: float = 0.6, tube: float = 0.25) -> Distances:
    """Distances to a ring around the third axis.

    Args:
        points: ``[M, 3]``.
        ring: from the origin to the middle of the tube.
        tube: radius of the tube, below ``ring``.
    """
    across = np.hypot(points[:, 0], points[:, 1]) - ring
    found: Distances = np.hypot(across, points[:, 2]) - tube
    return found


def box(points: Points, half: tuple[float, float, float] = (0.7, 0.5, 0.35)) -> Distances:
    """Distances to a box around the origin with half of its extents given."""
    beyond = np.abs(points) - np.array(half)
    found: Distances = np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(axis=1), 0)
    return found


def union(points: Points) -> Distances:
    """Distances to a ring with a ball in its hole, and a box and a smaller ring over them.

    They do not touch, so the least of their distances is exact inside, too.
    """
    lower = points + np.array([0, 0, 0.4])
    upper = points - np.array([0.35, 0, 0.45])
    parts = (
        torus(lower, 0.65, 0.17),
        sphere(lower, 0.33),
        box(points - np.array([-0.45, 0, 0.45]), (0.3, 0.3, 0.25)),
        torus(upper[:, [0, 2, 1]], 0.27, 0.1),
    )
    found: Distances = np.minimum.reduce(parts)
    return found


SHAPES: dict[str, Shape] = {"torus": torus, "sphere": sphere, "box": box, "union": union}
"""The shapes by name."""
