"""Reads the image that a run fitted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL.PngImagePlugin import PngImageFile

from partinr.base.errors import PartinrError
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import IMAGE, of_image


def fitted_image(run: RunDirectory, image: str | None, shape: Sequence[int]) -> np.ndarray:
    """The image that a run fitted, from its 8-bit picture.

    Args:
        run: the run directory.
        image: name of one image of a run with several.
        shape: shape of its model, ``[H, W, C]``.

    Returns:
        float32 ``[H, W, C]`` in [0, 1].

    Raises:
        PartinrError: the picture is missing, damaged, or was replaced.
    """
    path = run.file(of_image(image, IMAGE))
    try:
        # Not Image.open, which takes a picture of more than 179 million pixels for an attack.
        with PngImageFile(path) as picture:
            pixels = np.asarray(picture, dtype=np.float32) / 255
    except FileNotFoundError as error:
        raise PartinrError(f"there is no {path} to compare the fit with; partinr render draws the fit alone") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's own names for a damaged file
        raise PartinrError(f"{path} is damaged; partinr render draws the fit alone") from error
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape != tuple(shape):
        raise PartinrError(f"{path} has the shape {list(pixels.shape)}, but {list(shape)} was fitted; was it replaced?")
    return pixels
