"""Image files of any size, written from top to bottom, so that no more than a band of rows is in memory.

PNG has an encoder of its own here, some lines on top of zlib: Pillow and OpenCV want the whole picture at once. TIFF is
tifffile's, in strips without compression, as BigTIFF from 4 GB on. NPY is NumPy's format, its values written one after
another. (Not through memory maps: what they have written counts as the process's memory.) A file takes its name when it
is whole (:func:`partinr.base.files.replacing`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from partinr.base.errors import PartinrError
from partinr.base.files import replacing

Depth = Literal["8", "16", "float"]

DEPTHS: dict[str, tuple[Depth, ...]] = {
    ".png": ("8", "16"),
    ".tif": ("8", "16", "float"),
    ".tiff": ("8", "16", "float"),
    ".npy": ("float", "8", "16"),
}
"""Endings of names, and the depths that such files can have; the first by default."""

_DTYPES: dict[Depth, np.dtype[Any]] = {"8": np.dtype("u1"), "16": np.dtype("<u2"), "float": np.dtype("<f4")}

_LEVEL = 3
"""Of zlib. Higher levels take several times as long, and the file is hardly smaller after the filter."""

_STRIP_BYTES = 2**18
"""Of a TIFF: what a reader has to take in at once to see a part."""

_BIG_BYTES = 2**32 - 2**25
"""From so many bytes of pixels on a TIFF is a BigTIFF; offsets of the plain one end at 2^32."""


def depth_of(path: Path, depth: Depth | None = None) -> Depth:
    """The depth of a file of that name.

    Args:
        path: of the file; its ending says of which kind it is.
        depth: that is wanted; None for the kind's own.

    Raises:
        PartinrError: no such kind can be written, or it has no such depth.
    """
    depths = DEPTHS.get(path.suffix.lower())
    if depths is None:
        *others, last = DEPTHS
        raise PartinrError(f"cannot write {path}; give a file that ends in {', '.join(others)} or {last}")
    if depth is None:
        return depths[0]
    if depth not in depths:
        kinds = " or ".join(ending for ending, able in DEPTHS.items() if depth in able)
        raise PartinrError(f"{path} cannot hold pixels of depth {depth}; give a file that ends in {kinds}")
    return depth


def file_bytes(shape: Sequence[int], depth: Depth) -> int:
    """What the pixels of a picture take, uncompressed."""
    return int(np.prod(shape, dtype=object)) * _DTYPES[depth].itemsize


def to_depth(values: NDArray[np.floating], depth: Depth) -> NDArray[np.generic]:
    """Values in [0, 1] as numbers of a depth.

    ``float`` leaves them as they are, float32. For the whole numbers they are clipped and rounded, and what is not
    finite becomes 0.
    """
    if depth == "float":
        return values.astype(_DTYPES[depth], copy=False)
    finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    top = np.iinfo(_DTYPES[depth]).max
    rounded: NDArray[np.generic] = np.rint(np.clip(finite, 0, 1) * top).astype(_DTYPES[depth])
    return rounded


def write_picture(path: Path, shape: Sequence[int], depth: Depth, bands: Iterable[NDArray[np.floating]]) -> None:
    """Write a picture band by band.

    Args:
        path: PNG, TIFF or NPY, by its ending.
        shape: ``[H, W, C]``; C = 1 or 3, but for NPY, where there may be any further axes.
        depth: one that :func:`depth_of` gives.
        bands: float ``[h, W, C]`` each, from top to bottom, in [0, 1] (for ``float``: any values).

    Raises:
        PartinrError: a picture of that shape has no place in such a file.
        OSError: it cannot be written. What was there is left as it was.
    """
    kind = path.suffix.lower()
    check_shape(path, shape)
    rows = (to_depth(band, depth) for band in bands)
    with replacing(path) as file:
        if kind == ".npy":
            _write_npy(file, shape, depth, rows)
        elif kind == ".png":
            _write_png(file, shape, depth, rows)
        else:
            _write_tiff(file, shape, depth, rows)


def check_shape(path: Path, shape: Sequence[int]) -> None:
    """See that a picture of a shape has a place in a file of that name.

    Raises:
        PartinrError: it has none.
    """
    if path.suffix.lower() != ".npy" and (len(shape) != 3 or shape[2] not in (1, 3)):
        raise PartinrError(
            f"{path} is for grey and RGB pictures, not for an array {list(shape)}; give a file that ends in .npy"
        )


def _write_npy(file: BinaryIO, shape: Sequence[int], depth: Depth, bands: Iterator[NDArray[np.generic]]) -> None:
    described = {"descr": np.lib.format.dtype_to_descr(_DTYPES[depth]), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, described)
    for band in bands:
        file.write(np.ascontiguousarray(band).data)


def _write_tiff(file: BinaryIO, shape: Sequence[int], depth: Depth, bands: Iterator[NDArray[np.generic]]) -> None:
    import tifffile  # takes its time, and most pictures are PNG

    height, width, channels = shape
    per_strip = min(height, max(1, _STRIP_BYTES // file_bytes((width, channels), depth)))
    with tifffile.TiffWriter(file, bigtiff=file_bytes(shape, depth) > _BIG_BYTES) as tiff:
        tiff.write(
            (strip if channels == 3 else strip[:, :, 0] for strip in _strips(bands, per_strip)),
            shape=(height, width, 3) if channels == 3 else (height, width),
            dtype=_DTYPES[depth],
            photometric="rgb" if channels == 3 else "minisblack",
            rowsperstrip=per_strip,
            metadata=None,
            software="partinr",
        )


def _strips(bands: Iterator[NDArray[np.generic]], rows: int) -> Iterator[NDArray[np.generic]]:
    """The same rows, so many at once; fewer at the end."""
    rest: NDArray[np.generic] | None = None
    for band in bands:
        if rest is not None:
            band = np.concatenate([rest, band])
        whole = len(band) - len(band) % rows
        for start in range(0, whole, rows):
            yield np.ascontiguousarray(band[start : start + rows])
        rest = band[whole:]
    if rest is not None and len(rest):
        yield np.ascontiguousarray(rest)


def _write_png(file: BinaryIO, shape: Sequence[int], depth: Depth, bands: Iterator[NDArray[np.generic]]) -> None:
    """PNG (W3C, 2003), grey or RGB, not interlaced, every row with the filter `Up`: what the row above lacks."""
    height, width, channels = shape
    file.write(b"\x89PNG\r\n\x1a\n")
    _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, int(depth), 2 if channels == 3 else 0, 0, 0, 0))
    stream = zlib.compressobj(_LEVEL)
    above = np.zeros((1, file_bytes((width, channels), depth)), dtype=np.uint8)
    for band in bands:
        # The upper byte of a number comes first.
        rows = np.ascontiguousarray(band.astype(band.dtype.newbyteorder(">"))).view(np.uint8).reshape(len(band), -1)
        filtered = np.full((len(rows), 1 + rows.shape[1]), 2, dtype=np.uint8)
        np.subtract(rows, np.concatenate([above, rows[:-1]]), out=filtered[:, 1:])
        above = rows[-1:].copy()
        if packed := stream.compress(filtered.data):
            _write_chunk(file, b"IDAT", packed)
    _write_chunk(file, b"IDAT", stream.flush())
    _write_chunk(file, b"IEND", b"")


def _write_chunk(file: BinaryIO, kind: bytes, content: bytes) -> None:
    file.write(struct.pack(">I", len(content)) + kind)
    file.write(content)
    file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))
