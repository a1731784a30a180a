"""The processes that train one stack together. One process alone is a group of one, for which nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """A group of processes, each of which has some of the networks.

    Attributes:
        size: how many processes there are.
        rank: which one this is, 0 … size - 1.
        device: where numbers are exchanged.
    """

    size: int = 1
    rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def whole(self, part: Tensor) -> Tensor:
        """What is zero in all processes but one, element by element, as a whole in all of them; exact, in place."""
        if self.size > 1:
            torch.distributed.all_reduce(part)
        return part

    def total(self, *values: float) -> list[float]:
        """The sum over the processes of each value."""
        return self._reduced(values, torch.distributed.ReduceOp.SUM) if self.size > 1 else list(values)

    def most(self, *values: float) -> list[float]:
        """The largest over the processes of each value."""
        return self._reduced(values, torch.distributed.ReduceOp.MAX) if self.size > 1 else list(values)

    def _reduced(self, values: Sequence[float], operation: object) -> list[float]:
        numbers = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(numbers, op=operation)
        return [float(number) for number in numbers]
