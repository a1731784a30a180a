"""Ways to take one optimiser step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import lightning as L
from torch import Tensor

from partinr.training.graphs import GraphedSteps, can_be_graphed

if TYPE_CHECKING:
    from partinr.training.stack_loop import StackLoop

Step = Callable[[int], Tensor]
"""Takes the step with a number, from 0 on, and returns its loss."""


class PlainSteps:
    """Steps without Lightning's wrappers, which take longer than the step of a thin stack.

    Args:
        loop: gives loss and optimiser.
    """

    counted = False
    """Whether Lightning counts the steps."""

    def __init__(self, loop: StackLoop) -> None:
        self._loop, self._optimizer = loop, loop.own_optimizer()

    def take(self, step: int) -> Tensor:
        """Take a step and return its loss."""
        self._optimizer.zero_grad()
        loss = self._loop.loss(step)
        loss.backward()
        self._optimizer.step()
        return loss


class WrappedSteps(PlainSteps):
    """Steps through Lightning, which scales the loss for half precision and calls hooks within a step."""

    counted = True

    def take(self, step: int) -> Tensor:
        """Take a step and return its loss."""
        optimizer = self._loop.optimizers()
        assert not isinstance(optimizer, list)
        optimizer.zero_grad()
        loss = self._loop.loss(step)
        self._loop.manual_backward(loss)
        optimizer.step()
        return loss


class RecordedSteps(PlainSteps):
    """Steps as a CUDA graph (:mod:`partinr.training.graphs`)."""

    def __init__(self, loop: StackLoop) -> None:
        super().__init__(loop)
        # With the full batch, all steps have the same loss function.
        self._graph = GraphedSteps(lambda: loop.loss(loop.step), self._optimizer)

    def take(self, step: int) -> Tensor:
        """Take a step and return its loss."""
        return self._graph.take(self._loop.shard)


def steps_of(loop: StackLoop) -> PlainSteps:
    """The kind of steps that suits a loop."""
    precision = str(loop.trainer.precision)
    if needs_lightning(loop):
        return WrappedSteps(loop)
    points = None if loop.sees_all else loop.points_per_step
    if loop.cuda_graphs and can_be_graphed(loop.device, precision, loop.own_optimizer(), points):
        return RecordedSteps(loop)
    return PlainSteps(loop)


def needs_lightning(loop: StackLoop) -> bool:
    """Whether steps go through Lightning: for half precision, or because a callback has a hook within steps."""
    if str(loop.trainer.precision) == "16-mixed":
        return True
    hooks = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
    callbacks: Sequence[L.Callback] = loop.trainer.callbacks  # type: ignore[attr-defined]
    return any(getattr(type(each), hook) is not getattr(L.Callback, hook) for each in callbacks for hook in hooks)
