"""Lossless coding of label maps."""

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
"""Side of a file, in pixels: below the size that Pillow takes for a decompression bomb."""


def coded_bits(labels: Tensor) -> int:
    """Length of a label map in lossless WebP, in bits, headers included; see :func:`encode_labels`."""
    return sum(8 * len(file) for file in encode_labels(labels))


def encode_labels(labels: Tensor) -> list[bytes]:
    """A label map as lossless WebP: one file, or one for each tile, row by row, if a side is longer than 8,192.

    The labels become colours, with the lowest byte in green, which suits WebP; up to 256 regions become a palette.

    Args:
        labels: int64 ``[*grid]``, 0 … 2^24 - 1; a 1-D map is one row of pixels.
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
    """The label map in the files of :func:`encode_labels`.

    Args:
        files: in their order.
        shape: of the map.

    Returns:
        int64 ``[*shape]``.

    Raises:
        ValueError: the files are damaged, or not those of a map of this shape.
    """
    if min(shape) < 1 or math.prod(shape) > MAX_PIXELS:
        raise ValueError(f"no label map is {list(shape)}")
    rows, columns = math.prod(shape[:-1]), shape[-1]
    tiles = list(_tiles((rows, columns)))
    if len(files) != len(tiles):
        raise ValueError(f"a label map of {list(shape)} is {len(tiles)} files, not {len(files)}")
    # The sizes of the files are checked before memory of that size is allocated.
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
    # Pillow's errors for damaged files.
    except (OSError, SyntaxError, EOFError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError("the label map is damaged") from error
    return torch.from_numpy(array).reshape(tuple(shape))


def _tiles(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """The slices of each file in a map of ``[rows, columns]``."""
    for top in range(0, shape[0], _SIDE):
        for left in range(0, shape[1], _SIDE):
            yield slice(top, top + _SIDE), slice(left, left + _SIDE)
