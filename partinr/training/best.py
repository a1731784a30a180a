"""What the networks of a stack are at another point of the curve than the last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor

from partinr.model.signal_stack import SignalStack

if TYPE_CHECKING:
    from partinr.training.stack_loop import StackLoop

T = TypeVar("T")


def at_point(loop: StackLoop, weights: Mapping[str, Tensor] | None, what: Callable[[], Iterable[T]]) -> list[T]:
    """What is found with the weights of a point of the curve; those of the last point are there again afterwards.

    Args:
        loop: the training.
        weights: from its ``weights_to_keep`` at that point; None for a point that was never reached.
        what: called once, with these weights in the stack.
    """
    if weights is None:
        return []
    last = loop.weights_to_keep()
    loop.put(weights)
    found = list(what())
    loop.put(last)
    return found


def renders(model: SignalStack) -> list[Tensor]:
    """What a stack gives for each of its signals: ``[*grid, C]`` each, by this process alone."""
    return [model.member(number).render() for number in range(len(model.names))]
