"""What a label map costs to store."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from torch import Tensor

_SIDE = 16383
"""WebP's longest side, in pixels."""


def coded_bits(labels: Tensor) -> int:
    """Length of a label map in lossless WebP, in bits.

    The numbers of the regions go into the colours, the lowest byte into green, as WebP wants it; up to 256 regions are
    a palette. Headers are counted: they are what anybody who stores the map pays.

    Args:
        labels: int64 ``[*grid]``, 0 … 2^24 - 1; a 1-D map is one row of pixels, one of more axes is seen as rows.
    """
    array = labels.numpy()
    array = array.reshape(-1, array.shape[-1])
    pixels = np.stack([array >> 8 & 255, array & 255, array >> 16], axis=-1).astype(np.uint8)
    bits = 0
    for top in range(0, pixels.shape[0], _SIDE):
        for left in range(0, pixels.shape[1], _SIDE):
            buffer = io.BytesIO()
            tile = np.ascontiguousarray(pixels[top : top + _SIDE, left : left + _SIDE])
            Image.fromarray(tile).save(buffer, "WEBP", lossless=True, method=4, quality=80)
            bits += 8 * len(buffer.getvalue())
    return bits
