"""Regions from a label map in a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import READS, spec
from partinr.partition.labelmap import ENDINGS, read_label_map
from partinr.partition.segmentation import Regions, Segmentation
from partinr.signals import SignalSet, Source
from partinr.signals.userfile import quoted


@spec
class Mask(Segmentation):
    """The regions of a label map (:mod:`partinr.partition.labelmap`), unchanged by default.

    A map on the grid of the signal is used as it is. A map on the grid of the image file is cropped and resized like
    the image; each pixel gets the label at its place.

    Attributes:
        path: a label map (PNG, NPY or MAT), or a folder of them, in which the file with the name of the image is used.
        key: the variable of a MAT file; None for the only one that holds label maps.
        annotator: which map of a MAT file with several, from 0.
    """

    regions: Regions | None = None
    connected: bool = False
    path: Annotated[str, READS]
    key: str | None = None
    annotator: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        """Check the path.

        Raises:
            PartinrError: the path is empty.
        """
        if not self.path:
            raise PartinrError("partition.path is empty; give a label map (PNG, NPY or MAT), or a folder of them")

    def labels(self, signal: Tensor) -> Tensor:
        """:meth:`labels_of` a signal without a source."""
        return self.labels_of(signal, None)

    def labels_of(self, signal: Tensor, source: Source | None) -> Tensor:
        """The label map, cut like the signal, and merged if ``regions`` is given.

        Raises:
            PartinrError: there is no label map, it cannot be read, or its shape differs.
        """
        grid = tuple(signal.shape[:-1])
        file = self._file(source)
        found = torch.from_numpy(read_label_map(file, self.key, self.annotator))
        if tuple(found.shape) != grid:
            found = _cut(found, grid, source, file)
        # For the search of neighbours, a 1-D signal is an image of one row.
        rows = (-1, grid[-1])
        image = signal.detach().cpu().float().reshape(*rows, signal.shape[-1])
        return torch.from_numpy(self.merged(found.reshape(rows).numpy(), image.numpy())).reshape(grid)

    def members(self, field: str, folder: Path, data: SignalSet) -> list[Path]:
        """The label maps of the signals.

        Raises:
            PartinrError: the signals cannot be listed.
            OSError: the folder cannot be listed.
        """
        names = {source.name for source in data.sources}
        return [file for file in folder.iterdir() if file.stem in names and file.suffix.lower() in ENDINGS]

    def _file(self, source: Source | None) -> Path:
        """The file of the label map; in a folder, the one with the name of the image."""
        path = Path(os.path.expanduser(self.path))
        if not os.path.isdir(path):
            return path
        if source is None:
            raise PartinrError(
                f"{quoted(path)} is a folder, and this signal has no name to look for in it; name one file in it"
            )
        try:
            found = sorted(
                file for file in path.iterdir() if file.stem == source.name and file.suffix.lower() in ENDINGS
            )
        except OSError as error:
            raise PartinrError(f"{quoted(path)} cannot be listed: {error.strerror}; change its permissions") from error
        if not found:
            *others, last = (source.name + ending for ending in ENDINGS)
            raise PartinrError(
                f"{quoted(path)} has no label map for the image {source.name}; "
                f"put {', '.join(others)} or {last} into it, or name a file"
            )
        if len(found) > 1:
            names = " and ".join(file.name for file in found)
            raise PartinrError(
                f"{quoted(path)} has several label maps for the image {source.name}: {names}; "
                f"name the one to take: partition.path={found[0]}"
            )
        return found[0]


def _cut(labels: Tensor, grid: tuple[int, ...], source: Source | None, file: Path) -> Tensor:
    """A map of another shape, cut like the signal."""
    if source is not None and labels.ndim == len(grid) == 2:
        try:
            cut = source.cut_labels(labels)
        except PartinrError as error:
            raise PartinrError(f"{quoted(file)}: {error}") from error
        if tuple(cut.shape) == grid:
            return cut
    have, need = ("×".join(map(str, shape)) for shape in (labels.shape, grid))
    raise PartinrError(
        f"{quoted(file)} has another shape than the signal: {have} labels for {need} samples; "
        "give a map with one label a sample"
    )
