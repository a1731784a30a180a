"""Compiled kernels of the tiled engine (numba): the element-wise part of a layer of sines, and the two thin layers.

Each kernel processes one tile of one network, on the calling thread and without Python's lock. Activations are
``[rows, out]`` arrays in float32, or in bfloat16 as the uint16 of its bits, which numba lacks; arithmetic is in single
precision either way. Rows may be longer than the width of the layer, so that each begins at a cache line; the bias has
the layer's width.

Every loop first extracts its rows and never writes to what it reads; otherwise it is not vectorised.
"""

# numba's decorators have no types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

import numpy as np
from numba import types
from numba.extending import overload

from partinr.engines._cached import kernel
from partinr.engines._sincos import INVERSE_PI, PI_1, PI_2, WHOLE, signed, sincos

# Fast math without the assumption that there is no NaN; kernels with sines without reordering, see `sincos`.
_FAST = {"contract", "reassoc", "nsz", "arcp"}
_SINE = {"contract", "nsz"}

_F = np.float32
_U = np.uint32


def _load(row, j):
    """The number at ``row[j]``, as float32."""


@overload(_load, jit_options={"nogil": True})
def _load_of(row, j):
    if row.dtype == types.uint16:
        return lambda row, j: _U(_U(row[j]) << _U(16)).view(np.float32)
    return lambda row, j: row[j]


def _store(row, j, number):
    """``row[j] = number``; rounded to the nearest bfloat16, ties away from zero."""


@overload(_store, jit_options={"nogil": True})
def _store_of(row, j, number):
    if row.dtype == types.uint16:

        def narrowed(row, j, number):
            # A NaN stays NaN, except for bit patterns that arithmetic never produces.
            row[j] = np.uint16(_U(_F(number).view(np.uint32) + _U(0x8000)) >> _U(16))

        return narrowed

    def as_it_is(row, j, number):
        row[j] = number

    return as_it_is


@kernel(nogil=True, fastmath=_SINE)
def rough_sincos(x):
    """Sine and cosine to 2e-4 for |x| up to 300, 1e-3 up to 3e3: bfloat16 rounds by up to 2e-3."""
    shifted = x * INVERSE_PI + WHOLE
    k = shifted - WHOLE
    r = (x - k * PI_1) - k * PI_2
    r = r * _F(abs(r) < _F(1.6))
    sign = _U(_F(shifted).view(np.uint32) << _U(31))
    q = r * r
    sine = r + r * q * (_F(-0.16607404) + q * _F(0.00763109))
    cosine = _F(1) + q * (_F(-0.49993487) + q * (_F(0.04150582) + q * _F(-0.00127532)))
    return signed(sine, sign), signed(cosine, sign)


def _sincos(row, x):
    """Sine and cosine with the precision of the numbers in ``row``."""


@overload(_sincos, jit_options={"nogil": True, "fastmath": _SINE})
def _sincos_for(row, x):
    if row.dtype == types.uint16:
        return lambda row, x: rough_sincos(x)
    return lambda row, x: sincos(x)


@kernel(nogil=True, fastmath=_SINE)
def first(x, weight, bias, factor, h, c):
    """``h = sin(W x + b)``, ``c = factor cos(W x + b)``; W and b already include the factor.

    Args:
        x: float32 ``[n, d]``.
        weight: float32 ``[d, out]``.
        bias: float32 ``[out]``.
        factor: factor of the layer.
        h: ``[rows, out or more]``, written.
        c: likewise.
    """
    z = np.empty(bias.shape[0], dtype=np.float32)
    for s in range(x.shape[0]):
        point, to_h, to_c = x[s], h[s], c[s]
        for j in range(bias.shape[0]):
            z[j] = bias[j]
        for i in range(weight.shape[0]):
            row, at = weight[i], point[i]
            for j in range(bias.shape[0]):
                z[j] += at * row[j]
        for j in range(bias.shape[0]):
            sine, cosine = _sincos(to_h, z[j])
            _store(to_h, j, sine)
            _store(to_c, j, factor * cosine)


@kernel(nogil=True, fastmath=_SINE)
def sine(n, z, bias, factor, h, c):
    """``h = sin(factor z + b)``, ``c = factor cos(factor z + b)``; b already includes the factor.

    Args:
        n: number of rows.
        z: ``[rows, out or more]``, the product of the layer.
        bias: float32 ``[out]``.
        factor: factor of the layer.
        h: as z, written.
        c: likewise.
    """
    for s in range(n):
        row, to_h, to_c = z[s], h[s], c[s]
        for j in range(bias.shape[0]):
            sine, cosine = _sincos(to_h, factor * _load(row, j) + bias[j])
            _store(to_h, j, sine)
            _store(to_c, j, factor * cosine)


@kernel(nogil=True, fastmath=_FAST)
def output(h, weight, bias, y):
    """``y = W h + b`` in single precision.

    Args:
        h: ``[rows, in or more]``.
        weight: float32 ``[c, in]``.
        bias: float32 ``[c]``.
        y: float32 ``[n, c]``, written.
    """
    features = np.empty(weight.shape[1], dtype=np.float32)
    for s in range(y.shape[0]):
        row, to = h[s], y[s]
        for j in range(features.shape[0]):
            features[j] = _load(row, j)
        for o in range(weight.shape[0]):
            of = weight[o]
            total = _F(0)
            for j in range(features.shape[0]):
                total += of[j] * features[j]
            to[o] = total + bias[o]


@kernel(nogil=True, fastmath=_FAST)
def error(y, targets, weights, by_y):
    """The squared error of a tile, and its gradient by the values.

    Args:
        y: float32 ``[n, c]``, the values.
        targets: float32 ``[n, c]``.
        weights: float32 ``[n]``, weight of each sample; ``[0]`` if all are 1.
        by_y: float32 ``[n, c]``, written.
    """
    total = 0.0
    for s in range(y.shape[0]):
        weight = weights[s] if weights.shape[0] > 0 else _F(1)
        part = _F(0)
        for o in range(y.shape[1]):
            difference = y[s, o] - targets[s, o]
            part += difference * difference
            by_y[s, o] = _F(2) * weight * difference
        total += float(weight * part)
    return total


@kernel(nogil=True, fastmath=_FAST)
def output_backward(by_y, h, c, weight, factor, by_z, by_weight, by_bias, by_bias_before):
    """Gradient by the product of the last hidden layer, from the gradient by the values.

    Args:
        by_y: float32 ``[n, c]``, the gradient by the values.
        h: ``[rows, in or more]``, the input of the output layer.
        c: likewise, the cosines; ``[0, in]`` to stop at the sines.
        weight: float32 ``[c, in]``, weights of the output layer, multiplied by its factor.
        factor: factor of the output layer.
        by_z: as h, written: the gradient by the product of the layer before, or by its sines.
        by_weight: float32 ``[c, in]``, added to.
        by_bias: float32 ``[c]``, added to.
        by_bias_before: float32 ``[in]``, added to: by the bias of the layer before.
    """
    width, channels = weight.shape[1], weight.shape[0]
    features, back = np.empty(width, dtype=np.float32), np.empty(width, dtype=np.float32)
    total_weight, total_bias = np.zeros((channels, width), dtype=np.float32), np.zeros(channels, dtype=np.float32)
    total_before = np.zeros(width, dtype=np.float32)
    for s in range(by_y.shape[0]):
        row, to = h[s], by_z[s]
        for j in range(width):
            features[j] = _load(row, j)
            back[j] = _F(0)
        for o in range(channels):
            g, of, total = by_y[s, o], weight[o], total_weight[o]
            total_bias[o] += g
            for j in range(width):
                back[j] += g * of[j]
            for j in range(width):
                total[j] += g * features[j]
        if c.shape[0] > 0:
            cosines = c[s]
            for j in range(width):
                product = back[j] * _load(cosines, j)
                total_before[j] += product
                _store(to, j, product)
        else:
            for j in range(width):
                _store(to, j, back[j])
    for o in range(channels):
        by_bias[o] += factor * total_bias[o]
        for j in range(width):
            by_weight[o, j] += factor * total_weight[o, j]
    for j in range(width):
        by_bias_before[j] += total_before[j]


@kernel(nogil=True, fastmath=_FAST)
def sine_backward(n, g, c, by_z, by_bias):
    """Gradient by a layer's product and bias, from that by its sines.

    Args:
        n: number of rows.
        g: ``[rows, out or more]``, the gradient by the sines.
        c: likewise, the cosines.
        by_z: likewise, written; float32 where its rows are.
        by_bias: float32 ``[out]``, added to.
    """
    total = np.zeros(by_bias.shape[0], dtype=np.float32)
    for s in range(n):
        row, cosines, to = g[s], c[s], by_z[s]
        for j in range(total.shape[0]):
            product = _load(row, j) * _load(cosines, j)
            total[j] += product
            _store(to, j, product)
    for j in range(total.shape[0]):
        by_bias[j] += total[j]


@kernel(nogil=True, fastmath=_FAST)
def first_backward(x, g, c, weight, by_weight, by_bias, by_x):
    """Gradient by the first layer's parameters and, if needed, by the coordinates.

    Args:
        x: float32 ``[n, d]``.
        g: ``[rows, out or more]``, the gradient by the sines.
        c: likewise, the cosines.
        weight: float32 ``[out, d]``.
        by_weight: float32 ``[out, d]``, added to.
        by_bias: float32 ``[out]``, added to.
        by_x: float32 ``[n, d]``, written; ``[0, d]`` if not needed.
    """
    width = by_bias.shape[0]
    product, total = np.empty(width, dtype=np.float32), np.zeros(width, dtype=np.float32)
    totals = np.zeros((x.shape[1], width), dtype=np.float32)
    for s in range(x.shape[0]):
        point, row, cosines = x[s], g[s], c[s]
        for j in range(width):
            product[j] = _load(row, j) * _load(cosines, j)
        for j in range(width):
            total[j] += product[j]
        for i in range(x.shape[1]):
            at, to = point[i], totals[i]
            for j in range(width):
                to[j] += at * product[j]
        if by_x.shape[0] > 0:
            for i in range(x.shape[1]):
                of = _F(0)
                for j in range(width):
                    of += weight[j, i] * product[j]
                by_x[s, i] = of
    for j in range(width):
        by_bias[j] += total[j]
        for i in range(x.shape[1]):
            by_weight[j, i] += totals[i, j]
