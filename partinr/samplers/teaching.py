"""Samples that teach most: those with the largest errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from partinr.base.spec import spec
from partinr.samplers.base import Draws, Look, Pool, Sampler
from partinr.samplers.quotas import highest
from partinr.samplers.ranked import Watching

STAGES = 10
"""Stages in which the number of samples grows."""

INCREMENTS = 5
"""Stages in which the distance of two selections grows."""


@spec
class Int(Sampler):
    """Implicit neural teaching (Zhang et al., "Nonparametric Teaching of Implicit Neural Representations", 2024).

    Each step sees the samples with the largest errors, absolute and summed over channels. A selection is used for
    several steps. The number of samples and the life of a selection grow as the paper and its public code have it: from
    a fifth of the samples to all in ten stages, and a selection for each step in the first quarter of the run, then for
    10, 20 … 50 steps in five stages. Unlike there, each network has its own quota.

    Attributes:
        ratio: how the number of samples grows from ``fraction`` to all of them: in ten stages (``step``), with the
            progress of the run (``linear``, ``cosine``), or not (``constant``).
        every_step_until: fraction of the run in which each step has its own selection.
        longest: steps that the last selections are used for.
    """

    blends: ClassVar[bool] = True

    fraction: Annotated[float, Field(gt=0, le=1)] | None = 0.2
    ratio: Literal["step", "linear", "cosine", "constant"] = "step"
    every_step_until: Annotated[float, Field(ge=0, le=1)] = 0.25
    longest: Annotated[int, Field(ge=1)] = 50

    @property
    def follows_end(self) -> bool:
        """Yes: both schedules do."""
        return True

    def begin(self, pool: Pool) -> Draws:
        """The largest errors."""
        return Teacher(pool, self)


class Teacher(Watching):
    """The draws of INT.

    Args:
        pool: the samples.
        settings: its options.
    """

    def __init__(self, pool: Pool, settings: Int) -> None:
        super().__init__(pool, 1.0)
        self._settings = settings

    def count(self, progress: float) -> int:
        """Number of rows in a step."""
        grown = {
            "step": math.floor(STAGES * progress) / STAGES,
            "linear": progress,
            "cosine": (1 - math.cos(math.pi * progress)) / 2,
            "constant": 0.0,
        }[self._settings.ratio]
        return self.pool.points + round(grown * (self.pool.samples - self.pool.points))

    def interval(self, progress: float) -> int:
        """Steps that a selection is used for."""
        begin = self._settings.every_step_until
        if progress < begin or begin == 1:
            return 1
        stage = min(INCREMENTS, math.floor((progress - begin) / (1 - begin) * INCREMENTS) + 1)
        return max(1, self._settings.longest * stage // INCREMENTS)

    def rate(self, look: Look) -> dict[str, Tensor]:
        """Absolute errors."""
        return {"error": look.residuals.abs().sum(1)}

    def fittest(self, counts: Sequence[int]) -> Tensor:
        """The largest errors."""
        return highest(self.scores["error"], self.pool.sizes, counts)
