"""The fused engine on the CPU: tiles, memory and threads for the kernels in :mod:`partinr.engines._kernels`."""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import binding
from numpy.typing import NDArray
from torch import Tensor

from partinr.engines.base import Observations
from partinr.engines.chain import Layers, Tiles, tiles_of
from partinr.engines.threads import SINGLE

TILE = 512
"""Limit of samples per tile: 12 features in 3 layers take 0.2 MB of cache."""


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
    kernels = ready_kernels()
    tiles = tiles_of(sizes, TILE)
    values = torch.empty(coords.shape[0], layers[-1].n_out, **SINGLE)
    kernels.forward(
        coords.contiguous().numpy(),
        packed.numpy(),
        tiles.owner,
        tiles.start,
        *_tables(layers),
        _scratch(2, layers, tiles),
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
    samples = coords.contiguous().numpy(), gradient.contiguous().numpy()
    return run(ready_kernels().backward, samples, (packed,), sizes, layers, by_x.numpy()), by_x if by_coords else None


def error(observed: Observations, packed: Tensor, layers: Layers) -> tuple[Tensor, Tensor]:
    """The squared error, summed over samples and channels, and its gradient by the parameters ``[N, P]``."""
    total = np.empty(tiles_of(observed.sizes, TILE).runs)
    found = run(ready_kernels().error, observed.arrays(), (packed,), observed.sizes, layers, total)
    return torch.tensor(total.sum(), **SINGLE), found


def run(
    kernel: Any,
    samples: tuple[NDArray[np.float32], ...],
    rows: tuple[Tensor, ...],
    sizes: tuple[int, ...],
    layers: Layers,
    *written: NDArray[Any],
    kept: int = 2,
    further: int = 2,
) -> Tensor:
    """What a kernel sums over the runs of each network, ``[N, P]``.

    Args:
        kernel: takes samples, rows, the tables of tiles and layers, and memory; writes a row a run, and ``written``.
        samples: its tables over the samples.
        rows: its tables ``[N, P]`` over the networks.
        sizes: samples of each network.
        layers: offsets in a row.
        written: what else it writes.
        kept: planes of scratch that it needs for each layer.
        further: planes besides.
    """
    tiles, (networks, width) = tiles_of(sizes, TILE), rows[0].shape
    by_run = np.empty((tiles.runs, width), dtype=np.float32)
    kernel(
        *samples,
        *(table.numpy() for table in rows),
        tiles.owner,
        tiles.start,
        tiles.run,
        *_tables(layers),
        _scratch(kept * len(layers) + further, layers, tiles),
        # A row of parameters for each thread, of whole cache lines.
        np.empty((int(numba.get_num_threads()), -(-width // 16) * 16), dtype=np.float32),
        by_run,
        *written,
    )
    used = np.flatnonzero(np.diff(tiles.first_run))
    if tiles.runs == networks == len(used):
        return torch.from_numpy(by_run)
    by_network = np.zeros((networks, width), dtype=np.float32)
    if tiles.runs:
        by_network[used] = np.add.reduceat(by_run, tiles.first_run[used], axis=0)
    return torch.from_numpy(by_network)


def _tables(layers: Layers) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return (
        np.array([layer[:4] for layer in layers], dtype=np.int64),
        np.array([layer.factor for layer in layers], dtype=np.float32),
    )


def _scratch(planes: int, layers: Layers, tiles: Tiles) -> NDArray[np.float32]:
    # A row takes whole cache lines, so that rows do not share a line.
    length = -(-int(np.diff(tiles.start).max(initial=1)) // 16) * 16
    widest = max(max(layer.n_in, layer.n_out) for layer in layers)
    return np.empty((int(numba.get_num_threads()), planes, widest, length), dtype=np.float32)


def ready_kernels() -> Any:
    """The compiled kernels, with as many threads as torch uses."""
    kernels = _compiled()
    # numba fixes the maximum when it starts: one thread per core.
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    return kernels


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
def _compiled() -> Any:
    """The compiled kernels. Compiling takes ten seconds the first time on a machine; then numba's cache has them.

    All kernels are compiled before the first values, so that the training clock does not count it.
    """
    wide_vectors()
    from partinr.engines import _kernels as kernels

    threads = torch.get_num_threads()
    row, tile = np.zeros((1, 2), dtype=np.float32), np.arange(2, dtype=np.int64)
    layers, factor = np.array([[1, 1, 0, 1]]), np.ones(1, dtype=np.float32)
    scratch = np.zeros((int(numba.get_num_threads()), 4, 1, 16), dtype=np.float32)
    one = np.zeros((1, 1), dtype=np.float32)
    kernels.forward(one, row, tile[:1], tile, layers, factor, scratch, one.copy())
    kernels.backward(one, one, row, tile[:1], tile, tile, layers, factor, scratch, one, row.copy(), one.copy())
    kernels.error(one, one, one[0], row, tile[:1], tile, tile, layers, factor, scratch, one, row.copy(), np.zeros(1))
    # Starting its threads, numba sets the number of OpenMP's threads, which torch uses too.
    torch.set_num_threads(threads)
    return kernels
