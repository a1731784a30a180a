"""Samples that are drawn by the gradient of the signal."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from partinr.base.spec import spec
from partinr.samplers.base import Draws, Pool, Sampler
from partinr.samplers.weighted import Weighted
from partinr.signals.detail import gradient_energy


@spec
class Edges(Sampler):
    """Samples drawn in proportion to the length of the signal's gradient, from differences of neighbours.

    The draw does not change during a fit. With ``correction=1`` its loss is unbiased, as that of :class:`Error
    <partinr.samplers.Error>`; with 0 errors at edges count more, as in samplers that only select; soft mining
    (Kheradmand et al., 2024) puts the exponent between them.

    Attributes:
        correction: exponent of the weights that make up for the frequency of a sample.
    """

    correction: Annotated[float, Field(ge=0, le=1)] = 1.0

    def begin(self, pool: Pool) -> Draws:
        """Draws by the gradients of what is seen of the signals."""
        draws = Weighted(pool, self.correction)
        draws.prefer(pool.rows([gradient_energy(each).sqrt() for each in pool.signals]))
        return draws
