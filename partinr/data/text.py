"""Rendered text: images that are drawn when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from partinr.data.image import Size
from partinr.data.sets import Item, SignalSet
from partinr.errors import PartinrError
from partinr.signals import text_image
from partinr.spec import spec


@dataclass(frozen=True)
class TextItem(Item):
    """One of them.

    Attributes:
        name: see :class:`~partinr.data.Item`.
        seed: what it follows from.
        data: how it is drawn.
        source: it has no file.
    """

    name: str
    seed: tuple[int, int]
    data: TextData
    source: None = None

    def load(self) -> Tensor:
        """Draw it: float32 ``[size, size, C]`` in [0, 1].

        Raises:
            PartinrError: there is no font.
        """
        data = self.data
        return text_image(
            data.size,
            seed=self.seed,
            length=data.length,
            font_size=(data.min_font_size, data.max_font_size),
            channels=data.channels,
            colours=data.colours,
        )


@spec
class TextData(SignalSet):
    """Random strings in random fonts and places (:func:`~partinr.signals.text.text_image`).

    An image follows from its number alone: it is the same in every run, and however many there are.

    Attributes:
        size: side of the square images, in pixels.
        channels: 1 (grey) or 3 (RGB).
        colours: random colours (or greys); without, black on white.
        length: characters a string.
        min_font_size: smallest, in pixels.
        max_font_size: largest.
        train_items: how many there are to learn from.
        val_items: how many others are held out.
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
        """Check which options go together.

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

    def train(self) -> Sequence[TextItem]:
        """The first ``train_items`` of them."""
        return [TextItem(f"text-{number}", (0, number), self) for number in range(self.train_items)]

    def val(self) -> Sequence[TextItem]:
        """The first ``val_items`` of another series."""
        return [TextItem(f"text-val-{number}", (1, number), self) for number in range(self.val_items)]
