"""Networks as chains of affine maps with sines between them, and tiles of their samples.

A backbone describes itself by a chain, which engines with kernels for such networks use.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.engines.base import Linear, Network

RUNS = 1024
"""Approximate number of runs of a stack's tiles; each network has at least one.

Each run sums its own gradients, so the number bounds their memory. It does not depend on the number of threads, and so
neither do results.
"""


class Link(NamedTuple):
    """One layer of a chain: ``factor (W x + b)``, followed by a sine in every layer but the last.

    Attributes:
        weight: ``[N, out, in]``.
        bias: ``[N, out]``.
        factor: scales the affine map.
    """

    weight: Tensor
    bias: Tensor
    factor: float


Chain = tuple[Link, ...]


def tensors_of(chain: Chain) -> list[Tensor]:
    """Weight and bias of each layer in turn."""
    return [tensor for link in chain for tensor in (link.weight, link.bias)]


def factors_of(chain: Chain) -> tuple[float, ...]:
    """The factor of each layer."""
    return tuple(link.factor for link in chain)


def chain_of(factors: Sequence[float], tensors: Sequence[Tensor]) -> Chain:
    """The chain with these factors and, layer by layer, these weights and biases."""
    return tuple(map(Link, tensors[::2], tensors[1::2], factors))


def widths_of(chain: Chain | None) -> tuple[int, ...]:
    """Features before, between and after the layers; empty without a chain."""
    return () if not chain else (chain[0].weight.shape[2], *(link.weight.shape[1] for link in chain))


def products(widths: Sequence[int]) -> int:
    """Multiply-accumulates of a chain for one sample."""
    return sum(n_in * n_out for n_in, n_out in pairwise(widths))


@lru_cache(maxsize=64)
def chain_network(factors: tuple[float, ...]) -> Network:
    """The function of a chain, with parameters named by their index in :func:`tensors_of`."""

    def network(params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        for number, factor in enumerate(factors):
            x = linear(x, factor * params[str(2 * number)], factor * params[str(2 * number + 1)])
            if number < len(factors) - 1:
                x = torch.sin(x)
        return x

    return network


class Layer(NamedTuple):
    """The place of one layer of a chain in a row of parameters.

    Attributes:
        n_in: number of input features.
        n_out: number of output features.
        weight: offset of its weights ``[out, in]``.
        bias: offset of its biases.
        factor: scales the affine map.
    """

    n_in: int
    n_out: int
    weight: int
    bias: int
    factor: float


Layers = tuple[Layer, ...]


def layers_of(tensors: Sequence[Tensor], factors: Sequence[float]) -> Layers:
    """The places of weight and bias of each layer in a row of parameters."""
    layers, offset = [], 0
    for weight, factor in zip(tensors[::2], factors, strict=True):
        n_out, n_in = weight.shape[1:]
        layers.append(Layer(n_in, n_out, offset, offset + n_in * n_out, factor))
        offset += (n_in + 1) * n_out
    return tuple(layers)


def pack(tensors: Sequence[Tensor], factors: Sequence[float]) -> tuple[Layers, Tensor]:
    """The table of layers, and the parameters with one row per network: ``[N, P]``."""
    return layers_of(tensors, factors), rows_of(tensors)


def rows_of(tensors: Sequence[Tensor]) -> Tensor:
    """Detached parameters with one row per network, ``[N, P]``."""
    return torch.cat([tensor.detach().flatten(1) for tensor in tensors], dim=1)


def unpack(rows: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """The inverse of :func:`rows_of`, for tensors of these shapes ``[N, …]``."""
    pieces = rows.split([shape[1:].numel() for shape in shapes], dim=1)
    return [piece.reshape(shape).contiguous() for piece, shape in zip(pieces, shapes, strict=True)]


@dataclass(frozen=True, eq=False)
class Tiles:
    """The division of N networks' samples into T tiles, and of these into R runs.

    Attributes:
        owner: ``[T]``, the network of each tile.
        start: ``[T + 1]``, the first sample of each tile, followed by the number of samples.
        first: ``[N + 1]``, the first tile of each network, followed by T.
        run: ``[R + 1]``, the first tile of each run, followed by T; a run has one network.
        first_run: ``[N + 1]``, the first run of each network, followed by R.
    """

    owner: NDArray[np.int64]
    start: NDArray[np.int64]
    first: NDArray[np.int64]
    run: NDArray[np.int64]
    first_run: NDArray[np.int64]

    @property
    def count(self) -> int:
        """Number of tiles, T."""
        return len(self.owner)

    @property
    def runs(self) -> int:
        """Number of runs, R."""
        return len(self.run) - 1


@lru_cache(maxsize=32)  # a few numbers for each tile and network, none for a sample
def tiles_of(sizes: tuple[int, ...], longest: int) -> Tiles:
    """Tiles of at most ``longest`` samples, equally long within a network, and runs of about ``T / RUNS`` tiles."""
    counts = np.array(sizes, dtype=np.int64)
    owner, start, first = _cut(counts, longest)
    _, run, first_run = _cut(np.diff(first), max(1, -(-len(owner) // RUNS)))
    return Tiles(owner, start, first, run, first_run)


def _cut(counts: NDArray[np.int64], longest: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Divide items that are sorted by owner into pieces of at most ``longest``, as equal as possible per owner.

    Args:
        counts: ``[N]``, number of items of each owner.
        longest: 1 or more.

    Returns:
        for P pieces: the owner of each, ``[P]``; its first item, followed by the number of items, ``[P + 1]``; the
        first piece of each owner, followed by P, ``[N + 1]``.
    """
    pieces = -(-counts // longest)
    owner = np.repeat(np.arange(len(counts)), pieces)
    first = np.concatenate([[0], np.cumsum(pieces)])
    # The j-th of k pieces of n items begins at n j / k, so an owner's pieces differ by at most one.
    within = np.arange(len(owner)) - first[owner]
    begin = (np.cumsum(counts) - counts)[owner] + counts[owner] * within // pieces[owner]
    return owner, np.append(begin, counts.sum()), first
