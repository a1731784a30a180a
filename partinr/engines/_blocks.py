"""Layers of sines for one block of samples, and sums over a tile, for :mod:`partinr.engines._kernels`.

Features are rows of a flat scratch, ``line`` numbers apart. Products keep blocks of 4 rows by 2 vectors of samples in
registers.
"""

# Numba's decorators have no types, and its intrinsics have one argument more than their callers see.
# mypy: ignore-errors

import math

import numpy as np
from numba import njit

from partinr.engines._vectors import (
    EIGHTH,
    HALF,
    LANES,
    QUARTER,
    clamp,
    flip_odd,
    fma,
    halves,
    lane,
    load,
    splat,
    splat_at,
    store,
    store_four,
)

_F = np.float32

BLOCK = 2 * LANES
"""Number of samples in a block; tiles are padded to a multiple of it."""

INVERSE_PI = _F(1 / math.pi)
# Added to a float32 of up to 2^22, it leaves the nearest whole number in the last bits.
_WHOLE = _F(1.5 * 2**23)


@njit(forceinline=True)
def sincos_pi(u):
    """Sine and cosine of pi times a vector, to 2e-7: minimax polynomials on [-1/2, 1/2].

    In half turns the nearest whole number is subtracted without a rounding error. From 2^22 on the result is arbitrary,
    but small.
    """
    shifted = u + splat(_WHOLE)
    # The limit is for huge numbers, since a polynomial is unbounded.
    r = clamp(u - (shifted - splat(_WHOLE)), splat(_F(0.5)))
    q = r * r
    sine = fma(q, splat(_F(0.0772201301)), splat(_F(-0.598045175)))
    sine = fma(q, fma(q, sine, splat(_F(2.55003138))), splat(_F(-5.16770688)))
    sine = r * fma(q, sine, splat(_F(math.pi)))
    cosine = fma(q, splat(_F(0.220080657)), splat(_F(-1.33209387)))
    cosine = fma(q, fma(q, cosine, splat(_F(4.05845134))), splat(_F(-4.93479552)))
    cosine = fma(q, cosine, splat(_F(1)))
    # Odd multiples of pi flip the sign.
    return flip_odd(sine, shifted), flip_odd(cosine, shifted)


@njit(forceinline=True)
def _products_4(p, at, outer, inner, count, s, x, line):
    """Four rows of a product: ``sum_k p[at + row outer + k inner] s[x + k line + sample]`` for one block of samples."""
    a0 = a1 = b0 = b1 = c0 = c1 = d0 = d1 = splat(_F(0))
    for _ in range(count):
        low, high = load(s, x), load(s, x + LANES)
        w = splat_at(p, at)
        a0, a1 = fma(w, low, a0), fma(w, high, a1)
        w = splat_at(p, at + outer)
        b0, b1 = fma(w, low, b0), fma(w, high, b1)
        w = splat_at(p, at + 2 * outer)
        c0, c1 = fma(w, low, c0), fma(w, high, c1)
        w = splat_at(p, at + 3 * outer)
        d0, d1 = fma(w, low, d0), fma(w, high, d1)
        at += inner
        x += line
    return a0, a1, b0, b1, c0, c1, d0, d1


@njit(forceinline=True)
def _products_1(p, at, inner, count, s, x, line):
    """One row of :func:`_products_4`."""
    a0 = a1 = splat(_F(0))
    for _ in range(count):
        w = splat_at(p, at)
        a0, a1 = fma(w, load(s, x), a0), fma(w, load(s, x + LANES), a1)
        at += inner
        x += line
    return a0, a1


@njit(forceinline=True)
def _sine_row(a0, a1, bias, factor, s, sine, cosine):
    """Write sines and cosines of ``factor (a + bias)``."""
    turns = factor * INVERSE_PI
    b, f = splat(bias * turns), splat(turns)
    (y0, c0), (y1, c1) = sincos_pi(fma(a0, f, b)), sincos_pi(fma(a1, f, b))
    store(s, sine, y0)
    store(s, sine + LANES, y1)
    store(s, cosine, c0)
    store(s, cosine + LANES, c1)


@njit
def sines(p, layer, factor, s, x, line, sine, cosine):
    """Sines and cosines of a layer for a block of samples, from ``[in]`` to ``[out]``; a row of cosines is a block."""
    n_in, n_out, weight, bias = layer
    o = 0
    while o + 4 <= n_out:
        a0, a1, b0, b1, c0, c1, d0, d1 = _products_4(p, weight + o * n_in, n_in, 1, n_in, s, x, line)
        _sine_row(a0, a1, p[bias + o], factor, s, sine, cosine)
        _sine_row(b0, b1, p[bias + o + 1], factor, s, sine + line, cosine + BLOCK)
        _sine_row(c0, c1, p[bias + o + 2], factor, s, sine + 2 * line, cosine + 2 * BLOCK)
        _sine_row(d0, d1, p[bias + o + 3], factor, s, sine + 3 * line, cosine + 3 * BLOCK)
        sine += 4 * line
        cosine += 4 * BLOCK
        o += 4
    while o < n_out:
        a0, a1 = _products_1(p, weight + o * n_in, 1, n_in, s, x, line)
        _sine_row(a0, a1, p[bias + o], factor, s, sine, cosine)
        sine += line
        cosine += BLOCK
        o += 1


@njit
def output(p, layer, factor, s, x, line, y):
    """The last layer for a block of samples, without a sine."""
    n_in, n_out, weight, bias = layer
    for o in range(n_out):
        a0, a1 = _products_1(p, weight + o * n_in, 1, n_in, s, x, line)
        b, f = splat(p[bias + o] * factor), splat(factor)
        store(s, y, fma(a0, f, b))
        store(s, y + LANES, fma(a1, f, b))
        y += line


@njit(forceinline=True)
def _back_row(a0, a1, f, s, cosine, g):
    """Write ``f a`` times the cosine."""
    store(s, g, a0 * f * load(s, cosine))
    store(s, g + LANES, a1 * f * load(s, cosine + LANES))


@njit
def input_gradient(p, layer, factor, s, g, line, cosine, r):
    """``factor W^T g`` times the cosines, for a block of samples: from ``[out]`` to ``[in]``."""
    n_in, n_out, weight, _ = layer
    f = splat(factor)
    i = 0
    while i + 4 <= n_in:
        a0, a1, b0, b1, c0, c1, d0, d1 = _products_4(p, weight + i, 1, n_in, n_out, s, g, line)
        _back_row(a0, a1, f, s, cosine, r)
        _back_row(b0, b1, f, s, cosine + BLOCK, r + line)
        _back_row(c0, c1, f, s, cosine + 2 * BLOCK, r + 2 * line)
        _back_row(d0, d1, f, s, cosine + 3 * BLOCK, r + 3 * line)
        cosine += 4 * BLOCK
        r += 4 * line
        i += 4
    while i < n_in:
        a0, a1 = _products_1(p, weight + i, n_in, n_out, s, g, line)
        _back_row(a0, a1, f, s, cosine, r)
        cosine += BLOCK
        r += line
        i += 1


@njit(forceinline=True)
def _sums_8(a, b, c, d, e, f, g, h):
    """The sums of eight vectors, in the first eight lanes."""
    v = halves(
        halves(halves(a, b, HALF), halves(c, d, HALF), QUARTER),
        halves(halves(e, f, HALF), halves(g, h, HALF), QUARTER),
        EIGHTH,
    )
    return halves(v, v, 1) if LANES == 16 else v


@njit(forceinline=True)
def sums_4(a, b, c, d):
    """The sums of four vectors, in the first four lanes."""
    return _sums_8(a, b, c, d, a, b, c, d)


@njit(forceinline=True)
def _dots_16(s, g, h, line, n):
    """Dot products over n samples of four rows from ``g`` on with four rows from ``h`` on, for 16 lanes."""
    a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = splat(_F(0))
    for t in range(0, n, LANES):
        x, y, z, u = load(s, h + t), load(s, h + line + t), load(s, h + 2 * line + t), load(s, h + 3 * line + t)
        v = load(s, g + t)
        a0, a1, a2, a3 = fma(v, x, a0), fma(v, y, a1), fma(v, z, a2), fma(v, u, a3)
        v = load(s, g + line + t)
        b0, b1, b2, b3 = fma(v, x, b0), fma(v, y, b1), fma(v, z, b2), fma(v, u, b3)
        v = load(s, g + 2 * line + t)
        c0, c1, c2, c3 = fma(v, x, c0), fma(v, y, c1), fma(v, z, c2), fma(v, u, c3)
        v = load(s, g + 3 * line + t)
        d0, d1, d2, d3 = fma(v, x, d0), fma(v, y, d1), fma(v, z, d2), fma(v, u, d3)
    a = halves(halves(a0, a1, 8), halves(a2, a3, 8), 4)
    b = halves(halves(b0, b1, 8), halves(b2, b3, 8), 4)
    c = halves(halves(c0, c1, 8), halves(c2, c3, 8), 4)
    d = halves(halves(d0, d1, 8), halves(d2, d3, 8), 4)
    return halves(halves(a, b, 2), halves(c, d, 2), 1)


@njit(forceinline=True)
def _dots_8(s, g, h, line, n):
    """Dot products over n samples of four rows from ``g`` on with two rows from ``h`` on."""
    a0 = a1 = b0 = b1 = c0 = c1 = d0 = d1 = splat(_F(0))
    for t in range(0, n, LANES):
        x, y = load(s, h + t), load(s, h + line + t)
        v = load(s, g + t)
        a0, a1 = fma(v, x, a0), fma(v, y, a1)
        v = load(s, g + line + t)
        b0, b1 = fma(v, x, b0), fma(v, y, b1)
        v = load(s, g + 2 * line + t)
        c0, c1 = fma(v, x, c0), fma(v, y, c1)
        v = load(s, g + 3 * line + t)
        d0, d1 = fma(v, x, d0), fma(v, y, d1)
    return _sums_8(a0, a1, b0, b1, c0, c1, d0, d1)


@njit(forceinline=True)
def _dots_4(s, four, one, line, n):
    """Dot products of four rows from ``four`` on with the row ``one``."""
    a = b = c = d = splat(_F(0))
    for t in range(0, n, LANES):
        x = load(s, one + t)
        a = fma(load(s, four + t), x, a)
        b = fma(load(s, four + line + t), x, b)
        c = fma(load(s, four + 2 * line + t), x, c)
        d = fma(load(s, four + 3 * line + t), x, d)
    return sums_4(a, b, c, d)


@njit(forceinline=True)
def _dot(s, g, h, n):
    """The dot product of two rows."""
    a = splat(_F(0))
    for t in range(0, n, LANES):
        a = fma(load(s, g + t), load(s, h + t), a)
    return lane(sums_4(a, a, a, a), 0)


@njit
def parameter_gradient(s, g, h, ones, line, n, layer, factor, q):
    """Write the gradient by ``W`` and ``b`` into ``q`` at the layer's offsets, from ``g [out]`` and ``h [in]``."""
    n_in, n_out, weight, bias = layer
    f = splat(factor)
    o = 0
    while o + 4 <= n_out:
        row = weight + o * n_in
        i = 0
        while LANES == 16 and i + 4 <= n_in:
            v = _dots_16(s, g, h + i * line, line, n) * f
            store_four(q, row + i, v, 0)
            store_four(q, row + n_in + i, v, 4)
            store_four(q, row + 2 * n_in + i, v, 8)
            store_four(q, row + 3 * n_in + i, v, 12)
            i += 4
        while i + 2 <= n_in:
            v = _dots_8(s, g, h + i * line, line, n)
            for k in range(4):
                q[row + k * n_in + i] = lane(v, 2 * k) * factor
                q[row + k * n_in + i + 1] = lane(v, 2 * k + 1) * factor
            i += 2
        if i < n_in:
            v = _dots_4(s, g, h + i * line, line, n)
            for k in range(4):
                q[row + k * n_in + i] = lane(v, k) * factor
        store_four(q, bias + o, _dots_4(s, g, ones, line, n) * f, 0)
        g += 4 * line
        o += 4
    while o < n_out:
        row = weight + o * n_in
        i = 0
        while i + 4 <= n_in:
            store_four(q, row + i, _dots_4(s, h + i * line, g, line, n) * f, 0)
            i += 4
        while i < n_in:
            q[row + i] = _dot(s, g, h + i * line, n) * factor
            i += 1
        q[bias + o] = _dot(s, g, ones, n) * factor
        g += line
        o += 1
