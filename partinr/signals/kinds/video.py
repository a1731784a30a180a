"""Films: frames, rows and columns of pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.section import field
from partinr.base.spec import spec
from partinr.coords import scaled_shape
from partinr.metrics.frames import psnr_of_frames
from partinr.pictures.film import FILM_ENDING, FilmSheet, write_film
from partinr.pictures.write import Depth
from partinr.signals.kind import Asked, SignalKind


@spec
class VideoKind(SignalKind):
    """A film of any number of channels. Its picture is a contact sheet with the slice through its middle row.

    Attributes:
        rate: frames a second.
    """

    name: ClassVar[str] = "video"
    words: ClassVar[tuple[str, str]] = ("film", "films")
    axes: ClassVar[tuple[str, ...]] = ("frame", "row", "column")
    metrics = (
        field(
            "psnr_worst_frame",
            "worst frame dB",
            "metrics.psnr_worst_frame",
            span="Quality",
            note="PSNR of the frame that is fitted worst, at the end",
            better="high",
            short="worst frame",
        ),
    )
    charts = ({"value": "metrics.psnr_of_frames", "title": "PSNR [dB]", "axis": "frame"},)
    endings: ClassVar[tuple[str, ...]] = (FILM_ENDING,)
    kept: ClassVar[str] = FILM_ENDING
    media: ClassVar[str] = "video"
    sides: ClassVar[tuple[str, ...]] = ("height", "width")
    units: ClassVar[str] = "pixels"

    rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 25.0

    def size(self, shape: Sequence[int]) -> str:
        """See :meth:`SignalKind.size`."""
        return f"{shape[0]} frames of {shape[1]}×{shape[2]} pixels, {self.rate:.4g} a second"

    def legend(self, shape: Sequence[int]) -> str:
        """See :meth:`SignalKind.legend`."""
        return f"of {shape[0]} frames; at the bottom the middle row over time"

    def measure(self, reconstruction: Tensor, signal: Tensor) -> dict[str, float]:
        """The PSNR of the worst frame; NaN if any is NaN; see :meth:`SignalKind.measure`."""
        return {"psnr_worst_frame": float(np.min(psnr_of_frames(reconstruction, signal)))}

    def final(self, reconstruction: Tensor, signal: Tensor) -> dict[str, Any]:
        """The PSNR of each frame; see :meth:`SignalKind.final`."""
        return {"psnr_of_frames": psnr_of_frames(reconstruction, signal)}

    # -- pictures ------------------------------------------------------------------------------------------------

    def picture(self, values: Any) -> NDArray[Any]:
        """See :meth:`SignalKind.picture`."""
        drawn: NDArray[Any] = FilmSheet(values.shape[:3]).values(values) / np.float32(255)
        return drawn

    def label_plane(self, labels: Any) -> NDArray[np.integer[Any]]:
        """The region of each pixel of the sheet, -1 between frames; see :meth:`SignalKind.label_plane`."""
        return FilmSheet(labels.shape).labels(labels)

    def partition_picture(self, labels: Any, values: Any) -> NDArray[Any]:
        """See :meth:`SignalKind.partition_picture`."""
        return FilmSheet(labels.shape).regions(labels, values)

    def error_picture(self, signal: Any, reconstruction: Any) -> NDArray[Any]:
        """See :meth:`SignalKind.error_picture`."""
        return FilmSheet(signal.shape[:3]).errors(signal, reconstruction)

    # -- files ---------------------------------------------------------------------------------------------------

    def shape_for(self, grid: Sequence[int | Fraction], asked: Asked) -> list[int]:
        """Frames by the rate, rows and columns by size or scale; see :meth:`SignalKind.shape_for`.

        Raises:
            PartinrError: a spacing is asked for, or a rate that is none.
        """
        if asked.rate is not None and not 0 < asked.rate < float("inf"):
            raise PartinrError(f"--rate {asked.rate:g} is no number of frames a second; give one above 0, such as 30")
        speed = 1.0 if asked.rate is None else asked.rate / self.rate
        frames = scaled_shape(grid[:1], speed)
        sides = super().shape_for(grid[1:], Asked(asked.scale, asked.size, spacing=asked.spacing))
        return [*frames, *sides]

    def resampled(self, grid: Sequence[int | Fraction], shape: Sequence[int], asked: Asked) -> Self:
        """The rate that is asked for, or at which the film takes as long; see :meth:`SignalKind.resampled`."""
        return dataclasses.replace(self, rate=asked.rate or float(self.rate * shape[0] / grid[0]))

    def write(self, path: Path, values: Iterable[NDArray[np.float32]], shape: Sequence[int], depth: Depth) -> None:
        """See :meth:`SignalKind.write`."""
        if path.suffix.lower() != FILM_ENDING:
            return super().write(path, values, shape, depth)
        frames, height, width, _ = shape
        return write_film(path, (frames, height, width), self.rate, values)
