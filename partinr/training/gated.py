"""Steps in which a gate is trained together with the networks that it weighs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from partinr.model.batch import sort_by_network
from partinr.model.signal_stack import SignalStack
from partinr.model.stack import NetworkStack
from partinr.partition import Gate
from partinr.training.samples import Samples


@dataclass(frozen=True, eq=False)
class Competing(Samples):
    """Samples whose error is the mean of their networks' errors by the weights of these, not the error of their mean.

    Only networks that fit a sample gain weight there (Jacobs et al., "Adaptive Mixtures of Local Experts", 1991).
    """

    def squared_error(self, model: NetworkStack, params: Mapping[str, Tensor]) -> Tensor:
        """The weighted squared error, summed over samples and channels."""
        assert self.place is not None and self.blend is not None
        values = model(self.coords, self.sizes, params)
        error = (values - self.targets[self.place]).square() * self.blend
        return (error if self.weights is None else error * self.weights[self.place]).sum()


class Gating:
    """The samples of steps that train a gate, and the gate's own optimiser.

    Each sample is given to its ``top`` networks. Their choice is made anew every few steps, and the weights of these
    networks in every step. The gate's gradient follows from the same loss as the networks'.

    Args:
        gate: the gate.
        model: the networks.
        coords: ``[M, d]``, inputs of the networks, row-major.
        targets: ``[M, C]``, likewise.
        weights: ``[M, 1]``, weights of the samples in the loss; None if all are 1.

    Attributes:
        open: whether the gate is still trained.
    """

    def __init__(self, gate: Gate, model: SignalStack, coords: Tensor, targets: Tensor, weights: Tensor | None) -> None:
        self.gate, self.open = gate, True
        self._model, self._tables = model, (coords, targets, weights)
        self._kind = Samples if gate.blends else Competing
        self._chosen: tuple[int, Tensor] | None = None
        self._sorted: tuple[Tensor, Samples] | None = None
        self._optimizer = torch.optim.Adam(gate.parameters())

    def samples(self, step: int) -> list[Samples]:
        """All samples, each once for each of its networks, with weights that are differentiable by the gate."""
        if self._chosen is None or (step % self.gate.rule.every == 0 and self._chosen[0] != step):
            self._chosen, self._sorted = (step, self.gate.best(self.gate.top)), None
        networks = self._chosen[1]
        if self._sorted is None:
            self._sorted = self._sort(networks)
        order, samples = self._sorted
        for value in self.gate.parameters():
            value.grad = None  # a step without effect may have left one
        blend = self.gate.weights(networks).reshape(-1)[order].unsqueeze(1)
        return [self._kind(samples.coords, samples.sizes, samples.targets, samples.weights, samples.place, blend)]

    def _sort(self, networks: Tensor) -> tuple[Tensor, Samples]:
        """The order of pairs of a sample and a network in the batch, and the samples without weights of networks."""
        like = self.gate.coords
        coords, targets, weights = (None if each is None else each.to(like) for each in self._tables)
        assert coords is not None and targets is not None
        network = self._model.position.to(like.device)[networks.reshape(-1)]
        order, sizes = sort_by_network(network, self._model.networks)
        sample = order // networks.shape[1]
        return order, Samples(coords[sample], sizes, targets, weights, sample)

    @property
    def macs(self) -> int:
        """Forward multiply-accumulates of one step, with networks of mean width."""
        samples, networks = len(self.gate.coords), self._model.macs_of_networks
        return round(samples * (self.gate.top * sum(networks) / len(networks) + self.gate.macs))

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the gate take its step after each of an optimiser's, at the same rate times the rule's ``lr``."""

        def step(stepping: Any, *_: Any) -> None:
            if self.open:
                self._optimizer.param_groups[0]["lr"] = self.gate.rule.lr * float(stepping.param_groups[0]["lr"])
                self._optimizer.step()

        optimizer.register_step_post_hook(step)

    def state(self) -> dict[str, Any]:
        """What a resumed run needs beside the gate's parameters."""
        return {"open": self.open, "chosen": self._chosen, "optimizer": self._optimizer.state_dict()}

    def continue_from(self, state: Mapping[str, Any]) -> None:
        """Restore the :meth:`state` of a checkpoint."""
        self.open, self._chosen, self._sorted = state["open"], state["chosen"], None
        self._optimizer.load_state_dict(state["optimizer"])
