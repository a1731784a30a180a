"""A label map in few bits, and how many they are."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from partinr.signals.decode import MAX_PIXELS

_SIDE = 8192
"""Of a file, in pixels: one of that side is below the size at which Pillow takes a file for an attack."""


def coded_bits(labels: Tensor) -> int:
    """Length of a label map in lossless WebP, in bits; see :func:`encode_labels`.

    Headers are counted: they are what anybody who stores the map pays.
    """
    return sum(8 * len(file) for file in encode_labels(labels))


def encode_labels(labels: Tensor) -> list[bytes]:
    """A label map as lossless WebP: one file, or for a map with a side above 8,192 one for each tile, row by row.

    The numbers of the regions go into the colours, the lowest byte into green, as WebP wants it; up to 256 regions are
    a palette.

    Args:
        labels: int64 ``[*grid]``, 0 … 2^24 - 1; a 1-D map is one row of pixels, one of more axes is seen as rows.
    """
    array = labels.numpy()
    array = array.reshape(-1, array.shape[-1])
    files = []
    for tile in _tiles(array.shape):
        part = array[tile]
        pixels = np.stack([part >> 8 & 255, part & 255, part >> 16], axis=-1).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, method=4, quality=80)
        files.append(buffer.getvalue())
    return files


def decode_labels(files: Sequence[bytes], shape: Sequence[int]) -> Tensor:
    """The label map that :func:`encode_labels` made these files of.

    Args:
        files: in their order.
        shape: of the map.

    Returns:
        int64 ``[*shape]``.

    Raises:
        ValueError: they are not those of a map of this shape.
    """
    if min(shape) < 1 or math.prod(shape) > MAX_PIXELS:
        raise ValueError(f"no label map is {list(shape)}")
    rows, columns = math.prod(shape[:-1]), shape[-1]
    tiles = list(_tiles((rows, columns)))
    if len(files) != len(tiles):
        raise ValueError(f"a label map of {list(shape)} is {len(tiles)} files, not {len(files)}")
    # Whether the files are as large as they should be is seen before anything of that size is allocated.
    sizes = [(min(_SIDE, columns - left.start), min(_SIDE, rows - top.start)) for top, left in tiles]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # no tile is so large
            pictures = [Image.open(io.BytesIO(file), formats=["WEBP"]) for file in files]
        if [picture.size for picture in pictures] != sizes:
            raise ValueError(f"the label map is not {list(shape)}")
        array = np.empty((rows, columns), dtype=np.int64)
        for picture, tile in zip(pictures, tiles, strict=True):
            array[tile] = np.asarray(picture.convert("RGB"), dtype=np.int64) @ np.array([256, 1, 65_536])
    # Pillow's names for damage.
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError("the label map is damaged") from error
    return torch.from_numpy(array).reshape(tuple(shape))


def _tiles(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Where each file lies in a map of ``[rows, columns]``."""
    for top in range(0, shape[0], _SIDE):
        for left in range(0, shape[1], _SIDE):
            yield slice(top, top + _SIDE), slice(left, left + _SIDE)
