"""Optimiser steps of several processes that divide the samples of every network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from partinr.training.steps import PlainSteps, needs_lightning

if TYPE_CHECKING:
    from partinr.training.sharding import BySamples
    from partinr.training.stack_loop import StackLoop


class SummedSteps(PlainSteps):
    """Steps with the gradients of all processes, so that all take the same step.

    Args:
        loop: gives the loss by this process's samples, and the optimiser.
        sharding: sums the gradients.
    """

    def __init__(self, loop: StackLoop, sharding: BySamples) -> None:
        super().__init__(loop)
        self._sharding = sharding
        self.counted = needs_lightning(loop)

    def take(self, step: int) -> Tensor:
        """Take a step and return its loss by this process's samples."""
        loop, optimizer = self._loop, self._loop.optimizers() if self.counted else self._optimizer
        assert not isinstance(optimizer, list)
        optimizer.zero_grad()
        loss = loop.loss(step)
        if self.counted:
            loop.manual_backward(loss)
        else:
            loss.backward()
        trained = [value for value in loop.shard.params.values() if value.requires_grad]
        # A process may have no sample of a network in a step.
        own = [torch.zeros_like(value) if value.grad is None else value.grad for value in trained]
        for value, gradient in zip(trained, self._sharding.total(own), strict=True):
            value.grad = gradient
        optimizer.step()
        self._sharding.taken = step + 1
        return loss
