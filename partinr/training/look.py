"""What a sampler may know of all samples as the networks are now."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from partinr.model.computed import some
from partinr.model.stack import pieces

if TYPE_CHECKING:
    from partinr.training.stack_loop import StackLoop

AT_ONCE = 2**16
"""Limit of samples whose derivatives are in memory at once."""

KERNEL_PASSES = 4
"""Forward passes that the kernel counts as: that of a gradient, and three for the product with the Jacobian."""


class LookAt:
    """The samples of a loop's networks; see :class:`partinr.samplers.Look`.

    Each process evaluates its own networks, or its portion of their samples, and gets the results of the others. All
    processes ask for the same. Networks whose training has ended are not evaluated.

    Args:
        loop: the loop.

    Attributes:
        macs: multiply-accumulates of what was asked for so far, over all processes.
    """

    def __init__(self, loop: StackLoop) -> None:
        self._loop = loop
        self._work = round(float(loop.work[~loop.finished].sum()))
        self._weights = None if loop._weights is None else loop.buffer("_weights")
        self.macs = 0
        shard, (processes, this) = loop.shard, loop.shard.portion
        own = torch.arange(this, sum(shard.sizes), processes)
        self._rows = own if shard.samples is None else shard.samples[own]
        self._coords = shard.coords if processes == 1 else some(shard.coords, own.to(shard.coords.device))
        counts = loop.batch.count(self._rows)
        self._sizes = tuple(counts[network] for network in shard.networks.tolist())

    @cached_property
    @torch.no_grad()
    def residuals(self) -> Tensor:
        """Value minus target of each row, times the root of its weight in the loss: float32 ``[M, C]`` on the CPU."""
        loop, batch = self._loop, self._loop.batch
        self.macs += self._work
        with torch.autocast(loop.device.type, enabled=False):
            values = loop.model.evaluate(self._coords, self._sizes, params=loop.shard.params)
        whole = self._whole(values)
        found = (whole if batch.blend is None else batch.unsort(whole)) - loop.buffer("_targets").cpu()
        if loop.finished.any():
            found[loop.finished[batch.network.cpu()]] = 0
        return (found if self._weights is None else found * self._weights.cpu().sqrt()).float()

    @cached_property
    def kernel(self) -> Tensor:
        """The change of each row's value by a step on the error of all rows: float32 ``[M]`` on the CPU."""
        loop, model, params = self._loop, self._loop.model, self._loop.shard.params
        self.macs += KERNEL_PASSES * self._work
        trained = {name: value for name, value in params.items() if value.requires_grad}
        targets, weights = (
            None if each is None else each[self._rows.to(each.device)]
            for each in (loop.buffer("_targets"), self._weights)
        )
        parts = list(pieces(self._sizes, AT_ONCE))
        own = [torch.zeros_like(value) for value in trained.values()]
        with torch.autocast(loop.device.type, enabled=False), torch.enable_grad():
            for part, sizes in parts:
                share = None if weights is None else weights[part]
                error = model.squared_error(self._coords[part], targets[part], sizes, share, params)
                found = torch.autograd.grad(error, list(trained.values()), allow_unused=True)
                own = [one if more is None else one + more for one, more in zip(own, found, strict=True)]
        # Half the gradient of the squared error is that by the values times the residuals.
        gradients = [each / 2 for each in loop.sharding.total(own)]
        given = {name: value.detach().requires_grad_() for name, value in trained.items()}
        changes = []
        with torch.autocast(loop.device.type, enabled=False), torch.enable_grad():
            for part, sizes in parts:
                values = model(self._coords[part], sizes, {**params, **given}, plain=True)
                # J v is the derivative of (Jᵀ u) · v by u, whatever u is.
                by = torch.zeros_like(values, requires_grad=True)
                back = torch.autograd.grad(
                    values, list(given.values()), by, create_graph=True, allow_unused=True, materialize_grads=True
                )
                (change,) = torch.autograd.grad(back, by, gradients)
                changes.append(change.norm(dim=1))
        return self._whole(torch.cat(changes)).float()

    def _whole(self, own: Tensor) -> Tensor:
        """The results of all processes, on the CPU."""
        loop = self._loop
        if loop.ranks.size == 1 and loop.shard.whole:
            return own.cpu()
        found = own.new_zeros(len(loop.batch.order), *own.shape[1:])
        found[self._rows.to(own.device)] = own
        return loop.ranks.whole(found).cpu()
