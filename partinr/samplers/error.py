"""Samples that are drawn by their error."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from partinr.base.spec import spec
from partinr.samplers.base import Draws, Pool, Sampler
from partinr.samplers.weighted import Weighted


@spec
class Error(Sampler):
    """Samples drawn in proportion to their error at the last evaluation, with weights that keep the loss unbiased.

    The variance of the gradient is lowest if samples are drawn in proportion to the norms of their gradients
    (Katharopoulos and Fleuret, "Not All Samples Are Created Equal", 2018; for neural fields Kheradmand et al.,
    "Accelerating Neural Field Training via Soft Mining", 2024). Adam's steps are not linear in the gradient, so their
    expectation still changes. The errors are those that an evaluation finds anyway.
    """

    def begin(self, pool: Pool) -> Draws:
        """Draws of all samples alike until the first evaluation."""
        return ByError(pool)


class ByError(Weighted):
    """Draws by the errors of the last evaluation."""

    goes_by_error: ClassVar[bool] = True

    def refresh(self, errors: Tensor | None) -> None:
        """Draw by new errors from now on."""
        self.prefer(errors)

    def state(self) -> dict[str, Any]:
        """The errors."""
        return {"errors": self.liking}

    def restore(self, state: dict[str, Any]) -> None:
        """Draw by the errors of a checkpoint."""
        self.prefer(state["errors"])
