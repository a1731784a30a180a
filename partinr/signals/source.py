"""Where a signal comes from, for rules that use a label map of the same image."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.coords import nearest_samples
from partinr.signals.decode import orientation, upright
from partinr.signals.image import Crop, cut_shape, decoded_shape


@dataclass(frozen=True)
class Source:
    """An image and how it was cut.

    Attributes:
        name: of the image, without folder and ending.
        path: its file; None if it has none.
        size: side of the centred square after resizing, see :func:`partinr.load_image`.
        max_side: the longer side after shrinking.
        crop: the square that was cut out, instead of the centred one.
        axes: number of axes of a label map that :meth:`cut_labels` takes.
    """

    axes: ClassVar[int] = 2

    name: str
    path: str | None = None
    size: int | None = None
    max_side: int | None = None
    crop: Crop | None = None

    def is_file(self, file: Path) -> bool:
        """Whether a file that exists is that of the image."""
        return self.path is not None and os.path.exists(self.path) and os.path.samefile(self.path, file)

    @door
    def cut_labels(self, labels: Tensor) -> Tensor:
        """A label map, cut like the image: every new sample has the label of the old one whose cell contains it.

        A map of the stored pixels of a photograph that EXIF turns on its side is turned like it.

        Args:
            labels: whole numbers ``[H, W]`` on the grid of the whole image.

        Returns:
            int64 on the grid of the signal.

        Raises:
            PartinrError: the map is not on the grid of the image file, if there is a file.
        """
        shape = (int(labels.shape[0]), int(labels.shape[1]))
        if self.path is not None and shape != (whole := decoded_shape(self.path)):
            turn = orientation(self.path)
            if turn < 5 or shape != whole[::-1]:
                turned = f" (its EXIF orientation is {turn})" if turn > 1 else ""
                raise PartinrError(
                    f"the label map has {shape[0]}×{shape[1]} pixels, the image {self.name} {whole[0]}×{whole[1]}"
                    f"{turned}; give a map with one label for each pixel of the image file"
                )
            labels, shape = torch.from_numpy(upright(labels.cpu().numpy(), turn).copy()), whole
        (top, left, height, width), target = cut_shape(shape, self.size, self.max_side, self.crop)
        window = labels[top : top + height, left : left + width].reshape(-1)
        return window[nearest_samples((height, width), target)].reshape(target).to(torch.int64)

    @property
    def ambiguous(self) -> int | None:
        """The EXIF orientation of the file if the shape of a label map does not say whether it has been applied."""
        turn = 1 if self.path is None else orientation(self.path)
        if turn == 1 or (turn > 4 and len({*decoded_shape(self.path or "")}) == 2):
            return None
        return turn
