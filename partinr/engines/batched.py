"""The batched product: all networks at once, as ``[tiles, length, features]``. Best for many small regions.

Every network's samples are cut into tiles of one length, with the last tile padded, and a tile uses the weights of its
network. The length follows from the sizes: equal networks have one tile each; among unequal ones, a large network has
many tiles and a small one wastes little. The cost therefore follows the samples, whatever their distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.base.environment import door
from partinr.engines.base import Engine, Shape, Stack
from partinr.engines.cache import NETWORK_BYTES, kept
from partinr.engines.loop import LOOP

TILE_COST = 8
"""Overhead of a tile, in samples: fetching its network's weights and adding their gradient."""


@dataclass(frozen=True)
class Tiling:
    """The layout of several networks' samples in tiles.

    Attributes:
        count: number of tiles over all networks.
        length: samples in a tile.
        owner: int64 ``[count]``, the network of each tile; None if each network has one tile.
        gather: int64 ``[count * length]``, the real sample at each padded place; None without padding.
        scatter: int64 ``[M]``, the padded place of each real sample; None without padding.
    """

    count: int
    length: int
    owner: Tensor | None
    gather: Tensor | None
    scatter: Tensor | None

    @property
    def nbytes(self) -> int:
        """Size of the index tensors in bytes."""
        return sum(each.nbytes for each in (self.owner, self.gather, self.scatter) if each is not None)


class Batched(Engine):
    """See the module."""

    name = "batched"

    def cost(self, shape: Shape, sizes: NDArray[np.int64], device: torch.device) -> NDArray[np.floating[Any]]:
        """Multiply-accumulates, the unit of all costs."""
        return sizes * float(shape.macs)

    def values(self, stack: Stack, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """See :meth:`Engine.values`."""
        if len(sizes) == 1 or len(coords) == 0:
            return LOOP.values(stack, coords, sizes)
        tiling, params = tiling_of(sizes, coords.device), stack.params
        if tiling.owner is not None:
            params = {name: value.index_select(0, tiling.owner) for name, value in params.items()}
        padded = coords if tiling.gather is None else coords.index_select(0, tiling.gather)
        # Features first in memory, [tiles, features, n] seen as [tiles, n, features]: the product then runs along the
        # samples, which keeps thin networks fast. Element-wise functions keep the layout by themselves.
        batch = padded.view(tiling.count, tiling.length, -1).transpose(-1, -2).contiguous().transpose(-1, -2)
        values = stack.architecture.network(params, batch, _linear).reshape(tiling.count * tiling.length, -1)
        return values if tiling.scatter is None else values.index_select(0, tiling.scatter)


BATCHED = Batched()


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias.unsqueeze(-1), weight, x.transpose(-1, -2)).transpose(-1, -2)


@kept(lambda tiling: tiling.nbytes + NETWORK_BYTES * tiling.count)
@door
def tiling_of(sizes: tuple[int, ...], device: torch.device) -> Tiling:
    """The cheapest tiles for the samples of networks; at least one network has samples."""
    counts = torch.tensor(sizes)
    longest = max(sizes)
    # The longest network is cut into equal parts, since any other length would waste more in the costliest network.
    parts = torch.unique(torch.logspace(0, math.log2(longest), 64, base=2, dtype=torch.float64).long())
    lengths = torch.unique((longest + parts - 1) // parts)
    tiles = (counts + lengths[:, None] - 1) // lengths[:, None]
    best = int((tiles.sum(1) * (lengths + TILE_COST)).argmin())
    length, tiles = int(lengths[best]), tiles[best]
    count, owner = int(tiles.sum()), None
    if not torch.equal(tiles, torch.ones_like(tiles)):
        owner = torch.repeat_interleave(torch.arange(len(sizes)), tiles).to(device)
    if sum(sizes) == count * length:
        return Tiling(count, length, owner, None, None)
    starts, padded = counts.cumsum(0) - counts, tiles * length
    # A shorter network repeats its last sample; these values are dropped.
    within = torch.minimum(numbered(padded), torch.repeat_interleave(counts - 1, padded))
    gather = torch.repeat_interleave(starts, padded) + within
    scatter = torch.repeat_interleave(padded.cumsum(0) - padded, counts) + numbered(counts)
    return Tiling(count, length, owner, gather.to(device), scatter.to(device))


def numbered(counts: Tensor) -> Tensor:
    """``[0 … counts[0]-1, 0 … counts[1]-1, …]``: the number of each thing within its owner."""
    return torch.arange(int(counts.sum())) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
