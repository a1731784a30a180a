"""Compiled passes of the tiled engine's second derivatives (numba); see :mod:`partinr.engines._sine_kernels`.

A layer's activations h and their derivatives dh along a direction are adjacent, ``[rows, 2 width]``, so that one
product handles both. The same holds for the gradients g by them and their derivatives dg. All numbers are in single
precision.
"""

# numba's decorators have no types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

import numpy as np

from partinr.engines._cached import kernel
from partinr.engines._sincos import sincos

_FAST = {"contract", "reassoc", "nsz", "arcp"}
_SINE = {"contract", "nsz"}

_F = np.float32


@kernel(nogil=True, fastmath=_SINE)
def _wave(z, dz, factor, h, dh, cosine, bend):
    """Evaluate a layer's sines at one sample, from its affine map and the derivative of that."""
    for j in range(z.shape[0]):
        s, c = sincos(z[j])
        h[j] = s
        dh[j] = c * dz[j]
        cosine[j] = factor * c
        bend[j] = factor * s * dz[j]


@kernel(nogil=True, fastmath=_SINE)
def first(x, weight, bias, along_weight, along_bias, factor, both, cosine, bend):
    """Evaluate the first layer; parameters and direction already include the factor.

    Args:
        x: float32 ``[n, d]``.
        weight: float32 ``[d, out]``.
        bias: float32 ``[out]``.
        along_weight: as weight, the direction.
        along_bias: as bias.
        factor: factor of the layer.
        both: ``[rows, 2 out]``, written: sines, and their derivatives.
        cosine: ``[rows, out]``, written: factor times the cosines.
        bend: likewise: factor times sines times derivative of the affine map.
    """
    width = bias.shape[0]
    z, dz = np.empty(width, dtype=np.float32), np.empty(width, dtype=np.float32)
    for s in range(x.shape[0]):
        point = x[s]
        for j in range(width):
            z[j] = bias[j]
            dz[j] = along_bias[j]
        for i in range(weight.shape[0]):
            row, way, at = weight[i], along_weight[i], point[i]
            for j in range(width):
                z[j] += at * row[j]
                dz[j] += at * way[j]
        _wave(z, dz, factor, both[s, :width], both[s, width:], cosine[s], bend[s])


@kernel(nogil=True, fastmath=_SINE)
def sine(n, product, along, bias, along_bias, factor, both, cosine, bend):
    """Evaluate a hidden layer after its products; the biases already include the factor.

    Args:
        n: rows.
        product: ``[rows, out]``, of the activations before it.
        along: likewise, its derivative.
        bias: float32 ``[out]``.
        along_bias: likewise.
        factor: factor of the layer.
        both: as for :func:`first`.
        cosine: likewise.
        bend: likewise.
    """
    width = bias.shape[0]
    z, dz = np.empty(width, dtype=np.float32), np.empty(width, dtype=np.float32)
    for s in range(n):
        row, way = product[s], along[s]
        for j in range(width):
            z[j] = factor * row[j] + bias[j]
            dz[j] = factor * way[j] + along_bias[j]
        _wave(z, dz, factor, both[s, :width], both[s, width:], cosine[s], bend[s])


@kernel(nogil=True, fastmath=_FAST)
def output(n, both, weight, bias, along_weight, along_bias, factor, targets, weights, back, by_weight, by_bias):
    """Evaluate output layer and squared error, and go back to the layer's input. Weights and biases include the factor.

    Args:
        n: rows.
        both: ``[rows, 2 in]``.
        weight: float32 ``[c, in]``.
        bias: float32 ``[c]``.
        along_weight: as weight.
        along_bias: as bias.
        factor: factor of the layer.
        targets: float32 ``[n, c]``.
        weights: float32 ``[n]``, weight of each sample; ``[0]`` if all are 1.
        back: ``[rows, 2 in]``, written: gradients by the activations, and their derivatives.
        by_weight: float32 ``[c, in]``, added to: the product of Hessian and direction.
        by_bias: float32 ``[c]``, added to.
    """
    channels, width = weight.shape
    total, total_bias = np.zeros((channels, width), dtype=np.float32), np.zeros(channels, dtype=np.float32)
    for s in range(n):
        h, dh, g, dg = both[s, :width], both[s, width:], back[s, :width], back[s, width:]
        twice = _F(2) * weights[s] if weights.shape[0] > 0 else _F(2)
        for j in range(width):
            g[j] = _F(0)
            dg[j] = _F(0)
        for o in range(channels):
            of, way, sums = weight[o], along_weight[o], total[o]
            y, dy = _F(0), _F(0)
            for j in range(width):
                y += of[j] * h[j]
                dy += way[j] * h[j] + of[j] * dh[j]
            by, d_by = twice * (y + bias[o] - targets[s, o]), twice * (dy + along_bias[o])
            total_bias[o] += d_by
            for j in range(width):
                g[j] += by * of[j]
                dg[j] += by * way[j] + d_by * of[j]
            for j in range(width):
                sums[j] += d_by * h[j] + by * dh[j]
    for o in range(channels):
        by_bias[o] += factor * total_bias[o]
        for j in range(width):
            by_weight[o, j] += factor * total[o, j]


@kernel(nogil=True, fastmath=_FAST)
def sine_backward(n, back, cosine, bend, into, by_bias):
    """Gradients by a layer's product from those by its sines, each with its derivative.

    Args:
        n: rows.
        back: ``[rows, 2 out]``.
        cosine: from :func:`first`.
        bend: likewise.
        into: ``[rows, 2 out]``, written.
        by_bias: float32 ``[out]``, added to.
    """
    width = by_bias.shape[0]
    total = np.zeros(width, dtype=np.float32)
    for s in range(n):
        g, dg, c, b = back[s, :width], back[s, width:], cosine[s], bend[s]
        by, d_by = into[s, :width], into[s, width:]
        for j in range(width):
            by[j] = g[j] * c[j]
        for j in range(width):
            derivative = dg[j] * c[j] - g[j] * b[j]
            total[j] += derivative
            d_by[j] = derivative
    for j in range(width):
        by_bias[j] += total[j]


@kernel(nogil=True, fastmath=_FAST)
def first_backward(x, back, cosine, bend, by_weight, by_bias):
    """Gradients by the first layer's parameters, with their derivatives.

    Args:
        x: float32 ``[n, d]``.
        back: ``[rows, 2 out]``.
        cosine: from :func:`first`.
        bend: likewise.
        by_weight: float32 ``[out, d]``, added to.
        by_bias: float32 ``[out]``, added to.
    """
    width = by_bias.shape[0]
    product, total = np.empty(width, dtype=np.float32), np.zeros(width, dtype=np.float32)
    totals = np.zeros((x.shape[1], width), dtype=np.float32)
    for s in range(x.shape[0]):
        point, g, dg, c, b = x[s], back[s, :width], back[s, width:], cosine[s], bend[s]
        for j in range(width):
            product[j] = dg[j] * c[j] - g[j] * b[j]
        for j in range(width):
            total[j] += product[j]
        for i in range(x.shape[1]):
            at, to = point[i], totals[i]
            for j in range(width):
                to[j] += at * product[j]
    for j in range(width):
        by_bias[j] += total[j]
        for i in range(x.shape[1]):
            by_weight[j, i] += totals[i, j]
