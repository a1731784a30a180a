"""One image: a file, or a built-in image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import READS, Unused, spec
from partinr.signals.channels import Alpha, Channels
from partinr.signals.depth import Bits
from partinr.signals.identity import Reading
from partinr.signals.image import builtin_path, read_image
from partinr.signals.sets import SingleSignal
from partinr.signals.source import Source

Size = Annotated[int, Field(ge=1)]


@spec
class ImageData(SingleSignal):
    """An image, and how it is cut.

    Attributes:
        path: an image file; None for the built-in image ``name``.
        name: of a built-in image; not used if ``path`` is given.
        size: centre crop to a square and resize it to this side, in pixels.
        max_side: shrink so that the longer side has at most this many pixels, keeping the aspect.
        alpha: what to do with transparency: ``refuse`` it, composite over ``white`` or ``black``, ``drop`` it,
            or keep it as a further ``channel``.
        bits: how many bits a file of 16 uses, such as 12.
        channels: convert to ``grey`` or ``rgb``; ``as_is`` keeps the channels of the file.
    """

    path: Annotated[str | None, READS] = None
    name: Annotated[str | None, Unused(beside="path")] = "astronaut"
    size: Size | None = None
    max_side: Size | None = None
    alpha: Alpha = "refuse"
    bits: Bits | None = None
    channels: Channels = "as_is"

    def __post_init__(self) -> None:
        """Check that the options go together.

        Raises:
            PartinrError: both ``size`` and ``max_side`` are given, or neither ``path`` nor ``name``.
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
        """The file of the image, and how it is cut.

        Raises:
            PartinrError: there is no built-in image of that name.
        """
        path = str(builtin_path(self.title)) if self.path is None else self.path
        return Source(self.title, path, self.size, self.max_side)

    def load(self) -> Tensor:
        """The image: float32 ``[H, W, C]`` in [0, 1].

        Raises:
            PartinrError: the file cannot be read, or is no image that can be fitted.
        """
        return ImageData.read(self).values  # not of self: a subclass may read what it loads

    def read(self) -> Reading:
        """The image and its identity: its file and the samples in it.

        Raises:
            PartinrError: as for :meth:`load`.
        """
        path = builtin_path(self.title) if self.path is None else self.path
        return read_image(
            path,
            size=self.size,
            max_side=self.max_side,
            alpha=self.alpha,
            bits=self.bits,
            channels=self.channels,
        )
