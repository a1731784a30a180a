"""The errors of runs, drawn from their pictures: runs of older versions have drawn theirs on another scale."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from partinr.pictures.draw import to_uint8
from partinr.pictures.errors import ERROR_SCALE, ErrorScale, error_map
from partinr.runs.layout import IMAGE, RECONSTRUCTION


@contextmanager
def opened(path: Path) -> Iterator[Image.Image | None]:
    """An opened picture file; None if it is missing or damaged."""
    try:
        picture = Image.open(path)
        picture.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        yield None
        return
    with picture:
        yield picture


def error_of(folder: Path, scale: ErrorScale = ERROR_SCALE) -> np.ndarray | None:
    """The error of the fit in a folder: uint8 ``[H, W, 3]``; None if image or reconstruction is missing or damaged."""
    with opened(folder / IMAGE) as image, opened(folder / RECONSTRUCTION) as fit:
        if image is None or fit is None or image.size != fit.size:
            return None
        wanted, got = (np.asarray(each.convert("RGB"), dtype=np.float32) / 255 for each in (image, fit))
        return to_uint8(error_map(wanted, got, scale))
