"""How far a fitted field is from a signed distance: insides, surfaces, and the length of the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from partinr.pictures.surfaces import surface_of

Field = NDArray[np.floating]
"""``[n_0, n_1, n_2]`` on the grid that fills [-1, 1]³."""


def iou(reconstruction: Field, signal: Field, level: float = 0.5) -> float:
    """Intersection of both insides over their union, in samples; 1 if both are empty.

    A sample is inside if its value is below the level.
    """
    ours, theirs = reconstruction < level, signal < level
    union = int((ours | theirs).sum())
    return float((ours & theirs).sum() / union) if union else 1.0


def chamfer(reconstruction: Field, signal: Field, level: float = 0.5) -> float:
    """Chamfer distance of both surfaces: half the sum of the mean distances from each to the other.

    The points are the vertices of marching cubes, and the distance is Euclidean, not squared (Chamfer-L1). The side of
    the grid has length 2. Infinite if one surface is missing, 0 if both are.
    """
    from scipy.spatial import cKDTree

    ours, theirs = (surface_of(field, level).vertices for field in (reconstruction, signal))
    if not len(ours) or not len(theirs):
        return 0.0 if len(ours) == len(theirs) else float("inf")
    there, back = cKDTree(theirs).query(ours)[0], cKDTree(ours).query(theirs)[0]
    return float(there.mean() + back.mean()) / 2


def eikonal(reconstruction: Field, signal: Field, truncation: float) -> float:
    """Mean of abs(length of the gradient - 1) near the surface, from central differences on the grid; NaN if none.

    A signed distance has a gradient of length 1, up to edges of the shape and places with several nearest points. Near
    means that no sample of the difference has a truncated distance in the signal.

    Args:
        reconstruction: values; ``(2 · value - 1) · truncation`` is the distance.
        signal: the same of the signal.
        truncation: in units in which the side of the grid is 2.
    """
    steps = [2 / n for n in signal.shape]
    near = np.abs(2 * signal - 1) * truncation < truncation - max(steps)
    inner = np.zeros_like(near)
    inner[1:-1, 1:-1, 1:-1] = True
    near &= inner
    if not near.any():
        return float("nan")
    slopes: Any = np.gradient(2 * truncation * reconstruction.astype(np.float64), *steps)
    length = np.linalg.norm([slope[near] for slope in slopes], axis=0)
    return float(np.abs(length - 1).mean())
