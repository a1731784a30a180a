"""Masks that hide samples."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image, ImageDraw
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.seeds import derived
from partinr.base.spec import READS, spec
from partinr.signals.image import image_values
from partinr.signals.observations.base import Observation, Pointwise
from partinr.signals.text import FONTS, font_of
from partinr.signals.userfile import open_file, quoted

USUAL = 0.2
"""The fraction of samples that are seen if nothing is said."""

_FONT = FONTS[1]
_SMALLEST = 8


@spec
class Mask(Observation):
    """Some of the samples. A sample is seen if ``fraction``, ``path`` and ``text`` all leave it visible.

    Attributes:
        fraction: part of the samples that are seen, drawn at random; None for a fifth, or for all if ``path`` or
            ``text`` says what is hidden.
        path: a picture of the signal's size, white where samples are seen and black where they are hidden; or an NPY
            file ``[*grid]``, not 0 where they are seen.
        text: written over the image, line after line, from edge to edge; its strokes are hidden. None for no text.
        text_size: height of the letters, in pixels; None for a twelfth of the image.
        seed: seed of the draw.
    """

    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    path: Annotated[str | None, READS] = None
    text: str | None = None
    text_size: Annotated[int, Field(ge=_SMALLEST, le=8192)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    def observe(self, signal: Tensor, number: int) -> Pointwise:
        """The samples that are seen, with weight 1, and the hidden ones, with target and weight 0.

        Raises:
            PartinrError: the file is no mask of the signal's size, the text needs an image, or nothing is seen.
        """
        seen = self._seen(signal.shape[:-1], number)
        if not seen.any():
            raise PartinrError("observe=mask hides every sample; show some: a larger observe.fraction, or another mask")
        weights = seen.unsqueeze(-1).float()
        return Pointwise(signal * weights, weights)

    def _seen(self, grid: torch.Size, number: int) -> Tensor:
        """Which samples are seen: bool ``[*grid]``."""
        seen = torch.ones(grid, dtype=torch.bool)
        fraction = self.fraction
        if fraction is None and self.path is None and self.text is None:
            fraction = USUAL
        if fraction is not None:
            generator = torch.Generator().manual_seed(derived(self.seed, number))
            drawn = torch.randperm(seen.numel(), generator=generator)[round(fraction * seen.numel()) :]
            seen.view(-1)[drawn] = False
        if self.path is not None:
            seen &= _drawn(Path(os.path.expanduser(self.path)), grid)
        if self.text is not None:
            seen &= ~self._written(self.text, grid)
        return seen

    def _written(self, text: str, grid: torch.Size) -> Tensor:
        """The strokes of lines of a text all over an image: bool ``[H, W]``."""
        if len(grid) != 2 or not text.strip():
            raise PartinrError(f"observe.text={text!r} is written over an image; give letters, and an image to data")
        height, width = grid
        size = self.text_size or max(_SMALLEST, height // 12)
        font = font_of(_FONT, size)
        image = Image.new("1", (width, height))
        draw = ImageDraw.Draw(image)
        step = max(1, round(font.getlength(f"{text} ")))
        for line, top in enumerate(range(size // 4, height, 2 * size)):
            # Every second line is shifted, so that columns of letters do not hide a column of pixels.
            for left in range(-(line % 2) * (step // 2), width, step):
                draw.text((left, top), text, fill=1, font=font)
        return torch.from_numpy(np.array(image))


def _drawn(file: Path, grid: torch.Size) -> Tensor:
    """The samples that a file shows: bool ``[*grid]``.

    Raises:
        PartinrError: the file cannot be read, or has another shape.
    """
    if file.suffix.lower() == ".npy":
        try:
            with open_file(file, "a mask") as stream:
                seen = torch.from_numpy(np.load(stream, allow_pickle=False) != 0)
        except (ValueError, EOFError) as error:
            raise PartinrError(f"{quoted(file)} is no NPY file of numbers; save the mask with numpy.save") from error
    else:
        options = {"size": None, "max_side": None, "crop": None, "bits": None}
        seen = image_values(file, alpha="white", channels="grey", **options).squeeze(-1) >= 0.5
    if seen.shape != grid:
        have, need = ("×".join(map(str, shape)) for shape in (seen.shape, grid))
        raise PartinrError(
            f"{quoted(file)} has {have} samples, and the signal {need}; give observe.path a mask of the signal's size"
        )
    return seen
