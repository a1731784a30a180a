"""Regions from a label map in a file."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import READS, spec
from partinr.base.text import normal
from partinr.partition.base import Partition, Regions
from partinr.partition.labelmap import Stack, read_label_map
from partinr.partition.merge import specks, without_specks
from partinr.partition.naming import check_pattern, maps_for, missing
from partinr.partition.segmentation import Segmentation
from partinr.signals import SignalSet, Source
from partinr.signals.decode import orientation
from partinr.signals.image import decoded_shape
from partinr.signals.userfile import quoted

_SPECK = 16
"""A region is noticed if no part of it has this many pixels; more in large maps, less in small ones."""


@spec
class Mask(Segmentation):
    """The regions of a label map (:mod:`partinr.partition.labelmap`), unchanged by default.

    A map on the grid of the signal is used as it is. A map on the grid of the image file is cropped and resized like
    the image; each pixel gets the label at its place. A map of two axes is held through the first axis of a signal of
    three, such as a film.

    Attributes:
        path: a label map (PNG, TIFF, BMP, NPY, MAT, NIfTI), or a folder of them, in which the file with the name of the
            image is used.
        pattern: of the paths of label maps in the folder, as for :func:`glob.glob`: ``{name}`` is the name of the
            image, ``{name-PART}`` that name without a part at its beginning or end, ``**/`` any subfolder. None for the
            name of the image with a usual ending.
        key: the variable of a MAT file; None for the only one that holds label maps.
        annotator: which map of a MAT file with several, from 0.
        stack: the axis of the classes in an NPY or MAT file of scores or masks, ``first`` or ``last``: the highest
            score is the label of a pixel, and pixels without a mask are one region; None for a file of labels.
        tolerance: a grey value or colour of a picture that differs by at most this from a more frequent one, in each
            channel, is the same label. That mends masks that were saved as JPEG.
        min_pixels: connected parts of a region with fewer pixels, and thin ones (in which no square of a quarter of
            them fits), go to the nearest other region. That removes the soft edges of antialiased, compressed and
            resized masks.
    """

    regions: Regions | None = None
    connected: bool = False
    path: Annotated[str, READS]
    pattern: str | None = None
    key: str | None = None
    annotator: Annotated[int, Field(ge=0)] = 0
    stack: Stack | None = None
    tolerance: Annotated[int, Field(ge=0)] | None = None
    min_pixels: Annotated[int, Field(ge=1)] | None = None

    def __post_init__(self) -> None:
        """Check the path and the pattern.

        Raises:
            PartinrError: the path is empty, or the pattern is none.
        """
        if not self.path:
            raise PartinrError(
                "partition.path is empty; give a label map (PNG, TIFF, NPY, MAT or NIfTI), or a folder of them"
            )
        if self.pattern is not None:
            check_pattern(self.pattern)

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
        options = self.key, self.annotator, self.stack, self.tolerance, len(grid)
        found = torch.from_numpy(read_label_map(file, *options))
        seen = grid[1:] if (held := found.ndim == 2 and len(grid) == 3) else grid
        if tuple(found.shape) != seen:
            found = _cut(found, seen, source, file)
        if held:
            found = found.expand(grid)
        labels = found.numpy()
        if self.min_pixels is not None:
            if specks(labels, self.min_pixels).all():
                raise PartinrError(
                    f"no part of a region in {quoted(file)} has partition.min_pixels={self.min_pixels} pixels; "
                    "give a smaller number"
                )
            labels = without_specks(labels, self.min_pixels)
        return torch.from_numpy(self.merged(labels, signal.detach().cpu().float().numpy()))

    def carry_out(self, signal: Tensor, source: Source | None = None) -> Partition:
        """The partition of a signal; its notice also says whether a label map may lie the wrong way round.

        Raises:
            PartinrError: there is no label map, it cannot be read, or its shape differs.
        """
        partition = super().carry_out(signal, source)
        turn = None if source is None else source.ambiguous
        if turn is None or orientation(self._file(source)) != 1:
            return partition
        return _noticed(
            partition,
            f"the image has the EXIF orientation {turn}, and the label map is taken to be upright like the image in a "
            "viewer; if it belongs to the stored pixels, save the image without the orientation",
        )

    def check(self, partition: Partition) -> Partition:
        """The partition, with a notice if it has fewer regions than requested, a single one, or tiny ones.

        Raises:
            PartinrError: it has fewer, and ``fewer`` is ``stop``.
        """
        partition = super().check(partition)
        if partition.regions == 1 and self.regions is None:
            return _noticed(partition, "the label map has one label on this signal, so there is one region")
        labels = partition.labels.numpy()
        least = min(max(_SPECK, math.isqrt(labels.size) // 5), labels.size // 64)
        if least < 2:
            return partition
        tiny = partition.regions - len(np.unique(labels[~specks(labels, least)]))
        if not tiny:
            return partition
        return _noticed(
            partition,
            f"{tiny} of the {partition.regions} regions of the label map are tiny specks or thin lines, as "
            "antialiasing, JPEG and resizing leave between labels; "
            f"partition.min_pixels={least} joins them to the regions around; if the map was once a JPEG, "
            "partition.tolerance=16 joins its near colours",
        )

    def members(self, field: str, folder: Path, data: SignalSet) -> list[Path]:
        """The label maps of the signals.

        Raises:
            PartinrError: the signals cannot be listed.
            OSError: the folder cannot be listed.
        """
        return [file for source in data.sources for file in maps_for(folder, source, self.pattern)]

    def _file(self, source: Source | None) -> Path:
        """The file of the label map; in a folder, the one with the name of the image."""
        path = Path(os.path.expanduser(self.path))
        if not os.path.isdir(path):
            if self.pattern is not None and os.path.exists(path):
                raise PartinrError(
                    f"partition.pattern={self.pattern} is for a folder, and {quoted(path)} is a file; leave it out"
                )
            return path
        if source is None:
            raise PartinrError(
                f"{quoted(path)} is a folder, and this signal has no name to look for in it; name one file in it"
            )
        try:
            found = maps_for(path, source, self.pattern)
            if not found:
                cure = missing(path, source, self.pattern)
                raise PartinrError(f"{quoted(path)} has no label map for the image {source.name}; {cure}")
        except OSError as error:
            raise PartinrError(f"{quoted(path)} cannot be listed: {error.strerror}; change its permissions") from error
        if len(found) > 1:
            # Two Unicode forms of a name look the same unless they are written out.
            alike = len({normal(file.name) for file in found}) < len(found)
            names = " and ".join(ascii(file.name) if alike else file.name for file in found)
            raise PartinrError(
                f"{quoted(path)} has several label maps for the image {source.name}: {names}; "
                f"name the one to take: partition.path={found[0]}"
            )
        return found[0]


def _cut(labels: Tensor, grid: tuple[int, ...], source: Source | None, file: Path) -> Tensor:
    """A map of another shape, cut like the signal."""
    if source is not None and labels.ndim == len(grid) == source.axes:
        own = orientation(file)
        if own != 1 and source.path is not None and tuple(labels.shape) != (whole := decoded_shape(source.path)):
            raise PartinrError(
                f"{quoted(file)} has an EXIF orientation of its own ({own}), which turns it to "
                f"{'×'.join(map(str, labels.shape))} pixels, and the image {source.name} has "
                f"{'×'.join(map(str, whole))}; save the label map without the orientation"
            )
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


def _noticed(partition: Partition, notice: str) -> Partition:
    """A partition with one notice more."""
    said = notice if partition.notice is None else f"{partition.notice}; {notice}"
    return replace(partition, notice=said)
