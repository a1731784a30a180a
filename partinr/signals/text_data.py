"""Sets of images of rendered text."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.signals.generated import GeneratedSet
from partinr.signals.image_data import Size
from partinr.signals.text import text_image


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
