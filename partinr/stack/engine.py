"""Engines: how a stack of N networks is cut into pieces of work.

A backbone is one function ``network(params, x, linear)`` for one network *or* a batch of equally long ones: every
parameter is ``[..., *shape]``, ``x`` is ``[..., n, features]``, and ``linear`` is the product that suits the piece.
An engine never looks inside it. It decides which networks go through together, as *blocks*:

* a block of one network: plain ``[n, features]`` products, no padding. Best for few large regions.
* a block of k networks: one batched product ``[k, n, features]``, the shorter ones padded. Best for many small ones.

``loop`` makes every network a block of its own, ``batched`` puts all networks of about the same size together, and
``auto`` decides network by network with the cost model below. The blocks follow from the sizes alone, so the plan of
a full batch is made once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Engine = Literal["auto", "loop", "batched"]
ENGINES: tuple[str, ...] = get_args(Engine)

Linear = Callable[[Tensor, Tensor, Tensor], Tensor]
Network = Callable[[Mapping[str, Tensor], Tensor, Linear], Tensor]

MAX_PADDING = 1.25
"""A batched block holds at most this many times the samples that are really there."""

LOOP_FROM_MACS = {"cpu": 150e6, "cuda": 4e9}
"""``auto`` gives a network a block of its own from this many multiply-accumulates a forward pass.

The CPU's figure is measured (experiments/benchmarks/engines.py): one product of that size keeps the cores busy by
itself, and the batched product's inner loop is slower. A GPU wants larger pieces; its figure is a guess until it is
measured there.
"""


@dataclass(frozen=True)
class Block:
    """Networks that go through the backbone together: ``networks`` of them, ``length`` samples each after padding."""

    networks: int
    length: int
    sizes: tuple[int, ...]

    @property
    def samples(self) -> int:
        """Real samples in the block."""
        return sum(self.sizes)

    @property
    def padded(self) -> bool:
        """Whether some network of the block is shorter than ``length``."""
        return self.networks > 1 and self.samples != self.networks * self.length


@dataclass(frozen=True)
class Plan:
    """The blocks of a stack.

    Attributes:
        blocks: in the order in which their networks and samples lie.
        networks: int64 ``[N]``, the networks in that order, or None where it is the stack's own.
        samples: int64 ``[M]``, the samples in that order, or None likewise.
        inverse: int64 ``[M]``, the way back to the stack's own order, or None likewise.
        gather: per block, int64 ``[networks * length]`` from padded to real samples; None for a block without padding.
        scatter: per block, int64 ``[samples]``, the padded positions that hold real samples; None likewise.
    """

    blocks: tuple[Block, ...]
    networks: Tensor | None
    samples: Tensor | None
    inverse: Tensor | None
    gather: tuple[Tensor | None, ...]
    scatter: tuple[Tensor | None, ...]


@lru_cache(maxsize=8)  # the full batch and its chunks; a drawn batch has other sizes every time
@torch.inference_mode(False)  # a plan first made in inference mode would be of no use to a later training step
def make_plan(sizes: tuple[int, ...], engine: str, macs: int, device: torch.device) -> Plan:
    """Cut a stack into blocks.

    Args:
        sizes: samples of each of the N networks.
        engine: one of :data:`ENGINES`.
        macs: multiply-accumulates of one network for one sample.
        device: where the stack is evaluated; the index tensors of the plan are made there.
    """
    if engine == "loop":
        groups = [[network] for network in range(len(sizes))]
    else:
        loop_from = LOOP_FROM_MACS.get(device.type, LOOP_FROM_MACS["cuda"]) / macs if engine == "auto" else float("inf")
        groups = _groups(sizes, loop_from)
    blocks = tuple(Block(len(group), max(sizes[n] for n in group), tuple(sizes[n] for n in group)) for group in groups)

    networks = torch.tensor([network for group in groups for network in group])
    if torch.equal(networks, torch.arange(len(sizes))):
        order: tuple[Tensor | None, Tensor | None, Tensor | None] = (None, None, None)
    else:
        starts = torch.tensor([0, *sizes]).cumsum(0)[:-1]
        counts = torch.tensor(sizes)[networks]
        samples = torch.repeat_interleave(starts[networks], counts) + _within(counts)
        order = networks.to(device), samples.to(device), torch.argsort(samples).to(device)

    gather: list[Tensor | None] = []
    scatter: list[Tensor | None] = []
    for block in blocks:
        if not block.padded:
            gather.append(None)
            scatter.append(None)
            continue
        counts = torch.tensor(block.sizes)
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)[:-1]])
        # A shorter network sees its own last sample again; what it gives there is dropped.
        within = torch.minimum(torch.arange(block.length), counts[:, None] - 1)
        gather.append((starts[:, None] + within).reshape(-1).to(device))
        offsets = torch.arange(block.networks) * block.length
        scatter.append((torch.repeat_interleave(offsets, counts) + _within(counts)).to(device))
    return Plan(blocks, *order, tuple(gather), tuple(scatter))


def _groups(sizes: Sequence[int], loop_from: float) -> list[list[int]]:
    """Which networks share a block.

    In the stack's own order where one batch can hold them all, so that nothing has to be moved; otherwise by falling
    size, so that neighbours in a block are neighbours in size.
    """
    networks = range(len(sizes))
    if min(sizes) > 0 and max(sizes) < loop_from and max(sizes) * len(sizes) <= MAX_PADDING * sum(sizes):
        return [list(networks)]
    groups: list[list[int]] = []
    batch: list[int] = []
    samples = 0  # in the batch
    for network in sorted(networks, key=lambda n: -sizes[n]):
        if sizes[network] >= loop_from:
            groups.append([network])
            continue
        # Networks without a sample come last and share a block of length 0, which costs nothing.
        if batch and sizes[batch[0]] * (len(batch) + 1) > MAX_PADDING * (samples + sizes[network]):
            groups.append(batch)
            batch, samples = [], 0
        batch.append(network)
        samples += sizes[network]
    return [*groups, batch] if batch else groups


def _within(counts: Tensor) -> Tensor:
    """``[0 … counts[0]-1, 0 … counts[1]-1, …]``: the number of each sample within its network."""
    return torch.arange(int(counts.sum())) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)


def run_stack(network: Network, params: Mapping[str, Tensor], coords: Tensor, plan: Plan) -> Tensor:
    """Evaluate N networks, each on its own samples.

    Args:
        network: the backbone's function (see the module's docstring).
        params: every parameter ``[N, *shape]``.
        coords: ``[M, d]``, sorted by network as the plan's sizes say.
        plan: from :func:`make_plan`.

    Returns:
        values ``[M, c]``, in the order of ``coords``.
    """
    counts = [block.networks for block in plan.blocks]
    if plan.networks is not None and plan.samples is not None:
        params = {name: value.index_select(0, plan.networks) for name, value in params.items()}
        coords = coords.index_select(0, plan.samples)
    # One split of every parameter: its gradient is one concatenation, where indexing network by network would add N
    # tensors of the whole stack's size.
    cut = {name: value.split(counts) for name, value in params.items()}
    values = []
    for i, (block, x) in enumerate(zip(plan.blocks, coords.split([b.samples for b in plan.blocks]), strict=True)):
        if block.length == 0 and coords.shape[0] > 0:
            continue
        block_params = {name: pieces[i] for name, pieces in cut.items()}
        if block.networks == 1 or block.length == 0:
            block_params = {name: value[0] for name, value in block_params.items()}
            values.append(network(block_params, x, F.linear))
        else:
            values.append(_batched(network, block_params, x, block, plan.gather[i], plan.scatter[i]))
    result = torch.cat(values) if len(values) > 1 else values[0]
    return result if plan.inverse is None else result.index_select(0, plan.inverse)


def _batched(
    network: Network,
    params: Mapping[str, Tensor],
    x: Tensor,
    block: Block,
    gather: Tensor | None,
    scatter: Tensor | None,
) -> Tensor:
    padded = x if gather is None else x.index_select(0, gather)
    # Features first in memory, [k, features, n] seen as [k, n, features]: the product then runs along the samples,
    # which is what keeps thin networks fast. Element-wise functions keep the layout by themselves.
    batch = padded.view(block.networks, block.length, -1).transpose(-1, -2).contiguous().transpose(-1, -2)
    values = network(params, batch, _batched_linear)
    values = values.reshape(block.networks * block.length, -1)
    return values if scatter is None else values.index_select(0, scatter)


def _batched_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias.unsqueeze(-1), weight, x.transpose(-1, -2)).transpose(-1, -2)
