"""Ways to take one optimiser step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.engines.base import AdamRun, AdamSettings
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

    def run(self, steps: range, advance: Callable[[], None]) -> Tensor | None:
        """Take steps, and call ``advance`` after each; returns the loss of the last."""
        loss = None
        for step in steps:
            loss = self.take(step)
            advance()
        return loss

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


BLOCK_SECONDS = 0.02
"""Length of a block of steps that the engine takes at once. In a block a schedule by the clock sees the time of its
beginning; other schedules do not depend on blocks, and neither do results."""


class EngineSteps(PlainSteps):
    """Steps in which the engine computes gradients and moves the parameters in one pass.

    A region's network needs nothing of the others, so the engine takes all steps of a block with one network before it
    goes on to the next, while its samples are in the processor's cache.

    Args:
        loop: gives samples and optimiser.
    """

    def __init__(self, loop: StackLoop) -> None:
        super().__init__(loop)
        self._seconds = math.inf
        # Without gradients this does nothing, but a schedule expects a step of the optimiser before its own.
        self._optimizer.zero_grad()
        self._optimizer.step()

    def run(self, steps: range, advance: Callable[[], None]) -> Tensor | None:
        """Take steps, and call ``advance`` after each; returns the loss of the last."""
        found, loop = adam_run(self._loop), self._loop
        if found is None:  # other networks than those that the choice was made for
            return super().run(steps, advance)
        step, loss = steps.start, None
        try:
            while step < steps.stop:
                count = min(steps.stop - step, max(1, int(BLOCK_SECONDS / self._seconds)))
                begin = time.perf_counter()
                rates = self._rates(count, advance)
                loss = found.take(step, 1 / loop.divisor, rates) / loop.divisor
                self._seconds = (time.perf_counter() - begin) / count
                step += count
        finally:
            found.close()
        return None if loss is None else torch.tensor(loss)

    def _rates(self, count: int, advance: Callable[[], None]) -> NDArray[np.float32]:
        """What :meth:`AdamRun.take <partinr.engines.base.AdamRun.take>` needs to know of the next steps."""
        (group,) = self._optimizer.param_groups
        counters = [self._optimizer.state[value]["step"] for value in group["params"]]
        before, rates = int(counters[0]), []
        for number in range(before + 1, before + 1 + count):
            mean, square = (1 - beta**number for beta in group["betas"])
            rates.append((group["lr"] / mean, math.sqrt(square), 1 - group["lr"] * group["weight_decay"]))
            advance()
        for counter in counters:
            counter += count
        return np.array(rates, dtype=np.float32)


def adam_run(loop: StackLoop) -> AdamRun | None:
    """The engine's steps, if samples repeat, the optimiser is plain Adam (W) without clipping, and the engine can."""
    optimizer = loop.own_optimizer()
    group, *more = optimizer.param_groups
    plain = type(optimizer) is torch.optim.AdamW or (type(optimizer) is torch.optim.Adam and not group["weight_decay"])
    if loop.period is None or loop.optimizer.clip_norm is not None:
        return None
    turns = [loop.samples_of(step) for step in range(loop.period)]
    blended = any(len(samples) != 1 or samples[0].blend is not None for samples in turns)
    if not plain or more or blended or group["amsgrad"] or group["maximize"] or isinstance(group["lr"], Tensor):
        return None

    def moments(value: Tensor) -> tuple[Tensor, Tensor]:
        state: dict[str, Any] = optimizer.state[value]
        if not state:  # as the optimiser begins
            state |= {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(value),
                "exp_avg_sq": torch.zeros_like(value),
            }
        return state["exp_avg"], state["exp_avg_sq"]

    settings = AdamSettings(tuple(group["betas"]), group["eps"])
    return loop.model.adam([each.observed for (each,) in turns], loop.shard.params, moments, settings)


def steps_of(loop: StackLoop) -> PlainSteps:
    """The kind of steps that suits a loop."""
    precision = str(loop.trainer.precision)
    if needs_lightning(loop):
        return WrappedSteps(loop)
    if loop.cuda_graphs and loop.period == 1 and can_be_graphed(loop.device, precision, loop.own_optimizer()):
        return RecordedSteps(loop)
    return PlainSteps(loop) if adam_run(loop) is None else EngineSteps(loop)


def needs_lightning(loop: StackLoop) -> bool:
    """Whether steps go through Lightning: for half precision, or because a callback has a hook within steps."""
    if str(loop.trainer.precision) == "16-mixed":
        return True
    hooks = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
    callbacks: Sequence[L.Callback] = loop.trainer.callbacks  # type: ignore[attr-defined]
    return any(getattr(type(each), hook) is not getattr(L.Callback, hook) for each in callbacks for hook in hooks)
