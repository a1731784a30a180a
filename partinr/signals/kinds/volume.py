"""Volumes: samples in space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.pictures.slices import SliceSheet, Upright
from partinr.pictures.volume import write_nifti, write_stack
from partinr.pictures.write import Depth
from partinr.signals.affine import regridded, spacing_of, stack_affine
from partinr.signals.kind import Asked, SignalKind


@spec
class VolumeKind(SignalKind):
    """A volume of any number of channels.

    Attributes:
        affine: from the number of a sample along each axis to its place in space in mm, four rows of four.
        directions: names of the axes; in a body the side that each one leads to, such as ``R``.
    """

    name: ClassVar[str] = "volume"
    words: ClassVar[tuple[str, str]] = ("volume", "volumes")
    axes: ClassVar[tuple[str, ...]] = ("z", "y", "x")
    endings: ClassVar[tuple[str, ...]] = (".nii.gz", ".nii", ".tif", ".tiff")
    most_samples: ClassVar[int] = 4096

    affine: list[list[float]] = Field(default_factory=lambda: stack_affine((1, 1, 1)).tolist())
    directions: list[str] = Field(default_factory=lambda: ["z", "y", "x"])

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance of neighbouring samples along each axis, in mm."""
        return spacing_of(np.array(self.affine))

    def size(self, shape: Sequence[int]) -> str:
        """See :meth:`SignalKind.size`."""
        distances = "×".join(f"{each:.3g}" for each in self.spacing)
        return f"{'×'.join(map(str, shape))} samples" + (f" of {distances} mm" if set(self.spacing) != {1} else "")

    def legend(self, shape: Sequence[int]) -> str:
        """See :meth:`SignalKind.legend`."""
        return f"in the middle: {', '.join(self.upright().planes)}"

    def picture(self, values: Any) -> NDArray[Any]:
        """Three slices through the middle; see :meth:`SignalKind.picture`."""
        return self._sheet(values.shape[:3]).values(values) / np.float32(255)

    def label_plane(self, labels: Any) -> NDArray[np.integer[Any]]:
        """See :meth:`SignalKind.label_plane`."""
        return self._sheet(labels.shape).labels(labels)

    def partition_picture(self, labels: Any, values: Any) -> NDArray[Any]:
        """See :meth:`SignalKind.partition_picture`."""
        return self._sheet(labels.shape).regions(labels, values)

    def error_picture(self, signal: Any, reconstruction: Any) -> NDArray[Any]:
        """See :meth:`SignalKind.error_picture`."""
        return self._sheet(signal.shape[:3]).errors(signal, reconstruction)

    def upright(self) -> Upright:
        """See :meth:`SignalKind.upright`."""
        return Upright.of(self.directions, self.spacing)

    def _sheet(self, shape: Sequence[int]) -> SliceSheet:
        return _sheet(tuple(shape), tuple(self.directions), self.spacing)

    def shape_for(self, grid: Sequence[int | Fraction], asked: Asked) -> list[int]:
        """The number of samples along each axis; see :meth:`SignalKind.shape_for`.

        Raises:
            PartinrError: the resolution is not for a volume.
        """
        if asked.spacing is None or asked.rate is not None:
            return super().shape_for(grid, asked)
        if asked.spacing <= 0 or asked.scale is not None or asked.size is not None:
            raise PartinrError(f"--spacing {asked.spacing:g} is in mm, above 0, and instead of --scale and --size")
        return [max(1, round(float(n) * old / asked.spacing)) for n, old in zip(grid, self.spacing, strict=True)]

    def resampled(self, grid: Sequence[int | Fraction], shape: Sequence[int], asked: Asked) -> Self:
        """The volume's place in space on another grid; see :meth:`SignalKind.resampled`."""
        step = [float(old) / new for old, new in zip(grid, shape, strict=True)]
        start = [0.0] * 3 if asked.start is None else [float(each) for each in asked.start]
        first = [at + (each - 1) / 2 for at, each in zip(start, step, strict=True)]
        affine = regridded(np.array(self.affine), first, step).tolist()
        return type(self)(low=self.low, high=self.high, affine=affine, directions=self.directions)

    def write(self, path: Path, values: Iterable[NDArray[np.float32]], shape: Sequence[int], depth: Depth) -> None:
        """NIfTI and TIFF stacks with physical values; see :meth:`SignalKind.write`."""
        if not path.name.lower().endswith(self.endings):
            super().write(path, values, shape, depth)
            return
        whole = np.empty(tuple(shape), np.float32)
        done = 0
        for band in values:
            whole[done : done + len(band)] = self.physical(band.clip(0, 1))
            done += len(band)
        if path.suffix.lower() in (".gz", ".nii"):
            write_nifti(path, whole, np.array(self.affine))
        else:
            write_stack(path, whole, self.spacing)


@lru_cache(maxsize=4)
def _sheet(shape: tuple[int, ...], directions: tuple[str, ...], spacing: tuple[float, ...]) -> SliceSheet:
    return SliceSheet(shape, directions, spacing)
