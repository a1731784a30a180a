"""Rendered text: random strings in fonts that come with what partinr is built on."""

from __future__ import annotations

import functools
import io
import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from partinr.base.errors import PartinrError

FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralItalic",
)
"""Of those in matplotlib's own folder, the ones that have all letters and digits."""

_CHARACTERS = string.ascii_letters + string.digits

_CONTRAST = 64
"""Of 255: how far the mean of the ink's channels is from that of the ground's, at least."""


def text_image(
    size: int,
    *,
    seed: Sequence[int],
    length: int = 4,
    font_size: tuple[int, int] = (12, 24),
    channels: Literal[1, 3] = 1,
    colours: bool = False,
) -> Tensor:
    """A string of random letters and digits in a random font, somewhere in a square.

    It lies inside where it fits; along an axis where it does not, it covers the square.

    Args:
        size: side of the square, in pixels.
        seed: whole numbers, 0 or more; the same numbers make the same image, as long as Pillow draws it alike.
        length: characters.
        font_size: smallest and largest, in pixels.
        channels: C, 1 (grey) or 3 (RGB).
        colours: random colours (or greys) that can be told apart; without, it is black on white.

    Returns:
        float32 ``[size, size, C]`` in [0, 1].

    Raises:
        PartinrError: matplotlib's fonts are not where it has them.
    """
    rng = np.random.default_rng(list(seed))
    text = "".join(rng.choice(list(_CHARACTERS), length))
    font = _font(FONTS[rng.integers(len(FONTS))], int(rng.integers(font_size[0], font_size[1] + 1)))
    ground, ink = _colours(rng, channels) if colours else ((255,) * channels, (0,) * channels)
    image = Image.new("L" if channels == 1 else "RGB", (size, size), _colour(ground))
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = (round(edge) for edge in draw.textbbox((0, 0), text, font=font))
    across, down = (_place(rng, size - extent) for extent in (right - left, bottom - top))
    draw.text((across - left, down - top), text, fill=_colour(ink), font=font)
    values = np.asarray(image, dtype=np.float32).reshape(size, size, channels)
    return torch.from_numpy(values / 255)


def _place(rng: np.random.Generator, room: int) -> int:
    return int(rng.integers(min(room, 0), max(room, 0) + 1))


def _colours(rng: np.random.Generator, channels: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    while True:
        ground, ink = rng.integers(0, 256, (2, channels))
        if abs(float(ground.mean()) - float(ink.mean())) >= _CONTRAST:
            return tuple(ground.tolist()), tuple(ink.tolist())


def _colour(values: tuple[int, ...]) -> Any:
    return values[0] if len(values) == 1 else values


@functools.lru_cache(maxsize=256)
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    # Importing matplotlib takes a while, and nothing else here needs it.
    import matplotlib

    # Not by its font manager, which may find a font of the same name elsewhere on the machine.
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    try:
        # From memory: of a file that is missing Pillow would take one of the same name from elsewhere. And the basic
        # layout: the other one is there or not, and spaces letters differently.
        return ImageFont.truetype(io.BytesIO(file.read_bytes()), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise PartinrError(f"there is no font {name}.ttf in {str(file.parent)!r}; install matplotlib again") from error
