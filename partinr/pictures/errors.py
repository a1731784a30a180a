"""Pictures of errors, on one scale of colours for all runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partinr.base.errors import PartinrError
from partinr.pictures.draw import as_image

ERROR_COLORMAP = "inferno"
"""Name in matplotlib of the colours of errors. It is perceptually uniform, and dark means a small error."""


@dataclass(frozen=True)
class ErrorScale:
    """How absolute errors become colours."""

    low: float
    """The error of the first colour, and of all below it."""
    high: float
    """The error of the last colour, and of all above it."""
    logarithmic: bool = False
    """Whether equal ratios of errors are equal steps of colour, not equal differences."""

    def share(self, error: NDArray[np.floating]) -> NDArray[np.floating]:
        """The places of errors on the scale, 0 to 1; 1 for an error that is not finite."""
        if self.logarithmic:
            found = np.log(np.maximum(error, self.low) / self.low) / np.log(self.high / self.low)
        else:
            found = (error - self.low) / (self.high - self.low)
        place: NDArray[np.floating] = np.where(np.isfinite(error), found, 1.0).clip(0, 1)
        return place

    @property
    def ticks(self) -> tuple[float, ...]:
        """The errors at the ends, and in the middle of a logarithmic scale."""
        middle = ((self.low * self.high) ** 0.5,) if self.logarithmic else ()
        return self.low, *middle, self.high


ERROR_SCALE = ErrorScale(0.003, 0.3, logarithmic=True)
"""The scale of the pictures of runs and of all pages. It is fixed, so that pictures of any two runs compare.

A PSNR of 20, 30 and 40 dB is a root mean square error of 0.1, 0.03 and 0.01. A linear scale shows structure for one of
them only. Errors below 0.003 are those of rounding to 8 bits.
"""


def error_map(image: Any, reconstruction: Any, scale: ErrorScale = ERROR_SCALE) -> np.ndarray:
    """The absolute error, averaged over the channels, in the colours of `ERROR_COLORMAP`.

    Args:
        image: ``[H, W, C]`` in [0, 1].
        reconstruction: of the same shape; clipped to [0, 1], as for the PSNR. Values that are not finite get the colour
            of the largest error.
        scale: the colour of each error.

    Returns:
        float32 RGB ``[H, W, 3]`` in [0, 1].

    Raises:
        PartinrError: a shape is wrong.
    """
    wanted, got = as_image(image), as_image(reconstruction)
    if wanted.shape != got.shape:
        raise PartinrError(f"the image has the shape {wanted.shape}, its reconstruction {got.shape}; give equal shapes")
    return error_colours(np.abs(wanted - got.clip(0, 1)).mean(axis=2), scale)


def error_colours(error: NDArray[np.floating], scale: ErrorScale = ERROR_SCALE) -> np.ndarray:
    """The colours of absolute errors: float32 RGB ``[..., 3]`` in [0, 1]."""
    return _colours()[np.rint(scale.share(error) * 255).astype(np.uint8)]


@cache
def _colours() -> np.ndarray:
    """The 256 colours of the scale: float32 ``[256, 3]``."""
    # Slower to import than the rest of this module.
    import matplotlib

    colormap = matplotlib.colormaps[ERROR_COLORMAP].resampled(256)
    return np.array(colormap(range(256)), dtype=np.float32)[:, :3]
