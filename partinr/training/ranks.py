"""The processes that train one stack together. One process alone is a group of one, for which nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

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

    def first(self, *values: float) -> list[float]:
        """The values of the first process, for all."""
        if self.size == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(numbers, src=0)
        return [float(number) for number in numbers]

    def merged(self, state: dict[str, Any]) -> dict[str, Any]:
        """An optimiser's state for the whole stack, from those of all processes.

        Args:
            state: a ``state_dict`` of this process, as :func:`partinr.training.shards.widen_state` gives it: zeros for
                networks that it does not have.
        """
        if self.size == 1:
            return state
        # A process may have no network of some width, and its optimiser then nothing for the parameters of that width.
        # All have to send the same things in the same order, so what there is at all is found out first.
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, _outline(state["state"]))
        outline = {(number, key): value for each in reversed(found) for (number, key), value in each.items()}
        whole: dict[int, dict[str, Any]] = {}
        for number, key in sorted(outline, key=str):
            value = state["state"].get(number, {}).get(key, outline[number, key])
            if isinstance(value, torch.Tensor) and value.is_meta:
                value = torch.zeros(value.shape, dtype=value.dtype)
            if isinstance(value, torch.Tensor) and value.ndim > 0:
                value = self.whole(value.to(self.device)).to(value.device)
            elif isinstance(value, torch.Tensor):
                # A count of steps: a process that trains nothing any more counts no further.
                value = torch.full_like(value, self.most(float(value))[0])
            whole.setdefault(number, {})[key] = value
        return {**state, "state": whole}

    def _reduced(self, values: Sequence[float], operation: object) -> list[float]:
        numbers = torch.tensor(values, dtype=torch.float64, device=self.device)
        torch.distributed.all_reduce(numbers, op=operation)
        return [float(number) for number in numbers]


def _outline(state: dict[int, dict[str, Any]]) -> dict[tuple[int, str], Any]:
    """What an optimiser's state holds, tensors without their content."""
    return {
        (number, key): value.to("meta") if isinstance(value, torch.Tensor) else value
        for number, entry in state.items()
        for key, value in entry.items()
    }
