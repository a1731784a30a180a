"""Writes image files of any size from top to bottom, with one band of rows in memory.

This module has a small PNG encoder on top of zlib, since Pillow and OpenCV need the whole picture at once. tifffile
writes TIFF in strips without compression, as BigTIFF from 4 GB on. NPY, NumPy's format, is written value by value,
since memory maps would count as memory of the process. A file gets its name when it is complete
(:func:`partinr.base.files.replacing`).
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
"""Depths of files by the endings of their names; the first is the default."""

_DTYPES: dict[Depth, np.dtype[Any]] = {"8": np.dtype("u1"), "16": np.dtype("<u2"), "float": np.dtype("<f4")}

_LEVEL = 3
"""Level of zlib. After the filter, higher levels take several times as long for barely smaller files."""

_STRIP_BYTES = 2**18
"""Size of a TIFF strip in bytes; readers load whole strips."""

_BIG_BYTES = 2**32 - 2**25
"""Bytes of pixels from which a TIFF is a BigTIFF, since offsets of a plain TIFF end at 2^32."""


def depth_of(path: Path, depth: Depth | None = None, further: Sequence[str] = ()) -> Depth:
    """The depth of a file.

    Args:
        path: path of the file, whose ending determines the format.
        depth: the requested depth; None for the default of the format.
        further: other endings that could be written, for the message.

    Raises:
        PartinrError: the format is unknown, or does not have this depth.
    """
    depths = DEPTHS.get(path.suffix.lower())
    if depths is None:
        *others, last = dict.fromkeys([*further, *DEPTHS])
        raise PartinrError(f"cannot write {path}; give a file that ends in {', '.join(others)} or {last}")
    if depth is None:
        return depths[0]
    if depth not in depths:
        kinds = " or ".join(ending for ending, able in DEPTHS.items() if depth in able)
        raise PartinrError(f"{path} cannot hold pixels of depth {depth}; give a file that ends in {kinds}")
    return depth


def file_bytes(shape: Sequence[int], depth: Depth) -> int:
    """Uncompressed size of the pixels of a picture."""
    return int(np.prod(shape, dtype=object)) * _DTYPES[depth].itemsize


def to_depth(values: NDArray[np.floating], depth: Depth) -> NDArray[np.generic]:
    """Values in [0, 1] as numbers of a depth.

    ``float`` keeps float32 values unchanged. For integers, values are clipped and rounded, and values that are not
    finite become 0.
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
        shape: ``[H, W, C]``, in a PNG with C = 1 or 3; for NPY any axes.
        depth: from :func:`depth_of`.
        bands: float ``[h, W, C]`` each, from top to bottom, in [0, 1] (for ``float``: any values).

    Raises:
        PartinrError: the format cannot hold this shape.
        OSError: the file cannot be written; an existing one stays unchanged.
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
    """Refuse a shape that the format of a file cannot hold.

    Raises:
        PartinrError: the format cannot hold the shape.
    """
    kind, bands = path.suffix.lower(), len(shape) == 3
    if kind == ".npy" or (bands and (kind != ".png" or shape[2] in (1, 3))):
        return
    raise PartinrError(
        f"{path} is for grey and RGB pictures, not for an array {list(shape)}; give a file that ends in .npy"
        + (" or .tif" if bands else "")
    )


def _write_npy(file: BinaryIO, shape: Sequence[int], depth: Depth, bands: Iterator[NDArray[np.generic]]) -> None:
    described = {"descr": np.lib.format.dtype_to_descr(_DTYPES[depth]), "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, described)
    for band in bands:
        file.write(np.ascontiguousarray(band).data)


def _write_tiff(file: BinaryIO, shape: Sequence[int], depth: Depth, bands: Iterator[NDArray[np.generic]]) -> None:
    import tifffile  # slow to import, and most pictures are PNG

    height, width, channels = shape
    per_strip = min(height, max(1, _STRIP_BYTES // file_bytes((width, channels), depth)))
    with tifffile.TiffWriter(file, bigtiff=file_bytes(shape, depth) > _BIG_BYTES) as tiff:
        tiff.write(
            (strip if channels > 1 else strip[:, :, 0] for strip in _strips(bands, per_strip)),
            shape=(height, width, channels) if channels > 1 else (height, width),
            dtype=_DTYPES[depth],
            photometric="rgb" if channels == 3 else "minisblack",
            planarconfig="contig" if channels > 1 else None,
            rowsperstrip=per_strip,
            metadata=None,
            software="partinr",
        )


def _strips(bands: Iterator[NDArray[np.generic]], rows: int) -> Iterator[NDArray[np.generic]]:
    """The rows of ``bands`` in strips of ``rows`` rows; the last one may be shorter."""
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
    """PNG (W3C, 2003), grey or RGB, not interlaced. The filter `Up` stores each row minus the one above."""
    height, width, channels = shape
    file.write(b"\x89PNG\r\n\x1a\n")
    _write_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, int(depth), 2 if channels == 3 else 0, 0, 0, 0))
    stream = zlib.compressobj(_LEVEL)
    above = np.zeros((1, file_bytes((width, channels), depth)), dtype=np.uint8)
    for band in bands:
        # PNG is big-endian.
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
