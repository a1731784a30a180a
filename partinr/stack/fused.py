"""The fused engine: thin networks of sines on the CPU, in one pass over each tile of samples.

The product of a thin network is so little work that a stack of them waits for memory: every layer of every sample is
written and read again for the product, the sine, its derivative. Here a tile of a few hundred samples goes through all
layers of its network while it lies in the cache, forwards and, computed anew, backwards; the kernels are in
:mod:`partinr.stack._kernels`. Tiles belong to one network each, so the cost follows the samples, even or ragged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.stack.engine import Engine, Linear, make_plan, run_stack

TILE = 256
"""Samples that go through a network at once, at most: with 12 features in 3 layers they take 0.1 MB of cache."""

FUSED_UP_TO = 12
"""``auto`` takes this engine for networks up to this wide (experiments/benchmarks/engines.py): wider ones want a matrix
product."""


class Link(NamedTuple):
    """One layer of a chain: ``factor (W x + b)``, and the sine of it, but for the last layer.

    Attributes:
        weight: ``[N, out, in]``.
        bias: ``[N, out]``.
        factor: of the affine map.
    """

    weight: Tensor
    bias: Tensor
    factor: float


Chain = tuple[Link, ...]


def fuses(engine: Engine, chain: Chain, coords: Tensor) -> bool:
    """Whether an engine evaluates a chain by these kernels.

    They take single precision on the CPU, outside autocast and the transforms of ``torch.func``. ``fused`` evaluates
    what they take, ``auto`` those networks of it that are thin.
    """
    if engine not in ("auto", "fused"):
        return False
    tensors = (coords, *(tensor for link in chain for tensor in (link.weight, link.bias)))
    widest = max(max(link.weight.shape[1:]) for link in chain)
    return (
        (engine == "fused" or widest <= FUSED_UP_TO)
        and all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
        and not torch.is_autocast_enabled("cpu")
        # torch.func and forward-mode derivatives see tensors without memory of their own.
        and not torch._C._are_functorch_transforms_active()
    )


def run_fused(chain: Chain, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Evaluate N networks, each on its own samples; differentiable any number of times.

    Args:
        chain: the networks; :func:`fuses` says so.
        coords: float32 ``[M, d]``, sorted by network.
        sizes: samples of each network.

    Returns:
        float32 ``[M, c]``, in the order of ``coords``.
    """
    tensors = [tensor for link in chain for tensor in (link.weight, link.bias)]
    values: Tensor = _Fused.apply(coords, sizes, tuple(link.factor for link in chain), *tensors)
    return values


def fused_error(
    chain: Chain, coords: Tensor, targets: Tensor, weights: Tensor | None, sizes: tuple[int, ...]
) -> Tensor:
    """The squared error of N networks, summed over samples and channels; its gradient comes in the same pass.

    Differentiable by the parameters only.

    Args:
        chain: the networks; :func:`fuses` says so.
        coords: float32 ``[M, d]``, sorted by network.
        targets: float32 ``[M, c]``, likewise.
        weights: float32 ``[M, 1]``, of each sample; None where all are 1.
        sizes: samples of each network.
    """
    tensors = [tensor for link in chain for tensor in (link.weight, link.bias)]
    factors = tuple(link.factor for link in chain)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return cast(Tensor, _FusedError.apply(coords, targets, weights, sizes, factors, *tensors))
    error = (run_fused(chain, coords, sizes) - targets).square()
    return (error if weights is None else error * weights).sum()


@dataclass(frozen=True, eq=False)
class _Tiles:
    owner: NDArray[np.int64]
    start: NDArray[np.int64]
    first: NDArray[np.int64]
    """The first tile of each network that has any."""
    networks: NDArray[np.int64]
    """Those networks."""
    longest: int


@lru_cache(maxsize=32)
def _tiles(sizes: tuple[int, ...]) -> _Tiles:
    counts = np.array(sizes, dtype=np.int64)
    tiles = -(-counts // TILE)
    owner = np.repeat(np.arange(len(counts)), tiles)
    first = np.concatenate([[0], np.cumsum(tiles)])[:-1]
    # Of n samples in k tiles the j-th begins at n j / k: tiles of a network differ by one sample.
    within = np.arange(len(owner)) - first[owner]
    begin = (np.cumsum(counts) - counts)[owner] + counts[owner] * within // tiles[owner]
    start = np.append(begin, counts.sum())
    longest = int(np.diff(start).max(initial=1))
    used = np.flatnonzero(tiles)
    return _Tiles(owner, start, first[used], used, longest)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, coords: Tensor, sizes: tuple[int, ...], factors: tuple[float, ...], *tensors: Tensor
    ) -> Tensor:
        kernels = _kernels()
        tiles = _tiles(sizes)
        layers, packed = _packed(tensors)
        values = torch.empty(coords.shape[0], tensors[-1].shape[1])
        kernels.forward(
            coords.detach().contiguous().numpy(),
            packed.numpy(),
            tiles.owner,
            tiles.start,
            layers,
            np.array(factors, dtype=np.float32),
            _scratch(2, layers, tiles),
            values.numpy(),
        )
        ctx.save_for_backward(coords, packed, *tensors)
        ctx.sizes, ctx.factors, ctx.layers = sizes, factors, layers
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        coords, packed, *tensors = ctx.saved_tensors
        wanted = [coords, *tensors]
        if torch.is_grad_enabled():
            # Somebody wants derivatives of these derivatives: the kernels have none, torch's own operations do.
            values = run_stack(
                _chain_network(ctx.factors),
                {str(number): tensor for number, tensor in enumerate(tensors)},
                coords,
                make_plan(ctx.sizes, "auto", int(packed.shape[1]), coords.device),
            )
            needed = [tensor for tensor in wanted if tensor.requires_grad]
            found = iter(torch.autograd.grad(values, needed, gradients[0], create_graph=True, allow_unused=True))
            by_each = [next(found) if tensor.requires_grad else None for tensor in wanted]
            return by_each[0], None, None, *by_each[1:]
        tiles = _tiles(ctx.sizes)
        by_tile = np.empty((len(tiles.owner), packed.shape[1]), dtype=np.float32)
        by_coords = torch.empty_like(coords if ctx.needs_input_grad[0] else coords[:0])
        _kernels().backward(
            coords.detach().contiguous().numpy(),
            packed.numpy(),
            tiles.owner,
            tiles.start,
            ctx.layers,
            np.array(ctx.factors, dtype=np.float32),
            _scratch(2 * len(ctx.layers) + 2, ctx.layers, tiles),
            gradients[0].contiguous().numpy(),
            by_tile,
            by_coords.numpy(),
        )
        return by_coords if ctx.needs_input_grad[0] else None, None, None, *_unpacked(by_tile, tiles, tensors)


class _FusedError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        coords: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        sizes: tuple[int, ...],
        factors: tuple[float, ...],
        *tensors: Tensor,
    ) -> Tensor:
        kernels = _kernels()
        tiles = _tiles(sizes)
        layers, packed = _packed(tensors)
        by_tile = np.empty((len(tiles.owner), packed.shape[1]), dtype=np.float32)
        total = np.empty(len(tiles.owner))
        kernels.error(
            coords.detach().contiguous().numpy(),
            targets.contiguous().numpy(),
            (targets.new_empty(0) if weights is None else weights.contiguous().view(-1)).numpy(),
            packed.numpy(),
            tiles.owner,
            tiles.start,
            layers,
            np.array(factors, dtype=np.float32),
            _scratch(2 * len(layers) + 2, layers, tiles),
            by_tile,
            total,
        )
        ctx.gradients = _unpacked(by_tile, tiles, tensors)
        ctx.save_for_backward(coords, targets, weights, *tensors)
        ctx.sizes, ctx.factors = sizes, factors
        return torch.tensor(total.sum(), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if not torch.is_grad_enabled():
            return None, None, None, None, None, *(gradients[0] * each for each in ctx.gradients)
        # Somebody wants derivatives of these derivatives.
        coords, targets, weights, *tensors = ctx.saved_tensors
        chain = tuple(
            Link(*pair, factor) for *pair, factor in zip(tensors[::2], tensors[1::2], ctx.factors, strict=True)
        )
        error = (run_fused(chain, coords, ctx.sizes) - targets).square()
        total = (error if weights is None else error * weights).sum()
        needed = [tensor for tensor in tensors if tensor.requires_grad]
        found = iter(torch.autograd.grad(total, needed, gradients[0], create_graph=True))
        return None, None, None, None, None, *(next(found) if tensor.requires_grad else None for tensor in tensors)


def _unpacked(by_tile: NDArray[np.float32], tiles: _Tiles, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of the parameters, each of its own shape, from those of the tiles ``[tiles, P]``."""
    networks = tensors[0].shape[0]
    by_network = by_tile
    if len(tiles.owner) != networks or len(tiles.networks) != networks:
        by_network = np.zeros((networks, by_tile.shape[1]), dtype=np.float32)
        if len(tiles.owner):
            by_network[tiles.networks] = np.add.reduceat(by_tile, tiles.first, axis=0)
    pieces = torch.from_numpy(by_network).split([tensor[0].numel() for tensor in tensors], dim=1)
    return [piece.reshape(tensor.shape).contiguous() for piece, tensor in zip(pieces, tensors, strict=True)]


def _packed(tensors: Sequence[Tensor]) -> tuple[NDArray[np.int64], Tensor]:
    """The table of layers, and the parameters a row a network."""
    layers, offset = [], 0
    for weight in tensors[::2]:
        n_out, n_in = weight.shape[1:]
        layers.append((n_in, n_out, offset, offset + n_in * n_out))
        offset += (n_in + 1) * n_out
    packed = torch.cat([tensor.detach().flatten(1) for tensor in tensors], dim=1)
    return np.array(layers, dtype=np.int64), packed


def _scratch(planes: int, layers: NDArray[np.int64], tiles: _Tiles) -> NDArray[np.float32]:
    # Whole cache lines a row, so that rows do not share one.
    length = -(-tiles.longest // 16) * 16
    return np.empty((_threads(), planes, int(layers[:, :2].max()), length), dtype=np.float32)


def _threads() -> int:
    from numba import get_num_threads

    return int(get_num_threads())


def _kernels() -> Any:
    """The compiled kernels, on as many threads as torch takes."""
    import numba

    kernels = _compiled()
    # The most that there may be is set when numba starts: a thread a core.
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    return kernels


@cache
def _compiled() -> Any:
    """The kernels, compiled: ten seconds the first time on a machine, then they are read from numba's cache.

    Both at once, before the first values, so that it happens neither in the clock of the training nor twice.
    """
    import numba
    from llvmlite import binding

    # Before anything is compiled. LLVM keeps to vectors of 256 bits also where there are wider ones, since these once
    # slowed a processor down; the kernels here are a quarter to a third faster with them.
    features = binding.get_host_cpu_features()
    if features.get("avx512f") and not numba.config.CPU_FEATURES and not numba.config.CPU_NAME:
        numba.config.CPU_FEATURES = f"{features.flatten()},-prefer-256-bit"
    from partinr.stack import _kernels as kernels

    threads = torch.get_num_threads()
    row, tile = np.zeros((1, 2), dtype=np.float32), np.arange(2, dtype=np.int64)
    layers, factor = np.array([[1, 1, 0, 1]]), np.ones(1, dtype=np.float32)
    scratch, one = np.zeros((_threads(), 4, 1, 16), dtype=np.float32), np.zeros((1, 1), dtype=np.float32)
    kernels.forward(one, row, tile[:1], tile, layers, factor, scratch, one.copy())
    kernels.backward(one, row, tile[:1], tile, layers, factor, scratch, one, row.copy(), one.copy())
    kernels.error(one, one, one[0], row, tile[:1], tile, layers, factor, scratch, row.copy(), np.zeros(1))
    # Starting its threads, numba sets the number of OpenMP's, which are torch's too.
    torch.set_num_threads(threads)
    return kernels


def _chain_network(factors: tuple[float, ...]) -> Any:
    """The chain as what :func:`run_stack` evaluates, its parameters numbered."""

    def network(params: Any, x: Tensor, linear: Linear) -> Tensor:
        for number, factor in enumerate(factors):
            x = linear(x, factor * params[str(2 * number)], factor * params[str(2 * number + 1)])
            if number < len(factors) - 1:
                x = torch.sin(x)
        return x

    return network
