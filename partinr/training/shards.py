"""Shards of a stack: the networks that one process trains, and the optimiser's state when they change."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from partinr.model.batch import RegionBatch
from partinr.model.computed import Coords, every, some
from partinr.model.stack import NetworkStack
from partinr.training.jitter import Moved
from partinr.training.samples import Samples


@dataclass(frozen=True, eq=False)
class Shard:
    """Some networks of a stack, with their own parameters and samples, or a portion of these samples.

    Attributes:
        networks: int64 ``[n]``, numbers of the networks, ascending.
        rows: for each parameter of the stack, the rows of these networks along its first axis.
        params: the parameters, by the names of the stack, in its order; trained ones have gradients. A shard that is
            the whole stack holds the stack's own parameters.
        batch: batch of all networks, on the CPU.
        samples: int64 ``[m]``, positions in the batch; None for all of them.
        coords: ``[m, d]``.
        targets: ``[m, c]``, in the order of :meth:`RegionBatch.by_sample`.
        weights: ``[m, 1]`` in the loss, likewise; None if all are 1.
        sizes: number of samples of each of the n networks.
        portion: how many processes share these samples, and the number of this one among them. Of the samples of each
            network, and of those drawn for a step, every process has an equal part.
    """

    networks: Tensor
    rows: Mapping[str, Tensor]
    params: Mapping[str, nn.Parameter]
    batch: RegionBatch
    samples: Tensor | None
    coords: Coords
    targets: Tensor
    weights: Tensor | None
    sizes: tuple[int, ...]
    portion: tuple[int, int] = (1, 0)

    @property
    def whole(self) -> bool:
        """Whether the shard has all networks of the stack."""
        return self.samples is None

    @classmethod
    def take(
        cls,
        model: NetworkStack,
        batch: RegionBatch,
        coords: Coords,
        targets: Tensor,
        weights: Tensor | None,
        networks: Tensor,
        portion: tuple[int, int] = (1, 0),
    ) -> Shard:
        """A shard of a model.

        Args:
            model: its values are the start of the shard's parameters.
            batch: all samples with their networks.
            coords: coordinates of the batch, on the device.
            targets: targets, likewise.
            weights: weights, likewise, or None.
            networks: int64 ``[n]``, ascending.
            portion: see :class:`Shard`.
        """
        rows = model.rows(networks)
        if len(networks) == len(batch.sizes):
            own = {name: value for name, value in model.stack.items() if isinstance(value, nn.Parameter)}
            return cls(networks, rows, own, batch, None, coords, targets, weights, batch.sizes, portion)
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
            batch,
            samples,
            some(coords, at),
            targets[at],
            None if weights is None else weights[at],
            tuple(batch.sizes[network] for network in networks.tolist()),
            portion,
        )

    @cached_property
    def every(self) -> list[Samples]:
        """All samples of the shard."""
        return self._pieces(None)

    def drawn(
        self, samples: Tensor, importance: Callable[[Tensor], Tensor] | None = None, moved: Moved | None = None
    ) -> list[Samples]:
        """Those of the given samples that belong to the shard.

        Args:
            samples: int64 ``[P]`` on the CPU, ascending, in the order of :meth:`RegionBatch.by_sample`.
            importance: maps such samples to additional weights in the loss, float32 ``[P, 1]``; None for 1.
            moved: where to move them, if no networks are blended; None to leave them.
        """
        return self._pieces(samples, importance, moved)

    def _pieces(
        self,
        drawn: Tensor | None,
        importance: Callable[[Tensor], Tensor] | None = None,
        moved: Moved | None = None,
    ) -> list[Samples]:
        found = []
        for part in self.batch.parts(self._portion_of(drawn)):
            at, sizes = (None, self.sizes) if part.pairs is None else self._among(part.pairs, part.sizes)
            rows = at if part.sample is None else part.sample
            weights = None if self.weights is None else _rows(self.weights, rows)
            if importance is not None and at is not None:
                among = at if self.samples is None else self.samples[at]
                further = importance(among if part.sample is None else part.sample).to(self.targets)
                weights = further if weights is None else weights * further
            coords, targets = _rows(self.coords, at), _rows(self.targets, rows)
            if moved is not None and at is not None:
                shift, targets = (each.to(coords) for each in moved(at if self.samples is None else self.samples[at]))
                coords = coords + shift
            found.append(
                Samples(
                    coords,
                    sizes,
                    targets,
                    weights,
                    None if part.place is None else part.place.to(self.targets.device),
                    None if part.blend is None else part.blend.to(self.targets),
                )
            )
        return found

    def _portion_of(self, drawn: Tensor | None) -> Tensor | None:
        """Those of the drawn samples that this process has, if several processes share them; None for all samples."""
        processes, this = self.portion
        if processes == 1:
            return drawn
        mine = torch.arange(self.batch.samples) if self.samples is None else self.samples
        if drawn is not None:
            mine = drawn if self.samples is None else drawn[torch.isin(drawn, self.samples)]
        return self.batch.portion(mine, processes, this)

    def _among(self, pairs: Tensor, sizes: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
        """Positions in the whole batch as positions in the shard, and their number for each of its networks."""
        if self.samples is None:
            return pairs, tuple(sizes)
        at = torch.searchsorted(self.samples, pairs)
        after = torch.searchsorted(self.samples, pairs, right=True)
        return at[after > at], tuple(sizes[network] for network in self.networks.tolist())

    @torch.no_grad()
    def give_back(self, model: NetworkStack) -> None:
        """Write the parameters back into the model."""
        if not self.whole:
            for name, value in self.params.items():
                whole = model.stack[name]
                # After training, Lightning moves the model to the CPU, but not the parameters of a shard.
                whole.data[self.rows[name].to(whole.device)] = value.data.to(whole.device)


def _rows(table: Coords, at: Tensor | None) -> Tensor:
    return every(table) if at is None else table[at.to(table.device)]


def deal(work: Sequence[float], hands: int) -> list[list[int]]:
    """Networks for each process, with about equal work. The largest networks are assigned first.

    Args:
        work: work of each network.
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
    """Let an optimiser continue with a smaller shard: replace its parameters and reduce its state."""
    # Both are ascending, and the smaller is a subset of the larger.
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


def inherit_state(state: dict[str, Any], before: NetworkStack, parents: Tensor) -> dict[str, Any]:
    """The ``state_dict`` of a whole stack's optimiser for a stack of one width whose networks begin as some of these.

    Args:
        state: of the stack before.
        before: that stack.
        parents: int64 ``[N']``, the network before of each.
    """
    return _with_rows(
        state,
        {name: len(value) for name, value in before.stack.items()},
        lambda _, value: value[parents.to(value.device)],
    )


def _with_rows(
    state: dict[str, Any], networks: Mapping[str, int], change: Callable[[str, Tensor], Tensor]
) -> dict[str, Any]:
    """An optimiser's ``state_dict`` after a change of every tensor with one row per network."""
    entries = {}
    for number, (name, rows) in enumerate(networks.items()):
        found = state["state"].get(number)
        if found:
            entries[number] = {
                key: change(name, value) if _has_rows(value, rows) else value for key, value in found.items()
            }
    return {**state, "state": entries}


def _has_rows(value: Any, networks: int) -> bool:
    """Whether a value of an optimiser's state has one row per network; a count of steps has not."""
    return isinstance(value, Tensor) and value.ndim > 0 and value.shape[0] == networks
