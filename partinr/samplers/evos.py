"""Samples that survive by their fitness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from partinr.base.spec import spec
from partinr.samplers.base import Draws, Look, Pool, Sampler
from partinr.samplers.quotas import highest
from partinr.samplers.ranked import Watching


@spec
class Evos(Sampler):
    """The selection of EVOS (Zhang et al., "EVOS: Efficient Implicit Neural Training via EVOlutionary Selector", 2025).

    Sparse fitness evaluation: the error of all samples is found at key steps only, whose distance falls in proportion
    to the progress of the run (eq. 2). Frequency-guided crossover: of the samples with the highest error and of those
    with the highest error of the Laplacian, those that are both are taken, then of each in proportion to its mean.
    Unbiased mutation: a part of each step is drawn from all other samples. Defaults are those of the public code for
    images; for sounds and surfaces it leaves the Laplacian out. Unlike there, each network has its own quota, a key
    step looks at all samples but trains on the selection, and the loss has no term of the Laplacian (the paper's "w/o
    CFS").

    Attributes:
        first_interval: steps between two key steps at the beginning.
        last_interval: likewise at the end.
        mutation: part of a step that is drawn from the samples that are not selected.
        laplacian: weight of the mean squared error of the Laplacian against that of the values; 0 to select by the
            error alone. The public code has 1e-5 for a Laplacian of values from 0 to 255 and an error of values from
            -1 to 1, which is 0.16 for values from 0 to 1.
    """

    blends: ClassVar[bool] = True

    fraction: Annotated[float, Field(gt=0, le=1)] | None = 0.5
    first_interval: Annotated[int, Field(ge=1)] = 100
    last_interval: Annotated[int, Field(ge=1)] = 50
    mutation: Annotated[float, Field(ge=0, le=1)] = 0.5
    laplacian: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.16

    @property
    def follows_end(self) -> bool:
        """Whether the distance of key steps changes."""
        return self.first_interval != self.last_interval

    def begin(self, pool: Pool) -> Draws:
        """A selection that evolves."""
        return Evolution(pool, self)


class Evolution(Watching):
    """The draws of EVOS.

    Args:
        pool: the samples.
        settings: its options.
    """

    def __init__(self, pool: Pool, settings: Evos) -> None:
        super().__init__(pool, 1 - settings.mutation)
        self._settings = settings

    def interval(self, progress: float) -> int:
        """Steps between two key steps."""
        first, last = self._settings.first_interval, self._settings.last_interval
        return max(1, int(first + (last - first) * progress))

    def rate(self, look: Look) -> dict[str, Tensor]:
        """Squared errors of the values and of their Laplacians."""
        found = {"error": look.residuals.square().mean(1)}
        if self._settings.laplacian:
            details = [laplacian(each).square().mean(-1) for each in self.pool.grids(look.residuals)]
            found["detail"] = self.pool.rows(details)
        return found

    def fittest(self, counts: Sequence[int]) -> Tensor:
        """Those that both parents select, and of each parent's others in proportion to its mean."""
        sizes, error, detail = self.pool.sizes, self.scores["error"], self.scores.get("detail")
        by_error = highest(error, sizes, counts)
        if detail is None:
            return by_error
        by_detail = highest(detail, sizes, counts)
        both = by_error & by_detail
        left = torch.tensor(counts) - self.pool.sums(both).long()
        low, high = self.pool.sums(error), self._settings.laplacian * self.pool.sums(detail)
        of_error = (left * (low / (low + high)).nan_to_num(1.0)).long()
        for scores, own, part in ((error, by_error, of_error), (detail, by_detail, left - of_error)):
            both = both | highest(scores.masked_fill(~own | both, -1.0), sizes, part.tolist())
        return both


def laplacian(values: Tensor) -> Tensor:
    """The sum of neighbours along all axes minus as many times the value: ``[*grid, C]``; beyond the grid all is 0."""
    found = -2 * (values.ndim - 1) * values
    for axis in range(values.ndim - 1):
        n = values.shape[axis] - 1
        found.narrow(axis, 0, n).add_(values.narrow(axis, 1, n))
        found.narrow(axis, 1, n).add_(values.narrow(axis, 0, n))
    return found
