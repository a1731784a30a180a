"""Images with the length of their edges, the counterpart of a step function's boundaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.base.environment import door
from partinr.base.later import Later

if TYPE_CHECKING:
    from skimage import feature, morphology
else:
    feature = Later("skimage.feature")
    morphology = Later("skimage.morphology")

DETECTOR: dict[str, Any] = {"sigma": 1.0, "low_threshold": 0.1, "high_threshold": 0.2}
"""Options of scikit-image's Canny (1986): its Gaussian in pixels, and its thresholds for values in [0, 1]."""

_LUMA = (0.2125, 0.7154, 0.0721)
"""Weights of red, green and blue in grey (ITU-R BT.709)."""


@door
def edge_pixels(image: Tensor) -> Tensor:
    """The edges that Canny's detector finds with :data:`DETECTOR`, thinned to lines of one pixel.

    The detector finds an edge between two pixels in both, so its own lines may be two pixels wide. It never finds one
    in the outermost pixels.

    Args:
        image: floating ``[H, W, C]`` in [0, 1]; three channels are red, green and blue, others are averaged.

    Returns:
        bool ``[H, W]``.
    """
    values = image.detach().cpu().double()
    grey = values @ torch.tensor(_LUMA, dtype=torch.float64) if values.shape[-1] == 3 else values.mean(-1)
    # mode="nearest" continues the image beyond its edge; the default would make the outside black.
    found: NDArray[np.bool_] = feature.canny(grey.numpy(), mode="nearest", **DETECTOR)
    # skeletonize would shrink a slanting line of two pixels' width to a point.
    return torch.from_numpy(morphology.thin(found))


@dataclass(frozen=True, eq=False)
class EdgedImage:
    """An image with the interface of :class:`~partinr.signals.StepSignal`.

    Attributes:
        values: float32 ``[H, W, C]`` in [0, 1].
        cells: None, since an image has no countable cells.
    """

    values: Tensor
    cells: None = None

    lowest: ClassVar[float] = 0.0
    """Lowest value; the highest is 1."""

    @cached_property
    def boundaries(self) -> float:
        """Length of the edges in sides of the image: edge pixels over the square root of all pixels.

        It does not depend on the resolution, as long as that shows the edges. A straight edge along a whole axis of a
        square counts 1; a slanting one counts its length along the axis it is closer to.
        """
        found = edge_pixels(self.values)
        return int(found.sum()) / math.sqrt(found.numel())

    def on_grid(self, shape: Sequence[int]) -> Tensor:
        """The values: float32 ``[*shape, C]``.

        Args:
            shape: of the image itself; there are no values between pixels.
        """
        assert tuple(shape) == tuple(self.values.shape[:-1]), "an image is fitted on its own grid"
        return self.values
