"""Communication between processes that train one stack. A single process is a group of one and sends nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """A group of processes, each with some of the networks.

    Attributes:
        size: the number of processes.
        rank: the number of this process, 0 … size - 1.
        device: device for exchanged numbers.
    """

    size: int = 1
    rank: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def whole(self, part: Tensor) -> Tensor:
        """Sum a tensor over the processes, in place; exact if each element is zero in all processes but one."""
        if self.size > 1:
            torch.distributed.all_reduce(part)
        return part

    def total(self, *values: float) -> list[float]:
        """The sum of each value over the processes."""
        return self._exchanged(values, lambda each: torch.distributed.all_reduce(each, torch.distributed.ReduceOp.SUM))

    def most(self, *values: float) -> list[float]:
        """The maximum of each value over the processes."""
        return self._exchanged(values, lambda each: torch.distributed.all_reduce(each, torch.distributed.ReduceOp.MAX))

    def first(self, *values: float) -> list[float]:
        """The values of the first process."""
        return self._exchanged(values, lambda each: torch.distributed.broadcast(each, src=0))

    def merged(self, state: dict[str, Any]) -> dict[str, Any]:
        """An optimiser's state for the whole stack, merged from all processes.

        Args:
            state: a ``state_dict`` of this process from :func:`partinr.training.shards.widen_state`, with zeros for
                the networks of other processes.
        """
        if self.size == 1:
            return state
        # A process without networks of some width has no state for that width. All processes must send the same tensors
        # in the same order, so they first agree on a list.
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
                # A count of steps. A process whose networks are all frozen has stopped counting.
                value = torch.full_like(value, self.most(float(value))[0])
            whole.setdefault(number, {})[key] = value
        return {**state, "state": whole}

    def _exchanged(self, values: Sequence[float], operation: Callable[[Tensor], object]) -> list[float]:
        if self.size == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64, device=self.device)
        operation(numbers)
        return [float(number) for number in numbers]


ALONE = Ranks()
"""A single process."""


def _outline(state: dict[int, dict[str, Any]]) -> dict[tuple[int, str], Any]:
    """The entries of an optimiser's state, tensors without their content."""
    return {
        (number, key): value.to("meta") if isinstance(value, torch.Tensor) else value
        for number, entry in state.items()
        for key, value in entry.items()
    }
