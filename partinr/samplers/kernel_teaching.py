"""Samples that change the function most."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.samplers.base import Draws, Look, Pool, Sampler
from partinr.samplers.quotas import highest, quotas
from partinr.samplers.ranked import Watching

LEAST = 1e-3
"""Part of a step below which the kernel is not computed any more."""


@spec
class Nint(Sampler):
    """NTK-guided implicit neural teaching (Zhang et al., "NTK-Guided Implicit Neural Teaching", 2026).

    A part of each step has the largest norms of ``K r``, the neural tangent kernel times the errors: how far the values
    would move by a step on all samples. The others have the largest errors, or are drawn at random. The kernel is never
    formed: ``J (Jᵀ r)`` is a gradient and a forward derivative, exact for every backbone, as in the public code. In a
    stack the kernel is zero between networks, so one pass of both gives it for all of them, and each network has its
    own quota. Defaults are those of the public code, where the kernel's part falls by e² from one kernel to the next.

    Attributes:
        kernel: part of the first steps that is chosen by the kernel.
        decay: logarithm of the factor by which that part falls while the kernel is used.
        refresh: looks from one kernel to the next.
        random: part of each step that is drawn at random; the rest is chosen by errors.
        interval: steps from one look to the next.
    """

    blends: ClassVar[bool] = False

    fraction: Annotated[float, Field(gt=0, le=1)] | None = 0.2
    kernel: Annotated[float, Field(ge=0, le=1)] = 0.3
    decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0
    refresh: Annotated[int, Field(ge=1)] = 10
    random: Annotated[float, Field(ge=0, le=1)] = 0.7
    interval: Annotated[int, Field(ge=1)] = 1

    def __post_init__(self) -> None:
        """Check that the parts are parts of a step.

        Raises:
            PartinrError: they are more than a step.
        """
        if self.kernel + self.random > 1 + 1e-9:
            raise PartinrError(
                f"sampler.kernel={self.kernel:g} and sampler.random={self.random:g} are parts of one step; "
                "give less, with a sum of 1 at most"
            )

    def begin(self, pool: Pool) -> Draws:
        """Samples by the kernel, by error and at random."""
        return KernelTeacher(pool, self)


class KernelTeacher(Watching):
    """The draws of NINT.

    Args:
        pool: the samples.
        settings: its options.

    Attributes:
        looks: number of looks so far.
    """

    def __init__(self, pool: Pool, settings: Nint) -> None:
        super().__init__(pool, 1 - settings.random)
        self._settings, self.looks = settings, 0

    def interval(self, progress: float) -> int:
        """Steps from one look to the next."""
        return self._settings.interval

    def part(self, looks: int) -> float:
        """The part of a step that is chosen by the kernel."""
        settings = self._settings
        part = settings.kernel * math.exp(-settings.decay * (looks // settings.refresh))
        return part if part >= LEAST else 0.0

    def rate(self, look: Look) -> dict[str, Tensor]:
        """Absolute errors, and what the kernel makes of them."""
        found, kernel = {"error": look.residuals.abs().sum(1)}, self.scores.get("kernel")
        if self.part(self.looks):
            fresh = kernel is None or self.looks % self._settings.refresh == 0
            found["kernel"] = look.kernel if fresh or kernel is None else kernel
        self.looks += 1
        return found

    def fittest(self, counts: Sequence[int]) -> Tensor:
        """The largest by the kernel, then the largest errors of the others."""
        error, kernel, sizes = self.scores["error"], self.scores.get("kernel"), self.pool.sizes
        if kernel is None:
            return highest(error, sizes, counts)
        total = sum(counts)
        first = quotas(counts, min(total, round(self.part(self.looks - 1) * self.points))) if total else [*counts]
        chosen = highest(kernel, sizes, first)
        others = [count - own for count, own in zip(counts, first, strict=True)]
        return chosen | highest(error.masked_fill(chosen, -1.0), sizes, others)

    def state(self) -> dict[str, Any]:
        """The scores and the number of looks."""
        return {**super().state(), "looks": self.looks}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        super().restore(state)
        self.looks = state["looks"]
