"""Regions between the pauses of a sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from partinr.base.later import Later
from partinr.base.spec import spec
from partinr.partition.cuts import Cuts

if TYPE_CHECKING:
    from scipy import ndimage
else:
    ndimage = Later("scipy.ndimage")


@spec
class Silence(Cuts):
    """Cuts in the middle of each pause: where the level stays ``threshold`` dB below the loudest place.

    The level is the mean square around a sample, over all channels, after the median of each channel is taken off. A
    longer pause is a stronger cut. Quiet at the beginning and at the end belongs to the sound beside it.

    Attributes:
        threshold: in dB below the loudest place; a lower one finds more pauses.
        window: samples over which the level is measured.
        shortest: samples of the shortest pause.
    """

    axes: ClassVar[Sequence[int]] = (1,)
    threshold: Annotated[float, Field(gt=0, le=200)] = 40.0
    window: Annotated[int, Field(ge=1)] = 1024
    shortest: Annotated[int, Field(ge=1)] = 2048

    def cuts(self, values: NDArray[np.float32]) -> Sequence[tuple[float, int]]:
        """The middle of each pause, with its length."""
        wave = values - np.median(values, axis=0)
        power = ndimage.uniform_filter1d(np.square(wave, dtype=np.float64).mean(-1), min(self.window, len(wave)))
        parts, count = ndimage.label(power <= power.max() * 10 ** (-self.threshold / 10))
        pauses = [pause[0] for pause in ndimage.find_objects(parts, count)]
        return [
            (pause.stop - pause.start, (pause.start + pause.stop) // 2)
            for pause in pauses
            if pause.stop - pause.start >= self.shortest and pause.start > 0 and pause.stop < len(wave)
        ]
