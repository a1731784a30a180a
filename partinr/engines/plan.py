"""Engines: how a stack of N networks is cut into pieces of work.

A backbone is one function ``network(params, x, linear)`` for one network *or* a batch of equally long ones: every
parameter is ``[..., *shape]``, ``x`` is ``[..., n, features]``, and ``linear`` is the product that suits the piece.
An engine never looks inside it. It decides which networks go through together, as *blocks*:

* a block of one network: plain ``[n, features]`` products, no padding. Best for few large regions.
* a block of many networks, as one batched product ``[tiles, length, features]``. Every network's samples are cut into
  tiles of one length, the last of them padded, and a tile takes the weights of its network. The length follows from the
  sizes: a region has one tile where all are equally large, and where they are not, large ones have many and small
  ones waste little. So the cost follows the samples that are there, whatever their distribution.

``loop`` makes every network a block of its own, ``batched`` puts all of them into one block, and ``auto`` decides
network by network with the cost model below. The blocks follow from the sizes alone, so the plan of a full batch is
made once. Networks of sines have kernels of their own, which ``auto`` prefers where they are faster: thin ones
:mod:`partinr.engines.fused`, wide ones :mod:`partinr.engines.tiled` on a CPU; ``fused`` and ``tiled`` name them.
``compiled`` evaluates the blocks of ``auto`` by compiled code: :mod:`partinr.engines.compiled`. ``grouped`` is for bf16
on CUDA, without any padding of samples: :mod:`partinr.engines.grouped`. ``tcnn`` has tiny-cuda-nn look up the tables of
``backbone=hash_grid``, where that library is installed: :mod:`partinr.engines.tcnn`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from partinr.engines.cache import kept

Engine = Literal["auto", "loop", "batched", "fused", "tiled", "compiled", "grouped", "tcnn"]
ENGINES: tuple[str, ...] = get_args(Engine)

Linear = Callable[[Tensor, Tensor, Tensor], Tensor]
Network = Callable[[Mapping[str, Tensor], Tensor, Linear], Tensor]

TILE_COST = 8
"""What a tile costs beside its samples, in samples: its network's weights are fetched, and their gradient is added."""

LOOP_FROM_MACS = {"cpu": 50e6, "cuda": 4e9}
"""``auto`` gives a network a block of its own from this many multiply-accumulates a forward pass.

The CPU's figure is measured (experiments/benchmarks/engines.py): one product of that size keeps the cores busy by
itself, and the batched product's inner loop is slower. A GPU wants larger pieces; its figure is a guess until it is
measured there.
"""


NETWORK_BYTES = 300
"""What Python takes for a network in a plan, at most: a number, its place in two tuples, a block of its own."""


@dataclass(frozen=True)
class Block:
    """Networks that go through the backbone together.

    Attributes:
        sizes: samples of each network; a network of a block of several may have none.
        length: of a tile, in samples.
        tiles: over all networks.
    """

    sizes: tuple[int, ...]
    length: int
    tiles: int

    @property
    def networks(self) -> int:
        """How many networks there are."""
        return len(self.sizes)

    @property
    def samples(self) -> int:
        """Real samples in the block."""
        return sum(self.sizes)


@dataclass(frozen=True)
class Tiling:
    """How the samples of a block of several networks lie in its tiles.

    Attributes:
        owner: int64 ``[tiles]``, the network of each tile; None where each network has one.
        gather: int64 ``[tiles * length]``, from padded to real samples; None without padding.
        scatter: int64 ``[samples]``, the padded positions that hold real samples; None without padding.
    """

    owner: Tensor | None
    gather: Tensor | None
    scatter: Tensor | None


@dataclass(frozen=True)
class Plan:
    """The blocks of a stack.

    Attributes:
        blocks: in the order in which their networks and samples lie.
        networks: int64 ``[N]``, the networks in that order, or None where it is the stack's own.
        samples: int64 ``[M]``, the samples in that order, or None likewise.
        inverse: int64 ``[M]``, the way back to the stack's own order, or None likewise.
        tilings: a block each; None for a block of one network.
    """

    blocks: tuple[Block, ...]
    networks: Tensor | None
    samples: Tensor | None
    inverse: Tensor | None
    tilings: tuple[Tiling | None, ...]

    @property
    def nbytes(self) -> int:
        """About what it takes, its networks' sizes as Python has them included."""
        indices = [self.networks, self.samples, self.inverse]
        for tiling in self.tilings:
            indices += [] if tiling is None else [tiling.owner, tiling.gather, tiling.scatter]
        networks = sum(block.networks for block in self.blocks)
        return sum(each.nbytes for each in indices if each is not None) + NETWORK_BYTES * networks


@kept(lambda plan: plan.nbytes)
@torch.inference_mode(False)  # a plan first made in inference mode would be of no use to a later training step
def make_plan(sizes: tuple[int, ...], engine: str, macs: int, device: torch.device) -> Plan:
    """Cut a stack into blocks.

    Args:
        sizes: samples of each of the N networks.
        engine: one of :data:`ENGINES`.
        macs: multiply-accumulates of one network for one sample.
        device: where the stack is evaluated; the index tensors of the plan are made there.
    """
    loop_from = {"loop": 0.0, "batched": float("inf")}.get(
        engine, LOOP_FROM_MACS.get(device.type, LOOP_FROM_MACS["cuda"]) / macs
    )
    alone = [[network] for network, size in enumerate(sizes) if size >= loop_from]
    together = [network for network, size in enumerate(sizes) if size < loop_from]
    groups = [*alone, together] if together else alone
    blocks, tilings = [], []
    for group in groups:
        block = _block(tuple(sizes[network] for network in group))
        blocks.append(block)
        tilings.append(_tiling(block, device) if len(group) > 1 else None)

    networks = torch.tensor([network for group in groups for network in group])
    if torch.equal(networks, torch.arange(len(sizes))):
        return Plan(tuple(blocks), None, None, None, tuple(tilings))
    starts = torch.tensor([0, *sizes]).cumsum(0)[:-1]
    counts = torch.tensor(sizes)[networks]
    samples = torch.repeat_interleave(starts[networks], counts) + _within(counts)
    inverse = torch.argsort(samples)
    return Plan(tuple(blocks), networks.to(device), samples.to(device), inverse.to(device), tuple(tilings))


def _block(sizes: tuple[int, ...]) -> Block:
    """Networks as a block, its tiles of the length that costs least."""
    longest = max(sizes)
    if len(sizes) == 1 or longest == 0:
        return Block(sizes, longest, len(sizes))
    counts = torch.tensor(sizes)
    # The longest cut into equal parts; any other length would waste more in the largest network, which costs most.
    parts = torch.unique(torch.logspace(0, math.log2(longest), 64, base=2, dtype=torch.float64).long())
    lengths = torch.unique((longest + parts - 1) // parts)
    tiles = ((counts + lengths[:, None] - 1) // lengths[:, None]).sum(1)
    best = int((tiles * (lengths + TILE_COST)).argmin())
    return Block(sizes, int(lengths[best]), int(tiles[best]))


def _tiling(block: Block, device: torch.device) -> Tiling:
    counts = torch.tensor(block.sizes)
    length = max(block.length, 1)
    tiles = (counts + length - 1) // length
    owner = None
    if block.samples and not torch.equal(tiles, torch.ones_like(tiles)):
        owner = torch.repeat_interleave(torch.arange(block.networks), tiles).to(device)
    if block.samples == block.tiles * block.length:
        return Tiling(owner, None, None)
    starts, padded = counts.cumsum(0) - counts, tiles * length
    # A shorter network sees its own last sample again; what it gives there is dropped.
    within = torch.minimum(_within(padded), torch.repeat_interleave(counts - 1, padded))
    gather = torch.repeat_interleave(starts, padded) + within
    scatter = torch.repeat_interleave(padded.cumsum(0) - padded, counts) + _within(counts)
    return Tiling(owner, gather.to(device), scatter.to(device))


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
        if block.samples == 0 and coords.shape[0] > 0:
            continue
        block_params = {name: pieces[i] for name, pieces in cut.items()}
        tiling = plan.tilings[i]
        if tiling is None or block.samples == 0:
            block_params = {name: value[0] for name, value in block_params.items()}
            values.append(network(block_params, x, F.linear))
        else:
            values.append(_batched(network, block_params, x, block, tiling))
    result = torch.cat(values) if len(values) > 1 else values[0]
    return result if plan.inverse is None else result.index_select(0, plan.inverse)


def _batched(network: Network, params: Mapping[str, Tensor], x: Tensor, block: Block, tiling: Tiling) -> Tensor:
    if tiling.owner is not None:
        params = {name: value.index_select(0, tiling.owner) for name, value in params.items()}
    padded = x if tiling.gather is None else x.index_select(0, tiling.gather)
    # Features first in memory, [tiles, features, n] seen as [tiles, n, features]: the product then runs along the
    # samples, which is what keeps thin networks fast. Element-wise functions keep the layout by themselves.
    batch = padded.view(block.tiles, block.length, -1).transpose(-1, -2).contiguous().transpose(-1, -2)
    values = network(params, batch, _batched_linear).reshape(block.tiles * block.length, -1)
    return values if tiling.scatter is None else values.index_select(0, tiling.scatter)


def _batched_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias.unsqueeze(-1), weight, x.transpose(-1, -2)).transpose(-1, -2)
