"""Samples at edges in every step, others by turns, with a loss that stands for all."""

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
from partinr.signals.detail import gradient_energy

SHUFFLE = 100
"""Steps between two shuffles of the source."""


@spec
class Expansive(Sampler):
    """Expansive supervision (Zhang et al., "Expansive Supervision for Neural Radiance Fields", 2025).

    Samples at edges, the anchors, are in every step. Others, the source, take turns, and their errors stand for those
    of all samples that are no anchors: with M samples, A anchors and S of the source, the loss is ``(sum over anchors +
    (M - A) / S · sum over the source) / M``, whose expectation is the loss over all samples. Anchors are the samples
    with the longest gradients, so they exist along any number of axes, where the paper has Canny's edges.

    Attributes:
        anchors: part of a step's samples that are anchors; the public code for images has a half.
    """

    blends: ClassVar[bool] = True

    fraction: Annotated[float, Field(gt=0, le=1)] | None = 0.5
    anchors: Annotated[float, Field(ge=0, lt=1)] = 0.5

    def begin(self, pool: Pool) -> Draws:
        """Anchors and source."""
        return Anchored(pool, self.anchors)


class Anchored(Watching):
    """The draws of expansive supervision.

    Args:
        pool: the samples.
        anchors: part of a step that are anchors.
    """

    def __init__(self, pool: Pool, anchors: float) -> None:
        super().__init__(pool, anchors)
        self.score({"edges": pool.rows([gradient_energy(each) for each in pool.signals])}, 0)
        anchor, rest = self.choice()
        drawn = self.points - int(anchor.sum())
        expanded = torch.where(anchor, 1.0, len(rest) / max(1, drawn))
        self.weights = (expanded * self.points / pool.samples).unsqueeze(1)

    def interval(self, progress: float) -> int:
        """Steps after which the source is shuffled anew."""
        return SHUFFLE

    def rate(self, look: Look) -> dict[str, Tensor]:
        """The anchors stay, whatever the networks are."""
        return self.scores

    def fittest(self, counts: Sequence[int]) -> Tensor:
        """The samples with the longest gradients."""
        return highest(self.scores["edges"], self.pool.sizes, counts)
