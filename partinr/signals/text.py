"""Rendered text: random strings in matplotlib's fonts."""

from __future__ import annotations

import functools
import io
import string
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.spec import spec
from partinr.signals.image_data import Size
from partinr.signals.sets import GeneratedSet

if TYPE_CHECKING:
    import matplotlib
else:
    matplotlib = Later("matplotlib")

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
"""The fonts of matplotlib that have all letters and digits."""

_CHARACTERS = string.ascii_letters + string.digits

_CONTRAST = 64
"""Least difference, of 255, between the channel means of ink and background."""


@door
def text_image(
    size: int,
    *,
    seed: Sequence[int],
    length: int = 4,
    font_size: tuple[int, int] = (12, 24),
    channels: Literal[1, 3] = 1,
    colours: bool = False,
) -> Tensor:
    """A string of random letters and digits in a random font, at a random place in a square.

    The string lies inside the square along each axis where it fits, and covers it otherwise.

    Args:
        size: side of the square, in pixels.
        seed: whole numbers, 0 or more; with the same version of Pillow, the same numbers make the same image.
        length: number of characters.
        font_size: smallest and largest, in pixels.
        channels: C, 1 (grey) or 3 (RGB).
        colours: random colours (or greys) with some contrast, instead of black on white.

    Returns:
        float32 ``[size, size, C]`` in [0, 1].

    Raises:
        PartinrError: matplotlib's fonts are missing.
    """
    rng = np.random.default_rng(list(seed))
    text = "".join(rng.choice(list(_CHARACTERS), length))
    font = font_of(FONTS[rng.integers(len(FONTS))], int(rng.integers(font_size[0], font_size[1] + 1)))
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
def font_of(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A font of matplotlib's.

    Args:
        name: one of :data:`FONTS`.
        size: in pixels.

    Raises:
        PartinrError: it is missing.
    """
    # matplotlib's font manager could find a font of the same name elsewhere on the machine.
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"
    try:
        # From memory: for a missing file, Pillow would search the machine for one of the same name. The basic layout is
        # always there; the other one is optional and spaces letters differently.
        return ImageFont.truetype(io.BytesIO(file.read_bytes()), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:
        raise PartinrError(f"there is no font {name}.ttf in {str(file.parent)!r}; install matplotlib again") from error


@spec
class TextData(GeneratedSet):
    """Random strings in random fonts and places (:func:`~partinr.signals.text.text_image`).

    Attributes:
        size: side of the square images, in pixels.
        channels: 1 (grey) or 3 (RGB).
        colours: random colours (or greys) instead of black on white.
        length: characters in a string.
        min_font_size: smallest font, in pixels.
        max_font_size: largest font.
    """

    size: Annotated[int, Field(ge=1, le=8192)] = 64
    channels: Literal[1, 3] = 1
    colours: bool = False
    length: Size = 4
    min_font_size: Annotated[int, Field(ge=4, le=8192)] = 12
    max_font_size: Annotated[int, Field(ge=4, le=8192)] = 24
    train_items: Annotated[int, Field(ge=1)] = 4096
    val_items: Annotated[int, Field(ge=0)] = 64

    def __post_init__(self) -> None:
        """Check that the font sizes are consistent.

        Raises:
            PartinrError: the smallest font is larger than the largest.
        """
        if self.min_font_size > self.max_font_size:
            raise PartinrError(
                f"data.min_font_size={self.min_font_size} is more than data.max_font_size={self.max_font_size}; "
                "give a smaller one"
            )

    @property
    def title(self) -> str:
        """``text``."""
        return "text"

    def make(self, seed: tuple[int, int]) -> Tensor:
        """One image: float32 ``[size, size, C]`` in [0, 1].

        Raises:
            PartinrError: the fonts are missing.
        """
        return text_image(
            self.size,
            seed=seed,
            length=self.length,
            font_size=(self.min_font_size, self.max_font_size),
            channels=self.channels,
            colours=self.colours,
        )
