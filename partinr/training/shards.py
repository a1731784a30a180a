"""Shards of a stack: the networks that one process trains, and the optimiser's state when they change."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from partinr.model.batch import RegionBatch
from partinr.model.stack import NetworkStack


@dataclass(frozen=True, eq=False)
class Shard:
    """Some networks of a stack, with their own parameters and samples.

    Attributes:
        networks: int64 ``[n]``, ascending: which of the N networks.
        rows: for each parameter of the stack, the rows of these networks along its first axis.
        params: the parameters, by the names of the stack, in its order; those that are trained have gradients. A shard
            that is the whole stack holds the stack's own parameters.
        samples: int64 ``[m]``, positions in the batch of all samples; None for all of them.
        coords: ``[m, d]``.
        targets: ``[m, c]``.
        weights: ``[m, 1]`` of the loss; None where all are 1.
        sizes: how many samples each of the n networks has.
    """

    networks: Tensor
    rows: Mapping[str, Tensor]
    params: Mapping[str, nn.Parameter]
    samples: Tensor | None
    coords: Tensor
    targets: Tensor
    weights: Tensor | None
    sizes: tuple[int, ...]

    @property
    def whole(self) -> bool:
        """Whether the shard is the whole stack."""
        return self.samples is None

    @classmethod
    def take(
        cls,
        model: NetworkStack,
        batch: RegionBatch,
        coords: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        networks: Tensor,
    ) -> Shard:
        """Cut a shard out of a model.

        Args:
            model: its values are the start of the shard's parameters.
            batch: all samples, and which network each belongs to.
            coords: of the batch, on the device.
            targets: likewise.
            weights: likewise, or None.
            networks: int64 ``[n]``, ascending.
        """
        rows = model.rows(networks)
        if len(networks) == len(batch.sizes):
            own = {name: value for name, value in model.stack.items() if isinstance(value, nn.Parameter)}
            return cls(networks, rows, own, None, coords, targets, weights, batch.sizes)
        mine = torch.zeros(len(batch.sizes), dtype=torch.bool)
        mine[networks] = True
        samples = torch.nonzero(mine[batch.network.cpu()]).squeeze(1)
        params = {
            name: nn.Parameter(value.detach()[rows[name].to(value.device)].clone(), value.requires_grad)
            for name, value in model.stack.items()
        }
        at = samples.to(coords.device)
        return cls(
            networks,
            rows,
            params,
            samples,
            coords[at],
            targets[at],
            None if weights is None else weights[at],
            tuple(batch.sizes[network] for network in networks.tolist()),
        )

    def among(self, samples: Tensor, sizes: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
        """The samples that belong to the shard.

        Args:
            samples: int64 ``[P]``, positions in the batch of all samples, ascending.
            sizes: how many of them each of the N networks has.

        Returns:
            their positions in the shard, and how many each of its networks has.
        """
        if self.samples is None:
            return samples, tuple(sizes)
        at = torch.searchsorted(self.samples, samples)
        after = torch.searchsorted(self.samples, samples, right=True)
        return at[after > at], tuple(sizes[network] for network in self.networks.tolist())

    def positions(self, at: Tensor) -> Tensor:
        """Positions in the shard as positions in the batch of all samples; both int64."""
        return at if self.samples is None else self.samples[at]

    @torch.no_grad()
    def give_back(self, model: NetworkStack) -> None:
        """Write the parameters back into the model."""
        if not self.whole:
            for name, value in self.params.items():
                whole = model.stack[name]
                whole.data[self.rows[name].to(whole.device)] = value.data


def deal(work: Sequence[float], hands: int) -> list[list[int]]:
    """Networks for each process, with about equal work: the largest goes first, to whoever has least.

    Args:
        work: of each network.
        hands: the number of processes.

    Returns:
        the networks of each process, ascending.
    """
    heap = [(0.0, hand) for hand in range(hands)]
    dealt: list[list[int]] = [[] for _ in range(hands)]
    for network in sorted(range(len(work)), key=lambda network: (-work[network], network)):
        load, hand = heapq.heappop(heap)
        dealt[hand].append(network)
        heapq.heappush(heap, (load + work[network], hand))
    return [sorted(hand) for hand in dealt]


def hand_over(optimizer: torch.optim.Optimizer, before: Shard, after: Shard) -> None:
    """Let an optimiser continue with a smaller shard: exchange the parameters and cut the state down."""
    # Both are ascending, and the smaller is part of the larger.
    for name, old in before.params.items():
        new, keep = after.params[name], torch.searchsorted(before.rows[name], after.rows[name])
        state = optimizer.state.pop(old, {})
        if state:
            optimizer.state[new] = {
                key: value[keep.to(value.device)] if _has_rows(value, len(old)) else value
                for key, value in state.items()
            }
    optimizer.param_groups[0]["params"] = list(after.params.values())


def widen_state(state: dict[str, Any], shard: Shard, model: NetworkStack) -> dict[str, Any]:
    """The ``state_dict`` of a shard's optimiser as one for the whole stack; zeros for networks outside the shard."""

    def spread(name: str, value: Tensor) -> Tensor:
        whole = value.new_zeros(len(model.stack[name]), *value.shape[1:])
        whole[shard.rows[name].to(value.device)] = value
        return whole

    return _with_rows(state, {name: len(own) for name, own in shard.params.items()}, spread)


def narrow_state(state: dict[str, Any], shard: Shard, model: NetworkStack) -> dict[str, Any]:
    """The inverse of :func:`widen_state`, into any shard."""
    rows = shard.rows
    return _with_rows(
        state,
        {name: len(model.stack[name]) for name in shard.params},
        lambda name, value: value[rows[name].to(value.device)],
    )


def _with_rows(
    state: dict[str, Any], networks: Mapping[str, int], change: Callable[[str, Tensor], Tensor]
) -> dict[str, Any]:
    """An optimiser's ``state_dict`` after a change of every tensor that has one row a network."""
    entries = {}
    for number, (name, rows) in enumerate(networks.items()):
        found = state["state"].get(number)
        if found:
            entries[number] = {
                key: change(name, value) if _has_rows(value, rows) else value for key, value in found.items()
            }
    return {**state, "state": entries}


def _has_rows(value: Any, networks: int) -> bool:
    """Whether part of an optimiser's state has one row a network; a count of steps has not."""
    return isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] == networks
