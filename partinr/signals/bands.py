"""Images of any number of channels: multispectral TIFF through tifffile, and NumPy's NPY.

Pillow and OpenCV read grey, RGB, and these with transparency only.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from partinr.base.errors import PartinrError
from partinr.signals.userfile import quoted


def read_bands(stream: BinaryIO) -> np.ndarray:
    """The samples of a TIFF's first page as stored: ``[H, W, C]``.

    Raises:
        Exception: tifffile's own for a damaged file, and for a compression that it needs other packages for.
    """
    import tifffile  # slow to import, and most images need it not

    stream.seek(0)
    with tifffile.TiffFile(stream) as file:
        page = file.pages.first
        samples, axes = page.asarray(), page.axes
    if "S" not in axes:
        return samples[:, :, None]
    return np.moveaxis(samples, axes.index("S"), -1)


def read_array(stream: BinaryIO, file: Path) -> np.ndarray:
    """The image in an NPY file: ``[H, W, C]`` of uint8, uint16 or float32.

    Raises:
        PartinrError: the file is damaged, or its array is no image.
    """
    stream.seek(0)
    try:
        values: np.ndarray = np.load(stream, allow_pickle=False)
    except Exception as error:  # NumPy passes on any error of its header parser
        raise PartinrError(
            f"{quoted(file)} cannot be read as NPY: {' '.join(str(error).split())}; save it again with numpy.save"
        ) from error
    shape = list(values.shape)
    if values.ndim not in (2, 3) or values.size == 0:
        cure = "data=volume fits volumes" if values.ndim == 4 else "give [H, W] or [H, W, C]"
        raise PartinrError(f"{quoted(file)} has the shape {shape}, not that of an image; {cure}")
    if values.ndim == 3 and shape[0] in (1, 3) and shape[2] > 4:
        raise PartinrError(f"{quoted(file)} has the shape {shape}; the channels go last: numpy.moveaxis(…, 0, -1)")
    if values.dtype.kind == "f":
        values = values.astype(np.float32)
    if values.dtype not in (np.uint8, np.uint16, np.float32):
        raise PartinrError(f"{quoted(file)} holds {values.dtype} values; save uint8, uint16, or floats in [0, 1]")
    return values if values.ndim == 3 else values[:, :, None]
