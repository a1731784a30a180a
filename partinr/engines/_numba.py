"""The fused engine on the CPU: tiles, memory and threads for the kernels in :mod:`partinr.engines._kernels`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import binding
from numpy.typing import NDArray
from torch import Tensor

from partinr.engines._adam import compiled_adam
from partinr.engines.base import AdamSettings, InTurns, Moments, Observations
from partinr.engines.chain import Layers, Tiles, factors_of, layers_of, tensors_of, tiles_of
from partinr.engines.threads import SINGLE, threads, together

TILE = 512
"""Limit of samples per tile: 12 features in 3 layers take 0.2 MB of cache."""

PIECES = 8
"""Pieces of work per thread, at least, if each piece is a network; otherwise a piece is a run."""


def forward(coords: Tensor, packed: Tensor, sizes: tuple[int, ...], layers: Layers) -> Tensor:
    """Values of all networks.

    Args:
        coords: float32 ``[M, d]``, sorted by network.
        packed: float32 ``[N, P]``, the parameters of each network as a row.
        sizes: samples of each network.
        layers: offsets in a row.

    Returns:
        float32 ``[M, c]``.
    """
    tiles = tiles_of(sizes, TILE)
    values = torch.empty(coords.shape[0], layers[-1].n_out, **SINGLE)
    x = coords.contiguous().numpy()
    _run(
        ready_kernels().forward,
        layers,
        tiles,
        x,
        packed.numpy(),
        tiles.owner,
        tiles.start,
        *tables(layers),
        values.numpy(),
    )
    return values


def backward(
    coords: Tensor, packed: Tensor, sizes: tuple[int, ...], layers: Layers, gradient: Tensor, by_coords: bool
) -> tuple[Tensor, Tensor | None]:
    """Gradients of a scalar.

    Args:
        coords: as for :func:`forward`.
        packed: likewise.
        sizes: likewise.
        layers: likewise.
        gradient: float32 ``[M, c]``, by the values.
        by_coords: whether to compute the gradient by the coordinates.

    Returns:
        by the parameters ``[N, P]``, and by the coordinates ``[M, d]`` or None.
    """
    by_x = torch.empty(coords.shape if by_coords else (0, coords.shape[1]), **SINGLE)
    samples = Observations(coords, gradient, sizes)
    _, found = _gradients(samples, packed.numpy(), layers, given=True, by_x=by_x.numpy())
    return found, by_x if by_coords else None


def error(observed: Observations, packed: Tensor, layers: Layers) -> tuple[Tensor, Tensor]:
    """The squared error, summed over samples and channels, and its gradient by the parameters ``[N, P]``."""
    nowhere = np.empty((0, observed.coords.shape[1]), dtype=np.float32)
    total, found = _gradients(observed, packed.numpy(), layers, given=False, by_x=nowhere)
    return torch.tensor(total, **SINGLE), found


class AdamRows:
    """Adam's steps of several stacks, with parameters and moments packed as rows until :meth:`close`.

    Args:
        stacks: the networks, whose tensors change at :meth:`close`, with their samples.
        moments: see :meth:`Engine.adam <partinr.engines.base.Engine.adam>`.
        settings: settings of Adam.
    """

    def __init__(self, stacks: Sequence[InTurns], moments: Moments, settings: AdamSettings) -> None:
        self._stacks = [_Rows(each, moments, settings) for each in stacks]
        sizes = [size for each in stacks for size in each.turns[0].sizes]
        # Where networks are few, the threads share the runs of one step, whose sums are the same.
        self._few = max(sizes) * PIECES * threads() > sum(sizes)

    def take(self, first: int, scale: float, rates: NDArray[np.float32]) -> float:
        """Take a step for each row of ``rates``; see :class:`partinr.engines.base.AdamRun`."""
        if self._few:
            for number, rate in enumerate(rates, first):
                total = sum(each.step(number, scale, rate) for each in self._stacks)
            return total
        works, totals = zip(*(each.steps(first, scale, rates) for each in self._stacks), strict=True)

        def work() -> None:
            # From stack to stack without waiting for the other threads.
            for each in works:
                each()

        together(work)
        return float(sum(total.sum() for total in totals))

    def close(self) -> None:
        """Write the rows back."""
        for each in self._stacks:
            each.close()


class _Rows:
    """The networks of one stack for :class:`AdamRows`."""

    def __init__(self, given: InTurns, moments: Moments, settings: AdamSettings) -> None:
        chain, self._turns = given.stack.chain, given.turns
        self._tiles = tiles_of(tuple(size for turn in given.turns for size in turn.sizes), TILE)
        arrays = [turn.arrays() for turn in given.turns]
        self._samples = arrays[0] if len(arrays) == 1 else tuple(map(np.concatenate, zip(*arrays, strict=True)))
        params = tensors_of(chain)
        means, squares = zip(*map(moments, params), strict=True)
        self._layers = layers_of(params, factors_of(chain))
        # With numpy, on one thread: those of torch spin while they wait for one that is off its core.
        self._arrays = [[each.detach().numpy() for each in many] for many in (params, means, squares)]
        self._rows = [np.concatenate([each.reshape(len(each), -1) for each in many], 1) for many in self._arrays]
        self._decays = np.array([*settings.betas, settings.eps], dtype=np.float32)

    def step(self, number: int, scale: float, rate: NDArray[np.float32]) -> float:
        """Take the step with a number on all threads; returns the error before it."""
        params, *moments = self._rows
        turn = self._turns[number % len(self._turns)]
        nowhere = np.empty((0, turn.coords.shape[1]), dtype=np.float32)
        total, found = _gradients(turn, params, self._layers, given=False, by_x=nowhere)
        compiled_adam()(params, found.numpy(), *moments, rate, self._decays, np.float32(scale))
        return total

    def steps(
        self, first: int, scale: float, rates: NDArray[np.float32]
    ) -> tuple[Callable[[], None], NDArray[np.float64]]:
        """What each thread calls to take several steps, and where the errors before the last will be."""
        (params, *moments), tiles, totals = self._rows, self._tiles, np.empty(len(self._rows[0]))
        given = *self._samples, params, tiles.start, tiles.run, tiles.first_run, *tables(self._layers)
        adam = *moments, rates, self._decays, first, np.float32(scale)
        return _shared(ready_kernels().steps, self._layers, tiles, *given, *adam, totals), totals

    def close(self) -> None:
        """Write the rows back."""
        for rows, arrays in zip(self._rows, self._arrays, strict=True):
            ends = np.cumsum([each[0].size for each in arrays])[:-1]
            for each, found in zip(arrays, np.split(rows, ends, axis=1), strict=True):
                np.copyto(each, found.reshape(each.shape))


def _gradients(
    samples: Observations, params: NDArray[np.float32], layers: Layers, *, given: bool, by_x: NDArray[np.float32]
) -> tuple[float, Tensor]:
    """The squared error and the gradient by the parameters ``[N, P]``; see the kernel."""
    tiles = tiles_of(samples.sizes, TILE)
    by_run, total = np.empty((tiles.runs, params.shape[1]), dtype=np.float32), np.empty(tiles.runs)
    places = tiles.owner, tiles.start, tiles.run, *tables(layers)
    _run(ready_kernels().gradients, layers, tiles, given, *samples.arrays(), params, *places, by_run, total, by_x)
    # In order within a network, as the kernel that takes steps does it.
    networks = np.repeat(np.arange(len(samples.sizes)), np.diff(tiles.first_run))
    return float(np.bincount(networks, total, len(samples.sizes)).sum()), sum_of_runs(by_run, tiles)


def _run(kernel: Any, layers: Layers, tiles: Tiles, *given: Any) -> None:
    """Run a kernel on all threads."""
    together(_shared(kernel, layers, tiles, *given))


def _shared(kernel: Any, layers: Layers, tiles: Tiles, *given: Any) -> Callable[[], None]:
    """What each thread calls to run a kernel: they share a counter of pieces, and each has its own scratch."""
    counter, (line, wide) = np.zeros(1, dtype=np.int64), extent(layers, tiles)
    size = ready_kernels().scratch_size(
        len(layers), line, wide, sum((layer.n_in + 1) * layer.n_out for layer in layers)
    )

    def work() -> None:
        # Torch's memory begins at a cache line.
        kernel(counter, torch.empty(size, **SINGLE).numpy(), line, wide, *given)

    return work


def extent(layers: Layers, tiles: Tiles) -> tuple[int, int]:
    """The length of a row of samples, and the most features of a layer."""
    block = ready_kernels().BLOCK
    longest = -(-int(np.diff(tiles.start).max(initial=1)) // block) * block
    # Rows a power of two apart would share few places of the cache.
    return longest + block // 2, max(max(layer.n_in, layer.n_out) for layer in layers)


def tables(layers: Layers) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Layers as kernels take them: their places in a row of parameters, and their factors."""
    return (
        np.array([layer[:4] for layer in layers], dtype=np.int64),
        np.array([layer.factor for layer in layers], dtype=np.float32),
    )


def sum_of_runs(by_run: NDArray[np.float32], tiles: Tiles) -> Tensor:
    """What the runs of each network give in total: ``[runs, P]`` to ``[N, P]``."""
    networks = len(tiles.first_run) - 1
    if tiles.runs == networks == np.count_nonzero(np.diff(tiles.first_run)):
        return torch.from_numpy(by_run)
    by_network = np.zeros((networks, by_run.shape[1]), dtype=np.float32)
    ready_kernels().add_runs(by_run, tiles.first_run, by_network)
    return torch.from_numpy(by_network)


def wide_vectors() -> None:
    """Let numba use the processor's widest vectors. Call this before anything is compiled.

    By default LLVM uses vectors of at most 256 bits, since wider ones once slowed processors down. These kernels are a
    quarter to a third faster with the widest vectors.
    """
    config: Any = numba.config
    features = binding.get_host_cpu_features()
    if features.get("avx512f") and not config.CPU_FEATURES and not config.CPU_NAME:
        config.CPU_FEATURES = f"{features.flatten()},-prefer-256-bit"


@cache
def ready_kernels() -> Any:
    """The compiled kernels. Compiling takes ten seconds the first time on a machine; then numba's cache has them.

    All kernels are compiled before the first values, so that the training clock does not count it.
    """
    wide_vectors()
    from partinr.engines import _kernels as kernels

    none, tile = np.ones(1, dtype=np.int64), np.arange(2, dtype=np.int64)
    row, one = np.zeros((1, 2), dtype=np.float32), np.zeros((1, 1), dtype=np.float32)
    layers, factor, three = np.array([[1, 1, 0, 1]]), np.ones(1, dtype=np.float32), np.ones((1, 3), dtype=np.float32)
    memory = none, np.zeros(kernels.scratch_size(1, 48, 1, 2), dtype=np.float32), 48, 1
    kernels.forward(*memory, one, row, tile[:1], tile, layers, factor, one.copy())
    samples = one, one, one[0]
    places = tile[:1], tile, tile, layers, factor
    kernels.gradients(*memory, False, *samples, row, *places, row.copy(), np.zeros(1), one.copy())
    adam = row.copy(), row.copy(), three, three[0], np.float32(1)
    kernels.steps(*memory, *samples, row, tile, tile, tile, layers, factor, *adam[:-1], 0, adam[-1], np.zeros(1))
    compiled_adam()
    kernels.add_runs(row, tile, row.copy())
    return kernels
