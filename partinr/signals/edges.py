"""Images by the length of their edges, which stand for the boundaries that a step function has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.feature import canny
from skimage.morphology import thin
from torch import Tensor

DETECTOR: dict[str, Any] = {"sigma": 1.0, "low_threshold": 0.1, "high_threshold": 0.2}
"""Options of scikit-image's Canny (1986): its Gaussian in pixels, and its thresholds for values in [0, 1]."""

_LUMA = (0.2125, 0.7154, 0.0721)
"""What red, green and blue count in grey (ITU-R BT.709)."""


def edge_pixels(image: Tensor) -> Tensor:
    """Where Canny's detector finds an edge, with :data:`DETECTOR`, thinned to lines of one pixel.

    An edge exactly between two pixels is found in both, so the detector's own lines may have two. The outermost pixels
    are never among them: an edge has two sides.

    Args:
        image: floating ``[H, W, C]`` in [0, 1]; three channels are red, green and blue, of others the mean is taken.

    Returns:
        bool ``[H, W]``.
    """
    values = image.detach().cpu().double()
    grey = values @ torch.tensor(_LUMA, dtype=torch.float64) if values.shape[-1] == 3 else values.mean(-1)
    # nearest: beyond the image there is more of the same, not black.
    found: NDArray[np.bool_] = canny(grey.numpy(), mode="nearest", **DETECTOR)
    # Not skeletonize, which leaves a point of a slanting line that is two pixels wide.
    return torch.from_numpy(thin(found))


@dataclass(frozen=True, eq=False)
class EdgedImage:
    """An image, as :class:`~partinr.signals.StepSignal` is a step function.

    Attributes:
        values: float32 ``[H, W, C]`` in [0, 1].
        cells: unlike those of a step function, they cannot be counted.
    """

    values: Tensor
    cells: None = None

    lowest: ClassVar[float] = 0.0
    """Of the values; the highest is 1."""

    @cached_property
    def boundaries(self) -> float:
        """The length of its edges in sides of the image: edge pixels over the square root of all pixels.

        It does not depend on the resolution, as long as that shows the edges, and one straight edge along a whole axis
        of a square counts 1. A slanting one counts as far as it goes along the axis that it is nearer to.
        """
        found = edge_pixels(self.values)
        return int(found.sum()) / math.sqrt(found.numel())

    def on_grid(self, shape: Sequence[int]) -> Tensor:
        """Its values: float32 ``[*shape, C]``.

        Args:
            shape: its own; it has no values between its pixels.
        """
        assert tuple(shape) == tuple(self.values.shape[:-1]), "an image is fitted on its own grid"
        return self.values
