"""Regions from one note, beat or syllable of a sound to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from partinr.base.later import Later
from partinr.base.spec import spec
from partinr.partition.cuts import Cuts
from partinr.partition.spectra import levels

if TYPE_CHECKING:
    from scipy import signal as processing
else:
    processing = Later("scipy.signal")


@spec
class Onsets(Cuts):
    """Cuts at onsets: peaks of the spectral flux, which is the mean rise of the level of all frequencies.

    Levels are in dB, from frames of ``window`` samples, a quarter of that apart; what is 80 dB below the loudest
    frequency does not count. A higher peak is a stronger cut.

    Attributes:
        threshold: least height of a peak above its surroundings, in dB; a lower one finds more onsets.
        window: samples of a frame; a change in less time is one onset.
        shortest: least samples between two onsets.
    """

    axes: ClassVar[Sequence[int]] = (1,)
    threshold: Annotated[float, Field(gt=0, le=200)] = 3.0
    window: Annotated[int, Field(ge=4)] = 1024
    shortest: Annotated[int, Field(ge=1)] = 2048

    def cuts(self, values: NDArray[np.float32]) -> Sequence[tuple[float, int]]:
        """The peaks of the spectral flux, with their height above the surroundings."""
        window = min(self.window, len(values))
        hop = max(1, window // 4)
        flux = np.maximum(np.diff(levels(values, window, hop), axis=0), 0).mean(-1)
        apart = max(1, self.shortest // hop)
        # Between frames i and i + 1; a rise in the first or last frames may be that of the padding.
        at, found = processing.find_peaks(flux, prominence=self.threshold, distance=apart)
        places = (at + 1) * hop
        inside = (places > window // 2) & (places < len(values) - window // 2)
        return list(zip(found["prominences"][inside].tolist(), places[inside].tolist(), strict=True))
