"""One image: a file, or one of those that scikit-image carries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.signals.image import builtin_image, builtin_path, load_image
from partinr.signals.sets import SingleSignal
from partinr.signals.source import Source

Size = Annotated[int, Field(ge=1)]


@spec
class ImageData(SingleSignal):
    """Which image is fitted, and how it is cut.

    Attributes:
        path: an image file; None takes the built-in image ``name``.
        name: of a built-in image; not used when there is a ``path``.
        size: centre crop to a square and resize it to this side, in pixels.
        max_side: shrink, keeping the aspect, until the longer side has at most so many pixels.
        alpha: what to do with transparency: ``refuse``, put it on ``white`` or ``black``, or ``drop`` it.
    """

    path: str | None = None
    name: str | None = "astronaut"
    size: Size | None = None
    max_side: Size | None = None
    alpha: Literal["refuse", "white", "black", "drop"] = "refuse"

    def __post_init__(self) -> None:
        """Check which options are given together.

        Raises:
            PartinrError: ``size`` beside ``max_side``, or neither ``path`` nor ``name``.
        """
        if self.size is not None and self.max_side is not None:
            raise PartinrError("data.size excludes data.max_side; give one or the other")
        if self.path is None and self.name is None:
            raise PartinrError("there is no image; give data.path=FILE, or data=builtin with data.name=NAME")

    @property
    def title(self) -> str:
        """A short name for tables and legends."""
        return Path(self.path).stem if self.path is not None else str(self.name)

    @property
    def source(self) -> Source:
        """Where the image is from and how it is cut, for a partition rule that looks beside it.

        Raises:
            PartinrError: there is no built-in image of that name.
        """
        path = self.path if self.path is not None else str(builtin_path(self.title))
        return Source(self.title, path, self.size, self.max_side)

    def load(self) -> Tensor:
        """Read the image: float32 ``[H, W, C]`` in [0, 1].

        Raises:
            PartinrError: it cannot be read, or is no image that can be fitted.
        """
        if self.path is not None:
            return load_image(self.path, size=self.size, max_side=self.max_side, alpha=self.alpha)
        assert self.name is not None
        return builtin_image(self.name, size=self.size, max_side=self.max_side)
