"""Numbers over the seeds of a group."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Stat:
    """One number over the seeds of a group.

    ``mean`` is None unless every seed has the number, so a mean never omits seeds that did badly. ``std`` is
    the sample standard deviation, None for one seed.
    """

    mean: float | None
    std: float | None
    have: int
    n: int
    values: tuple[float, ...] = field(default=(), compare=False, repr=False)
    """The number of each seed, if every seed has it."""

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Stat:
        """Mean and deviation of one value per seed; None and NaN mean that a seed lacks the number."""
        numbers = [value for value in values if value is not None and not math.isnan(value)]
        if not numbers or len(numbers) < len(values):
            return cls(None, None, len(numbers), len(values))
        spread = len(numbers) >= 2 and all(map(math.isfinite, numbers))
        std = statistics.stdev(numbers) if spread else None
        return cls(statistics.fmean(numbers), std, len(numbers), len(values), tuple(numbers))
