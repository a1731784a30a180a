"""Regions between the cuts of a film."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from partinr.base.spec import spec
from partinr.partition.cuts import Cuts


@spec
class Shots(Cuts):
    """A region for each shot of a film: it is cut where a frame differs from the one before.

    The difference is the mean over pixels and channels of the absolute difference, less that of the frames before or
    after, whichever is larger: so neither motion nor a flash is a cut. With more ``regions`` than shots, each shot is
    divided into boxes.

    Attributes:
        threshold: least difference, where 1 is from black to white; a lower one finds more cuts.
    """

    axes: ClassVar[Sequence[int]] = (3,)
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.1

    def cuts(self, values: NDArray[np.float32]) -> Sequence[tuple[float, int]]:
        """The first frame of each shot but the first, with its difference."""
        change = np.array([np.abs(after - before).mean() for before, after in pairwise(values)])
        around = np.pad(change, 1)
        jump = change - np.maximum(around[:-2], around[2:])
        return [(float(jump[at]), int(at) + 1) for at in np.flatnonzero(jump >= self.threshold)]
