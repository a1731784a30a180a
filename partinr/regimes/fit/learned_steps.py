"""Steps with the learning rates of a learned initialisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from partinr.regimes.meta.learned import LearnedStart
from partinr.training.samples import Samples
from partinr.training.steps import PlainSteps

if TYPE_CHECKING:
    from partinr.training.stack_loop import StackLoop


class LearnedSteps(PlainSteps):
    """Gradient descent steps like the inner steps of learning to learn.

    Args:
        loop: the loop whose networks the steps change.
        start: the initialisation that the networks began with.
    """

    def __init__(self, loop: StackLoop, start: LearnedStart) -> None:
        super().__init__(loop)
        self._start = start

    def take(self, step: int) -> Tensor:
        """Take a step and return the loss before it."""
        loop, start, shard = self._loop, self._start, self._loop.shard
        (seen,) = shard.every  # in one part, since no two networks share samples
        error = loop.model.squared_error(seen.coords, seen.targets, seen.sizes, self._weights(seen), shard.params)
        names = start.adapted
        own = torch.autograd.grad(error, [shard.params[name] for name in names])
        gradients = loop.sharding.total(own)
        # The networks are sorted by image, then by region, and the region is the cell.
        cell = None if start.cells == 1 else (shard.networks % start.cells).to(start.device)
        with torch.no_grad():
            loss = loop.loss(step)
            for name, gradient in zip(names, gradients, strict=True):
                rate = start.rates.at(step, name, cell)
                by = gradient * (rate.to(gradient) if isinstance(rate, Tensor) else rate)
                shard.params[name].sub_(by)
        # Without gradients this step does nothing, but a schedule expects one before its own step.
        self._optimizer.zero_grad()
        self._optimizer.step()
        return loss

    def _weights(self, seen: Samples) -> Tensor:
        """The weight of each sample in the objective of an inner step, ``[m, 1]``."""
        model, shard, batch = self._loop.model, self._loop.shard, self._loop.batch
        sizes = torch.tensor(batch.sizes, dtype=torch.float64)
        if self._start.inner_loss == "image":
            regions = torch.tensor([partition.regions for partition in model.partitions])
            samples = [partition.labels.numel() for partition in model.partitions]
            sizes = torch.tensor(samples, dtype=torch.float64).repeat_interleave(regions)
        by_network = 1 / (sizes[shard.networks] * model.channels)
        return by_network.repeat_interleave(torch.tensor(seen.sizes)).to(seen.targets).unsqueeze(1)
