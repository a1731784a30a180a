"""The fused engine's kernels for CUDA (Triton). The first use imports them: partinr runs without Triton.

A program evaluates one tile through all layers, in registers and shared memory: samples ``start[t]`` to ``start[t +
1]``, which belong to network ``owner[t]``. Features are padded with zeros to a power of two, at least 16, as a product
of tiles requires; a zero feature has a zero gradient. The backward pass recomputes and keeps the affine maps, and
computes sines and cosines from them when needed. The parameters of network n are one row ``params[n]``, as for the
kernels of the CPU. Each tile writes its gradients by them into its own row, and the rows are then summed in a fixed
order, so results are reproducible.

``LAYERS`` is known when a kernel is compiled: ``(in, out, both padded, offset of the weights, offset of the biases,
factor)`` of each layer.
"""

# Triton's language has no types, and its functions are not Python's.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False
# mypy: disable-error-code="assignment"

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from partinr.base.environment import door
from partinr.engines.base import products_switch
from partinr.engines.cache import NETWORK_BYTES, kept
from partinr.engines.chain import Layers, Tiles, tiles_of

# See _kernels.py: pi in three parts (Cody & Waite 1980), and 1 / pi.
_PI_1, _PI_2, _PI_3 = tl.constexpr(3.140625), tl.constexpr(0.0009670257568359375), tl.constexpr(6.277114152908325e-7)
_INVERSE_PI = tl.constexpr(1 / math.pi)

GRADIENT_NUMBERS = 2**26
"""Limit of numbers in the gradients of tiles before they are summed: 256 MB. More tiles take several passes, so that
memory does not grow with the picture."""

_ROWS, _COLUMNS = 32, 64
"""Tiles and parameters that one program sums."""


@triton.jit
def _sincos(x):
    """Sine and cosine as in _kernels.py; cheaper than CUDA's, which also need registers for huge angles."""
    k = tl.floor(x * _INVERSE_PI + 0.5)
    r = ((x - k * _PI_1) - k * _PI_2) - k * _PI_3
    r = r * (tl.abs(r) < 1.6).to(tl.float32)
    sign = 1.0 - 2.0 * (k - 2.0 * tl.floor(k * 0.5))
    q = r * r
    sine = r + r * q * (-0.16666657 + q * (8.333017e-3 + q * (-1.9806609e-4 + q * 2.6000395e-6)))
    cosine = 1.0 + q * (-0.5 + q * (4.1666642e-2 + q * (-1.3888404e-3 + q * (2.4761879e-5 + q * -2.6076961e-7))))
    return sign * sine, sign * cosine


@triton.jit
def _rows(x, rows, stop, N: tl.constexpr, FILLED: tl.constexpr):
    """Samples ``[BLOCK, N]``, padded with zeros."""
    columns = tl.arange(0, FILLED)
    inside = (rows[:, None] < stop) & (columns[None, :] < N)
    return tl.load(x + rows[:, None] * N + columns[None, :], mask=inside, other=0.0)


@triton.jit
def _store_rows(x, values, rows, stop, N: tl.constexpr, FILLED: tl.constexpr):
    columns = tl.arange(0, FILLED)
    inside = (rows[:, None] < stop) & (columns[None, :] < N)
    tl.store(x + rows[:, None] * N + columns[None, :], values, mask=inside)


@triton.jit
def _affine(p, h, LAYERS: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr):
    """``factor (W h + b)``: from ``[BLOCK, in]`` to ``[BLOCK, out]``."""
    i, o = tl.arange(0, LAYERS[K][2]), tl.arange(0, LAYERS[K][3])
    inside = (i[:, None] < LAYERS[K][0]) & (o[None, :] < LAYERS[K][1])
    weight = tl.load(p + LAYERS[K][4] + o[None, :] * LAYERS[K][0] + i[:, None], mask=inside, other=0.0)
    bias = tl.load(p + LAYERS[K][5] + o, mask=o < LAYERS[K][1], other=0.0)
    return tl.dot(h, weight * LAYERS[K][6], input_precision=PRECISION) + (bias * LAYERS[K][6])[None, :]


@triton.jit
def _input_gradient(p, g, LAYERS: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr):
    """``factor W^T g``: from ``[BLOCK, out]`` to ``[BLOCK, in]``."""
    i, o = tl.arange(0, LAYERS[K][2]), tl.arange(0, LAYERS[K][3])
    inside = (i[None, :] < LAYERS[K][0]) & (o[:, None] < LAYERS[K][1])
    weight = tl.load(p + LAYERS[K][4] + o[:, None] * LAYERS[K][0] + i[None, :], mask=inside, other=0.0)
    return tl.dot(g, weight * LAYERS[K][6], input_precision=PRECISION)


@triton.jit
def _parameter_gradient(q, g, h, LAYERS: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr):
    """Write the gradient by ``W`` and ``b`` into ``q`` at the layer's offsets."""
    i, o = tl.arange(0, LAYERS[K][2]), tl.arange(0, LAYERS[K][3])
    inside = (i[None, :] < LAYERS[K][0]) & (o[:, None] < LAYERS[K][1])
    weight = tl.dot(tl.trans(g), h, input_precision=PRECISION) * LAYERS[K][6]
    tl.store(q + LAYERS[K][4] + o[:, None] * LAYERS[K][0] + i[None, :], weight, mask=inside)
    tl.store(q + LAYERS[K][5] + o, tl.sum(g, axis=0) * LAYERS[K][6], mask=o < LAYERS[K][1])


@triton.jit
def forward_kernel(
    x, params, owner, start, y, SIZE: tl.constexpr, LAYERS: tl.constexpr, BLOCK: tl.constexpr, PRECISION: tl.constexpr
):
    """Values of one tile; ``SIZE`` is the length of a row of ``params``."""
    tile = tl.program_id(0)
    stop = tl.load(start + tile + 1)
    rows = tl.load(start + tile) + tl.arange(0, BLOCK)
    p = params + tl.load(owner + tile) * SIZE
    LAST: tl.constexpr = len(LAYERS) - 1
    h = _rows(x, rows, stop, LAYERS[0][0], LAYERS[0][2])
    for k in tl.static_range(LAST):
        h, _ = _sincos(_affine(p, h, LAYERS, k, PRECISION))
    _store_rows(y, _affine(p, h, LAYERS, LAST, PRECISION), rows, stop, LAYERS[LAST][1], LAYERS[LAST][3])


@triton.jit
def backward_kernel(
    x,
    params,
    owner,
    start,
    gy,
    q,
    gx,
    SIZE: tl.constexpr,
    LAYERS: tl.constexpr,
    BY_X: tl.constexpr,
    BLOCK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Gradients of one tile: by the parameters into row ``q[tile]``, and by the samples into ``gx`` if ``BY_X``."""
    tile = tl.program_id(0)
    stop = tl.load(start + tile + 1)
    rows = tl.load(start + tile) + tl.arange(0, BLOCK)
    p = params + tl.load(owner + tile) * SIZE
    q += tile.to(tl.int64) * SIZE
    LAST: tl.constexpr = len(LAYERS) - 1
    h = _rows(x, rows, stop, LAYERS[0][0], LAYERS[0][2])
    zs = ()
    for k in tl.static_range(LAST):
        z = _affine(p, h, LAYERS, k, PRECISION)
        zs = zs + (z,)  # noqa: RUF005 (Triton knows no unpacking)
        h, _ = _sincos(z)
    g = _rows(gy, rows, stop, LAYERS[LAST][1], LAYERS[LAST][3])
    for back in tl.static_range(LAST):
        h, cosine = _sincos(zs[LAST - 1 - back])
        _parameter_gradient(q, g, h, LAYERS, LAST - back, PRECISION)
        g = _input_gradient(p, g, LAYERS, LAST - back, PRECISION) * cosine
    _parameter_gradient(q, g, _rows(x, rows, stop, LAYERS[0][0], LAYERS[0][2]), LAYERS, 0, PRECISION)
    if BY_X:
        by_x = _input_gradient(p, g, LAYERS, 0, PRECISION)
        _store_rows(gx, by_x, rows, stop, LAYERS[0][0], LAYERS[0][2])


@triton.jit
def sum_kernel(q, first, total, SIZE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Write some columns of ``total[n]``: the sum of the rows ``first[n]`` to ``first[n + 1]`` of ``q``."""
    network = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    stop = tl.load(first + network + 1)
    result = tl.zeros([COLUMNS], dtype=tl.float32)
    for row in range(tl.load(first + network), stop, ROWS):
        rows = row + tl.arange(0, ROWS)
        inside = (rows[:, None] < stop) & (columns[None, :] < SIZE)
        result += tl.sum(tl.load(q + rows[:, None] * SIZE + columns[None, :], mask=inside, other=0.0), axis=0)
    tl.store(total + network * SIZE + columns, result, mask=columns < SIZE)


def forward(coords: Tensor, packed: Tensor, sizes: tuple[int, ...], layers: Layers) -> Tensor:
    """Values of all networks, see :func:`partinr.engines._numba.forward`."""
    values = coords.new_empty(coords.shape[0], layers[-1].n_out)
    tiles, tensors = _tiles(sizes, _block(layers), coords.device)
    if tiles.count:
        with torch.cuda.device_of(coords):
            forward_kernel[(tiles.count,)](
                coords.contiguous(), packed, *tensors[:2], values, packed.shape[1], **constants(layers)
            )
    return values


def backward(
    coords: Tensor, packed: Tensor, sizes: tuple[int, ...], layers: Layers, gradient: Tensor, by_coords: bool
) -> tuple[Tensor, Tensor | None]:
    """Gradients by parameters and coordinates, see :func:`partinr.engines._numba.backward`."""
    tiles, (owner, start, first) = _tiles(sizes, _block(layers), coords.device)
    by_network, by_x = torch.zeros_like(packed), torch.empty_like(coords, memory_format=torch.contiguous_format)
    size, coords, gradient = packed.shape[1], coords.contiguous(), gradient.contiguous()
    tiles_a_pass = max(1, GRADIENT_NUMBERS // size // _ROWS) * _ROWS
    by_tile, of_pass = packed.new_empty(min(tiles.count, tiles_a_pass), size), torch.empty_like(packed)
    grid = (packed.shape[0], triton.cdiv(size, _COLUMNS))
    with torch.cuda.device_of(coords):
        for begin in range(0, tiles.count, tiles_a_pass):
            stop = min(begin + tiles_a_pass, tiles.count)
            own, bounds = owner[begin:stop], start[begin : stop + 1]
            backward_kernel[(stop - begin,)](
                coords, packed, own, bounds, gradient, by_tile, by_x, size, BY_X=by_coords, **constants(layers)
            )
            if stop - begin == tiles.count:
                sum_kernel[grid](by_tile, first, by_network, size, _ROWS, _COLUMNS)
            else:
                within = (first - begin).clamp(0, stop - begin)
                sum_kernel[grid](by_tile, within, of_pass, size, _ROWS, _COLUMNS)
                by_network += of_pass
    return by_network, by_x if by_coords else None


# Each table as an array and as a tensor.
@kept(lambda found: 2 * sum(table.nbytes for table in found[1]) + NETWORK_BYTES * len(found[1][2]))
@door
def _tiles(sizes: tuple[int, ...], longest: int, device: torch.device) -> tuple[Tiles, tuple[Tensor, Tensor, Tensor]]:
    """Tiles, and their tables owner, start and first as tensors on the device."""
    tiles = tiles_of(sizes, longest)
    owner, start, first = (torch.from_numpy(table).to(device) for table in (tiles.owner, tiles.start, tiles.first))
    return tiles, (owner, start, first)


def _filled(features: int) -> int:
    return max(16, 1 << (features - 1).bit_length())


def _block(layers: Layers) -> int:
    """Limit of samples per tile.

    With this limit and 8 warps, registers suffice for up to 32 features (in single precision, from compute capability
    8.0 to 10.0), and nearly so for 64. The limit is not tuned for speed.
    """
    return int(2048 // _filled(max(max(layer.n_in, layer.n_out) for layer in layers)))


def constants(layers: Layers) -> dict[str, Any]:
    """The constants that the kernels are compiled with. Products may round to TF32 where torch's own do."""
    name, tf32 = products_switch(True)
    return {
        "LAYERS": tuple(
            (n_in, n_out, _filled(n_in), _filled(n_out), weight, bias, float(factor))
            for n_in, n_out, weight, bias, factor in layers
        ),
        "BLOCK": _block(layers),
        "num_warps": 8,
        "PRECISION": "tf32" if getattr(torch.backends.cuda.matmul, name) == tf32 else "ieee",
    }
