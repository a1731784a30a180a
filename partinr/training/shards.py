"""Shares of a stack: the networks that a process trains, and what becomes of an optimiser's state when they change."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from partinr.model.batch import RegionBatch
from partinr.model.stack import NetworkStack


@dataclass(frozen=True, eq=False)
class Share:
    """Some networks of a stack, with parameters and samples of their own.

    Attributes:
        networks: int64 ``[n]``, ascending: which of the N networks.
        rows: for each parameter of the stack, where these networks lie along its first axis.
        params: the parameters, by the names of the stack, in its order; those that are trained have gradients. Where
            the share is the whole stack they are the stack's own.
        samples: int64 ``[m]``, positions in the batch of all; None for all of them.
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
        """Whether it is the whole stack."""
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
    ) -> Share:
        """Cut a share out of a model.

        Args:
            model: with the values that the parameters start from.
            batch: all samples; says which network they belong to.
            coords: those of the batch, on the device.
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
        """Those of some samples that belong to the share.

        Args:
            samples: int64 ``[P]``, positions in the batch of all, ascending.
            sizes: how many of them each of the N networks has.

        Returns:
            their positions in the share, and how many each of its networks has.
        """
        if self.samples is None:
            return samples, tuple(sizes)
        at = torch.searchsorted(self.samples, samples)
        after = torch.searchsorted(self.samples, samples, right=True)
        return at[after > at], tuple(sizes[network] for network in self.networks.tolist())

    def positions(self, at: Tensor) -> Tensor:
        """Positions in the batch of all, of positions in the share; int64 both."""
        return at if self.samples is None else self.samples[at]

    @torch.no_grad()
    def give_back(self, model: NetworkStack) -> None:
        """Put the parameters where the model has them."""
        if not self.whole:
            for name, value in self.params.items():
                whole = model.stack[name]
                whole.data[self.rows[name].to(whole.device)] = value.data


def deal(work: Sequence[float], hands: int) -> list[list[int]]:
    """Deal networks out so that every hand has about the same work: the largest first, to whoever has least.

    Args:
        work: of each network.
        hands: how many there are.

    Returns:
        the networks of each hand, ascending.
    """
    heap = [(0.0, hand) for hand in range(hands)]
    dealt: list[list[int]] = [[] for _ in range(hands)]
    for network in sorted(range(len(work)), key=lambda network: (-work[network], network)):
        load, hand = heapq.heappop(heap)
        dealt[hand].append(network)
        heapq.heappush(heap, (load + work[network], hand))
    return [sorted(hand) for hand in dealt]


def _a_row_each(value: Any, networks: int) -> bool:
    """Whether part of an optimiser's state holds something for each network; a count of steps does not."""
    return isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] == networks


def hand_over(optimizer: torch.optim.Optimizer, before: Share, after: Share) -> None:
    """Let an optimiser go on with a smaller share: parameters exchanged, its state cut down."""
    # Both ascending, and those of the smaller one are all among those of the larger one.
    for name, old in before.params.items():
        new, keep = after.params[name], torch.searchsorted(before.rows[name], after.rows[name])
        state = optimizer.state.pop(old, {})
        if state:
            optimizer.state[new] = {
                key: value[keep.to(value.device)] if _a_row_each(value, old.shape[0]) else value
                for key, value in state.items()
            }
    optimizer.param_groups[0]["params"] = list(after.params.values())


def widen_state(state: dict[str, Any], share: Share, model: NetworkStack) -> dict[str, Any]:
    """An optimiser's ``state_dict`` for a share as one for the whole stack; zeros for the networks not in it."""
    numbered = {}
    for number, (name, own) in enumerate(share.params.items()):
        networks, rows = model.stack[name].shape[0], share.rows[name]
        numbered[number] = {
            key: _spread(value, rows, networks) if _a_row_each(value, own.shape[0]) else value
            for key, value in state["state"].get(number, {}).items()
        }
    return {**state, "state": {number: entry for number, entry in numbered.items() if entry}}


def narrow_state(state: dict[str, Any], share: Share, model: NetworkStack) -> dict[str, Any]:
    """The way back from :func:`widen_state`, into any share."""
    numbered = {}
    for number, name in enumerate(share.params):
        networks, rows = model.stack[name].shape[0], share.rows[name]
        numbered[number] = {
            key: value[rows.to(value.device)] if _a_row_each(value, networks) else value
            for key, value in state["state"].get(number, {}).items()
        }
    return {**state, "state": {number: entry for number, entry in numbered.items() if entry}}


def _spread(value: Tensor, rows: Tensor, networks: int) -> Tensor:
    whole = value.new_zeros(networks, *value.shape[1:])
    whole[rows.to(value.device)] = value
    return whole
