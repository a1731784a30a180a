"""The place of a volume's samples in space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def stack_affine(spacing: Sequence[float]) -> NDArray[np.float64]:
    """A place in space for a stack without one: slices from above to below, rows from front to back.

    Columns run to the left of the body, as radiologists look at it.
    """
    affine = np.zeros((4, 4))
    affine[[2, 1, 0], [0, 1, 2]] = -np.asarray(spacing, np.float64)
    affine[3, 3] = 1
    return affine


def regridded(affine: NDArray[np.float64], first: Sequence[float], step: Sequence[float]) -> NDArray[np.float64]:
    """The affine of another grid over the same volume.

    Args:
        affine: ``[4, 4]`` of the old grid.
        first: place of the first new sample along each axis, in old samples.
        step: distance of new samples along each axis, in old samples.
    """
    inner = np.diag([*step, 1.0])
    inner[:3, 3] = first
    found: NDArray[np.float64] = affine @ inner
    return found


def spacing_of(affine: NDArray[np.float64]) -> tuple[float, ...]:
    """The distance of neighbouring samples along each axis."""
    return tuple(float(each) for each in np.linalg.norm(affine[:3, :3], axis=0))
