"""Pictures and files of films ``[T, H, W, C]`` with values in [0, 1], C = 3 (RGB) or 1 (grey)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from partinr.base.files import replacing
from partinr.base.later import of_extra
from partinr.pictures.draw import coloured, to_uint8
from partinr.pictures.sheet import Sheet

FRAMES = 12
"""Frames on a contact sheet."""

FILM_ENDING = ".mp4"
"""Ending of the files that :func:`write_film` writes."""

_QUALITY = "14"
"""Constant rate factor of H.264, at which a coded film is hard to tell from the film."""


class FilmSheet(Sheet):
    """A contact sheet: frames at equal distances in time, row by row, and below them the x–t slice of the middle row.

    In the slice, time goes to the right and the columns of the frames go down; a cut is an upright line.

    Args:
        shape: ``[T, H, W]`` of the film.
        frames: limit of frames on the sheet.
    """

    def __init__(self, shape: tuple[int, ...], frames: int = FRAMES) -> None:
        length, height, width = shape
        count = min(frames, length)
        # About as high as wide, and no row but the last with a hole.
        columns = min(count, max(1, round(math.sqrt(count * 1.6 * height / width))))
        rows = math.ceil(count / columns)
        self.numbers = [int((2 * number + 1) * length // (2 * count)) for number in range(count)]
        gap = max(1, max(height, width) // 24)
        sheet = columns * (width + gap) - gap
        # The place of each pixel's value in the film, flattened; -1 for the paper between the frames.
        source = np.full((rows * (height + gap) + min(width, height), sheet), -1, dtype=np.int64)
        pixels = np.arange(height)[:, None] * width + np.arange(width)
        for place, number in enumerate(self.numbers):
            top, left = place // columns * (height + gap), place % columns * (width + gap)
            source[top : top + height, left : left + width] = number * height * width + pixels
        times = (2 * np.arange(sheet) + 1) * length // (2 * sheet)
        strip = min(width, height)
        across = (2 * np.arange(strip) + 1) * width // (2 * strip)
        source[-strip:] = (times * height + height // 2) * width + across[:, None]
        super().__init__(source)


def write_film(path: Path, shape: tuple[int, int, int], rate: float, bands: Iterable[NDArray[np.floating]]) -> None:
    """Write a film as MP4 (H.264), one band of frames in memory.

    Colours have half the resolution of brightness, which players expect; with an odd side they have all of it, which
    some browsers do not play.

    Args:
        path: the file.
        shape: ``[T, H, W]``.
        rate: frames a second.
        bands: float ``[t, H, W, C]`` each, in order, in [0, 1]; drawn as
            :func:`~partinr.pictures.draw.coloured` says.

    Raises:
        PartinrError: PyAV is not installed.
        OSError: the file cannot be written; an existing one stays unchanged.
    """
    _, height, width = shape
    av = of_extra("av", "video", "films are written")
    with replacing(path) as file, av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001))
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuv420p" if height % 2 == width % 2 == 0 else "yuv444p"
        stream.options = {"crf": _QUALITY, "preset": "medium"}
        for band in bands:
            for values in band:
                pixels = np.broadcast_to(to_uint8(coloured(values)), (height, width, 3))
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                container.mux(stream.encode(frame))
        container.mux(stream.encode())
