"""Compiled kernels for the second derivatives of a squared error (numba); see :mod:`partinr.engines._kernels`.

The Hessian of the error times a direction in the parameters is the derivative of the gradient along it. A tile is
therefore evaluated forward and backward as for the gradient, and each number is accompanied by its derivative along the
direction.
"""

# Numba's decorators have no types, and its intrinsics have one argument more than their callers see.
# mypy: ignore-errors

import numpy as np

from partinr.engines._cached import kernel
from partinr.engines._sincos import sincos
from partinr.engines._vectors import next_of

# Fast math without the assumption that there is no NaN: a NaN must stay visible.
_FAST = {"contract", "reassoc", "nsz", "arcp"}

_F = np.float32

KEPT = 4
"""Number of scratch planes per layer."""

SPARE = 5
"""Number of further scratch planes."""


@kernel(fastmath=_FAST)
def _affine(p, layer, factor, h, z, n):
    """``z = factor (W h + b)``: from ``[in, n]`` to ``[out, n]``; four inputs at a time, to touch z less often."""
    n_in, n_out, weight, bias = layer
    for o in range(n_out):
        row = weight + o * n_in
        b = p[bias + o] * factor
        for s in range(n):
            z[o, s] = b
        i = 0
        while i + 4 <= n_in:
            w0, w1, w2, w3 = (
                p[row + i] * factor,
                p[row + i + 1] * factor,
                p[row + i + 2] * factor,
                p[row + i + 3] * factor,
            )
            for s in range(n):
                z[o, s] += (w0 * h[i, s] + w1 * h[i + 1, s]) + (w2 * h[i + 2, s] + w3 * h[i + 3, s])
            i += 4
        while i < n_in:
            w0 = p[row + i] * factor
            for s in range(n):
                z[o, s] += w0 * h[i, s]
            i += 1


@kernel(fastmath=_FAST)
def _affine_along(p, v, layer, factor, h, dh, dz, n):
    """``dz = factor (V h + v + W dh)``: from ``[in, n]`` to ``[out, n]``."""
    n_in, n_out, weight, bias = layer
    for o in range(n_out):
        row = weight + o * n_in
        b = v[bias + o] * factor
        for s in range(n):
            dz[o, s] = b
        i = 0
        while i + 2 <= n_in:
            v0, v1 = v[row + i] * factor, v[row + i + 1] * factor
            w0, w1 = p[row + i] * factor, p[row + i + 1] * factor
            for s in range(n):
                dz[o, s] += (v0 * h[i, s] + v1 * h[i + 1, s]) + (w0 * dh[i, s] + w1 * dh[i + 1, s])
            i += 2
        while i < n_in:
            v0, w0 = v[row + i] * factor, p[row + i] * factor
            for s in range(n):
                dz[o, s] += v0 * h[i, s] + w0 * dh[i, s]
            i += 1


@kernel(fastmath=_FAST)
def _parameter_gradient_along(g, dg, h, dh, layer, factor, q, n):
    """Write the derivative of the gradient by ``W`` and ``b`` into ``q``."""
    n_in, n_out, weight, bias = layer
    for o in range(n_out):
        row = weight + o * n_in
        total = _F(0)
        for s in range(n):
            total += dg[o, s]
        q[bias + o] = total * factor
        i = 0
        while i + 2 <= n_in:
            t0, t1 = _F(0), _F(0)
            for s in range(n):
                t0 += dg[o, s] * h[i, s] + g[o, s] * dh[i, s]
                t1 += dg[o, s] * h[i + 1, s] + g[o, s] * dh[i + 1, s]
            q[row + i], q[row + i + 1] = t0 * factor, t1 * factor
            i += 2
        while i < n_in:
            t0 = _F(0)
            for s in range(n):
                t0 += dg[o, s] * h[i, s] + g[o, s] * dh[i, s]
            q[row + i] = t0 * factor
            i += 1


@kernel(fastmath=_FAST)
def _input_gradient(p, layer, factor, g, r, n):
    """``r = factor W^T g``: from ``[out, n]`` to ``[in, n]``."""
    n_in, n_out, weight, _ = layer
    for i in range(n_in):
        for s in range(n):
            r[i, s] = _F(0)
        o = 0
        while o + 4 <= n_out:
            at = weight + o * n_in + i
            w0, w1, w2, w3 = p[at] * factor, p[at + n_in] * factor, p[at + 2 * n_in] * factor, p[at + 3 * n_in] * factor
            for s in range(n):
                r[i, s] += (w0 * g[o, s] + w1 * g[o + 1, s]) + (w2 * g[o + 2, s] + w3 * g[o + 3, s])
            o += 4
        while o < n_out:
            w0 = p[weight + o * n_in + i] * factor
            for s in range(n):
                r[i, s] += w0 * g[o, s]
            o += 1


@kernel(fastmath=_FAST)
def _input_gradient_along(p, v, layer, factor, g, dg, dr, n):
    """``dr = factor (V^T g + W^T dg)``: from ``[out, n]`` to ``[in, n]``."""
    n_in, n_out, weight, _ = layer
    for i in range(n_in):
        for s in range(n):
            dr[i, s] = _F(0)
        o = 0
        while o + 2 <= n_out:
            at = weight + o * n_in + i
            v0, v1, w0, w1 = v[at] * factor, v[at + n_in] * factor, p[at] * factor, p[at + n_in] * factor
            for s in range(n):
                dr[i, s] += (v0 * g[o, s] + v1 * g[o + 1, s]) + (w0 * dg[o, s] + w1 * dg[o + 1, s])
            o += 2
        while o < n_out:
            at = weight + o * n_in + i
            v0, w0 = v[at] * factor, p[at] * factor
            for s in range(n):
                dr[i, s] += v0 * g[o, s] + w0 * dg[o, s]
            o += 1


@kernel(nogil=True, fastmath=_FAST)
def curvature(counter, work, spare, x, y, weight, params, along, owner, start, run, layers, factor, q):
    """The Hessian of the squared error times a direction in the parameters.

    Each thread calls it.

    Args:
        counter: int64 ``[1]``, shared by all threads: the next run.
        work: float32 ``[KEPT L + SPARE, widest, longest tile]``, this thread's. Layer k has its input h in plane
            KEPT k, then the cosines at its output, the derivative dz of its affine map and the derivative dh of its
            input.
        spare: float32 ``[P]``, this thread's.
        x: float32 ``[M, d]``.
        y: float32 ``[M, c]``, the targets.
        weight: float32 ``[M]``, weight of each sample; ``[0]`` if all are 1.
        params: float32 ``[N, P]``.
        along: float32 ``[N, P]``, the direction.
        owner: int64 ``[tiles]``.
        start: int64 ``[tiles + 1]``.
        run: int64 ``[runs + 1]``: tiles ``run[r]`` to ``run[r + 1]`` have one network, and one thread sums them.
        layers: int64 ``[L, 4]``.
        factor: float32 ``[L]``.
        q: float32 ``[runs, P]``, written: the product, for each run's network.
    """
    last = layers.shape[0] - 1
    while True:
        r = next_of(counter)
        if r >= q.shape[0]:
            return
        for t in range(run[r], run[r + 1]):
            p, v, a = params[owner[t]], along[owner[t]], start[t]
            into = q[r] if t == run[r] else spare
            n = start[t + 1] - a
            behind = KEPT * (last + 1)
            z, g, dg, back, dr = work[behind], work[behind + 1], work[behind + 2], work[behind + 3], work[behind + 4]
            for i in range(layers[0, 0]):
                for s in range(n):
                    work[0, i, s] = x[a + s, i]
                    work[3, i, s] = _F(0)
            for k in range(last + 1):
                layer = (layers[k, 0], layers[k, 1], layers[k, 2], layers[k, 3])
                h, cosine, dz, dh = work[KEPT * k], work[KEPT * k + 1], work[KEPT * k + 2], work[KEPT * k + 3]
                _affine(p, layer, factor[k], h, z, n)
                _affine_along(p, v, layer, factor[k], h, dh, dz, n)
                if k < last:
                    after, d_after = work[KEPT * (k + 1)], work[KEPT * (k + 1) + 3]
                    for o in range(layer[1]):
                        for s in range(n):
                            after[o, s], cosine[o, s] = sincos(z[o, s])
                            d_after[o, s] = cosine[o, s] * dz[o, s]
            dy = work[KEPT * last + 2]
            for o in range(layers[last, 1]):
                for s in range(n):
                    twice = _F(2) * weight[a + s] if weight.shape[0] > 0 else _F(2)
                    g[o, s] = twice * (z[o, s] - y[a + s, o])
                    dg[o, s] = twice * dy[o, s]
            for k in range(last, -1, -1):
                layer = (layers[k, 0], layers[k, 1], layers[k, 2], layers[k, 3])
                _parameter_gradient_along(g, dg, work[KEPT * k], work[KEPT * k + 3], layer, factor[k], into, n)
                if k > 0:
                    _input_gradient(p, layer, factor[k], g, back, n)
                    _input_gradient_along(p, v, layer, factor[k], g, dg, dr, n)
                    sine, cosine, dz = work[KEPT * k], work[KEPT * k - 3], work[KEPT * k - 2]
                    for i in range(layer[0]):
                        for s in range(n):
                            g[i, s] = back[i, s] * cosine[i, s]
                            dg[i, s] = dr[i, s] * cosine[i, s] - back[i, s] * sine[i, s] * dz[i, s]
            if t > run[r]:
                for i in range(into.shape[0]):
                    q[r, i] += into[i]
