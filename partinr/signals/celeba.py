"""CelebA: 202,599 aligned photographs of faces, 178 pixels wide and 218 high, in three parts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from partinr.base.errors import PartinrError
from partinr.base.spec import READS, spec
from partinr.signals.folder import ImageItem
from partinr.signals.image_data import Size
from partinr.signals.sets import SignalSet
from partinr.signals.source import Source
from partinr.signals.userfile import open_file, quoted

IMAGES, PARTS = "img_align_celeba", "list_eval_partition.txt"
"""The folder of photographs and the list of parts, as the data set is published."""

_DOWNLOAD = (
    "download img_align_celeba.zip and list_eval_partition.txt from mmlab.ie.cuhk.edu.hk/projects/CelebA.html "
    "and unpack the archive beside the list"
)
_NUMBERS = {"train": "0", "valid": "1", "test": "2"}


@spec
class CelebaData(SignalSet):
    """CelebA (Liu et al., ICCV 2015), as learnit (Tancik et al., CVPR 2021) and GradNCP (Kim et al., 2023) use it.

    Both learn from the training part and take the centred square of 178 pixels. COIN++ (Dupont et al., 2022) uses other
    crops, of CelebA-HQ, which are a folder of images: :class:`~partinr.signals.FolderData`.

    Attributes:
        path: the folder with ``img_align_celeba`` and ``list_eval_partition.txt``.
        size: centre crop to a square and resize it to this side, in pixels; 178 keeps the pixels of the file.
        limit: use only the first photographs to learn from.
        held_out: the part that is held out: ``test`` or ``valid``.
    """

    path: Annotated[str, READS]
    size: Size = 178
    limit: Annotated[int, Field(ge=1)] | None = None
    held_out: Literal["test", "valid"] = "test"

    @property
    def title(self) -> str:
        """``celeba``."""
        return "celeba"

    def train(self) -> Sequence[ImageItem]:
        """The training part, or the first ``limit`` of it.

        Raises:
            PartinrError: the list of parts or the photographs are not there.
        """
        return self._items("train", self.limit)

    def val(self) -> Sequence[ImageItem]:
        """The part that is held out.

        Raises:
            PartinrError: the list of parts or the photographs are not there.
        """
        return self._items(self.held_out)

    def members(self, field: str, folder: Path, data: SignalSet) -> list[Path]:
        """The list of parts and the photographs that the run reads."""
        return [folder / PARTS, *(super().members(field, folder, data) or [])]

    def _items(self, part: str, limit: int | None = None) -> list[ImageItem]:
        folder = Path(os.path.abspath(os.path.expanduser(self.path)))
        if not (folder / PARTS).is_file():
            raise PartinrError(f"there is no {quoted(folder / PARTS)}; {_DOWNLOAD}, and give that folder as data.path")
        with open_file(folder / PARTS, "a list of parts") as stream:
            rows = [line.split() for line in stream.read().decode(errors="replace").splitlines()]
        names = [row[0] for row in rows if len(row) == 2 and row[1] == _NUMBERS[part]][:limit]
        if not names:
            raise PartinrError(
                f"{quoted(folder / PARTS)} names no photograph of the part {part}; "
                "its lines look like '000001.jpg 0'; download it again"
            )
        files = [folder / IMAGES / name for name in names]
        # To look for each of 200,000 files takes seconds; the first and the last tell a folder that is not unpacked.
        if lost := [file for file in (files[0], files[-1]) if not file.is_file()]:
            raise PartinrError(f"there is no {quoted(lost[0])}, which {PARTS} names; {_DOWNLOAD}")
        return [ImageItem(file.stem, Source(file.stem, str(file), self.size)) for file in files]
