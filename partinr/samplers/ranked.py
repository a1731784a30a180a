"""Samples of which those with the highest scores are in every step, and others take turns."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from partinr.base.seeds import derived
from partinr.samplers.base import Draws, Look, Pool
from partinr.samplers.quotas import quotas

MOST_TURNS = 16
"""Sets of rows that an engine gets at once."""

LEAST_STAY = 10
"""Steps between two looks from which on an engine gets the rows of all of them at once."""


class Ranked(Draws):
    """Draws the highest scores of each network, in proportion to its size, and fills the step up at random.

    Each network has its own quota, so it learns from the samples that it would learn from alone. The other samples take
    turns: all of them are drawn before any is drawn again. They are shuffled anew when the scores change.

    Args:
        pool: the samples.
        greedy: part of the rows of a step that have the highest scores, 0 … 1.

    Attributes:
        scores: numbers of all rows, ``[M]`` each, by name; all rows take turns while there are none.
        since: the step from which they are used.
    """

    def __init__(self, pool: Pool, greedy: float) -> None:
        super().__init__(pool)
        self.greedy, self.since = greedy, 0
        self.scores: dict[str, Tensor] = {}
        self._chosen: tuple[int, Tensor, Tensor] | None = None
        self._order: Tensor | None = None

    @abstractmethod
    def fittest(self, counts: Sequence[int]) -> Tensor:
        """Which rows have the highest scores: bool ``[M]``, so many of each network."""

    def score(self, scores: dict[str, Tensor], since: int) -> None:
        """Go by other scores, from a step on."""
        self.scores, self.since, self._chosen = scores, since, None

    def choice(self) -> tuple[Tensor, Tensor]:
        """Which rows are in every step, bool ``[M]``, and the others, int64."""
        if self._chosen is None or self._chosen[0] != self.points:
            counts = quotas(self.pool.sizes, round(self.greedy * self.points))
            chosen = self.fittest(counts) if self.scores else torch.zeros(self.pool.samples, dtype=torch.bool)
            self._chosen, self._order = (self.points, chosen, torch.nonzero(~chosen).squeeze(1)), None
        return self._chosen[1:]

    @property
    def shares(self) -> Tensor | None:
        """Expected number of rows of each network: float64 ``[N]``."""
        if self.points >= self.pool.samples:
            return None
        chosen, rest = self.choice()
        return self.pool.sums(torch.where(chosen, 1.0, (self.points - int(chosen.sum())) / len(rest)))

    @property
    def _wanted(self) -> int:
        """Number of rows of a step that take turns."""
        return self.points - int(self.choice()[0].sum())

    @property
    def turns(self) -> int | None:
        """The number of sets in which the other rows take turns."""
        if self.points >= self.pool.samples or not self._wanted:
            return 1
        found = math.ceil(len(self.choice()[1]) / self._wanted)
        return found if found <= MOST_TURNS else None

    def draw(self, step: int) -> Tensor | None:
        """The rows of a step, ascending: int64 ``[P]``; None for all of them."""
        if self.points >= self.pool.samples:
            return None
        (chosen, rest), wanted = self.choice(), self._wanted
        if wanted:
            if self._order is None:
                generator = torch.Generator().manual_seed(derived(self.pool.seed, self.since))
                self._order = rest[torch.randperm(len(rest), generator=generator)]
            turn = (step - self.since) % math.ceil(len(rest) / wanted)
            start = min(turn * wanted, len(rest) - wanted)  # the last set shares some rows with the one before
            chosen = chosen.clone()
            chosen[self._order[start : start + wanted]] = True
        return torch.nonzero(chosen).squeeze(1)


class Watching(Ranked):
    """Draws whose scores follow from the networks, which are looked at now and then."""

    _next = 0

    @abstractmethod
    def interval(self, progress: float) -> int:
        """Steps from a look to the next, when a fraction of the run is over."""

    @abstractmethod
    def rate(self, look: Look) -> dict[str, Tensor]:
        """The scores by a look."""

    def due(self, step: int) -> bool:
        """Whether the last look is too old."""
        return step >= self._next

    @property
    def turns(self) -> int | None:
        """The number of sets in which the other rows take turns; None if the next look comes too soon."""
        return super().turns if self._next - self.since >= LEAST_STAY else None

    def look(self, step: int, progress: float, look: Look) -> None:
        """Rate all samples."""
        self.score(self.rate(look), step)
        self._next = step + self.interval(progress)

    def state(self) -> dict[str, Any]:
        """The scores, and when they were found."""
        return {"scores": self.scores, "since": self.since, "next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue with the scores of a checkpoint."""
        self.score(state["scores"], state["since"])
        self._next = state["next"]
