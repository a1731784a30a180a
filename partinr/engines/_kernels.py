"""Compiled kernels of the fused engine (numba). The first use imports them, since numba takes a second.

The parameters of network n are one row ``params[n]``: weights ``[out, in]`` and biases of each layer, at the offsets in
``layers[k] = (in, out, offset of the weights, offset of the biases)``. Layer k is the sine of ``factor[k]`` times the
affine map; the last layer has no sine.

Work is cut into tiles: samples ``start[t]`` to ``start[t + 1]`` belong to network ``owner[t]``. A tile's features fit
into the cache of one core. Features are the first axis, so that the innermost loop runs along the samples and is
vectorised. Gradients by the parameters are summed in runs: a run is a sequence of tiles of one network on one thread.
Runs write to separate places in a fixed order, so results do not depend on the number of threads.
"""

# numba's decorators have no types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

import math

import numpy as np
from numba import get_thread_id, njit, prange

# Fast math without the assumption that there is no NaN: a NaN loss must stay visible.
_FAST = {"contract", "reassoc", "nsz", "arcp"}

_F = np.float32

# pi in three parts (Cody & Waite 1980), and 1 / pi. The first two parts have so few digits that their products with
# whole numbers are exact.
PI_1, PI_2, PI_3 = _F(3.140625), _F(0.0009670257568359375), _F(6.277114152908325e-7)
INVERSE_PI = _F(1 / math.pi)
# Added to a float32 of up to 2^22, it leaves the nearest whole number in the last bits.
WHOLE = _F(1.5 * 2**23)


@njit(cache=True)
def signed(x, sign):
    """A float32 with its sign flipped where the highest bit of the uint32 ``sign`` is set."""
    return np.uint32(_F(x).view(np.uint32) ^ sign).view(np.float32)


# Without "reassoc", which would merge the three steps of the reduction.
@njit(fastmath={"contract"}, cache=True)
def sincos(x):
    """Sine and cosine of a float32, to 2e-7 for |x| up to 1e3, 5e-7 up to 1e4: minimax polynomials on [-pi/2, pi/2].

    From 2e5 on, single precision has hardly a digit of the angle, and the result is arbitrary.
    """
    shifted = x * INVERSE_PI + WHOLE
    k = shifted - WHOLE
    r = ((x - k * PI_1) - k * PI_2) - k * PI_3
    # A huge angle is reduced inaccurately, and a polynomial is unbounded. (Zero times NaN or infinity is NaN.)
    r = r * _F(abs(r) < _F(1.6))
    # Odd multiples of pi flip the sign, which is the highest bit.
    sign = np.uint32(_F(shifted).view(np.uint32) << np.uint32(31))
    q = r * r
    sine = r + r * q * (_F(-0.16666657) + q * (_F(8.333017e-3) + q * (_F(-1.9806609e-4) + q * _F(2.6000395e-6))))
    cosine = _F(1) + q * (
        _F(-0.5) + q * (_F(4.1666642e-2) + q * (_F(-1.3888404e-3) + q * (_F(2.4761879e-5) + q * _F(-2.6076961e-7))))
    )
    return signed(sine, sign), signed(cosine, sign)


@njit(fastmath=_FAST, cache=True)
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


@njit(fastmath=_FAST, cache=True)
def _parameter_gradient(g, h, layer, factor, q, n):
    """Write the gradient by ``W`` and ``b`` into ``q`` at the layer's offsets, from ``g [out, n]``."""
    n_in, n_out, weight, bias = layer
    for o in range(n_out):
        row = weight + o * n_in
        total = _F(0)
        for s in range(n):
            total += g[o, s]
        q[bias + o] = total * factor
        i = 0
        while i + 4 <= n_in:
            t0, t1, t2, t3 = _F(0), _F(0), _F(0), _F(0)
            for s in range(n):
                t0 += g[o, s] * h[i, s]
                t1 += g[o, s] * h[i + 1, s]
                t2 += g[o, s] * h[i + 2, s]
                t3 += g[o, s] * h[i + 3, s]
            q[row + i], q[row + i + 1], q[row + i + 2], q[row + i + 3] = (
                t0 * factor,
                t1 * factor,
                t2 * factor,
                t3 * factor,
            )
            i += 4
        while i < n_in:
            t0 = _F(0)
            for s in range(n):
                t0 += g[o, s] * h[i, s]
            q[row + i] = t0 * factor
            i += 1


@njit(fastmath=_FAST, cache=True)
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


@njit(parallel=True, fastmath=_FAST, cache=True)
def forward(x, params, owner, start, layers, factor, scratch, y):
    """Values of all networks.

    Args:
        x: float32 ``[M, d]``.
        params: float32 ``[N, P]``.
        owner: int64 ``[tiles]``.
        start: int64 ``[tiles + 1]``.
        layers: int64 ``[L, 4]``.
        factor: float32 ``[L]``.
        scratch: float32 ``[threads, 2, widest, longest tile]``.
        y: float32 ``[M, c]``, written.
    """
    last = layers.shape[0] - 1
    for t in prange(owner.shape[0]):
        me = get_thread_id()
        p, a = params[owner[t]], start[t]
        n = start[t + 1] - a
        h, z = scratch[me, 0], scratch[me, 1]
        for i in range(layers[0, 0]):
            for s in range(n):
                h[i, s] = x[a + s, i]
        for k in range(last + 1):
            layer = (layers[k, 0], layers[k, 1], layers[k, 2], layers[k, 3])
            _affine(p, layer, factor[k], h, z, n)
            if k < last:
                for o in range(layer[1]):
                    for s in range(n):
                        h[o, s] = sincos(z[o, s])[0]
        for o in range(layers[last, 1]):
            for s in range(n):
                y[a + s, o] = z[o, s]


@njit(fastmath=_FAST, cache=True)
def _keep_forward(x, p, layers, factor, work, a, n):
    """Evaluate samples ``a`` to ``a + n`` up to the last layer; ``work`` keeps values for the backward pass.

    The input of layer k is at 2 k, the cosines at its output at 2 k + 1; two spare planes follow.
    """
    last = layers.shape[0] - 1
    for i in range(layers[0, 0]):
        for s in range(n):
            work[0, i, s] = x[a + s, i]
    for k in range(last):
        layer = (layers[k, 0], layers[k, 1], layers[k, 2], layers[k, 3])
        z, after = work[2 * k + 1], work[2 * k + 2]
        spare = work[2 * last + 1]
        _affine(p, layer, factor[k], work[2 * k], spare, n)
        for o in range(layer[1]):
            for s in range(n):
                after[o, s], z[o, s] = sincos(spare[o, s])


@njit(fastmath=_FAST, cache=True)
def _back(p, layers, factor, work, n, q, gx, a):
    """Gradients by parameters and coordinates, from that by the values in the plane ``2 L`` of ``work``.

    They are written into ``q`` and, if it has rows, into ``gx`` from ``a`` on.
    """
    last = layers.shape[0] - 1
    g, r = work[2 * last + 2], work[2 * last + 3]
    for k in range(last, -1, -1):
        layer = (layers[k, 0], layers[k, 1], layers[k, 2], layers[k, 3])
        _parameter_gradient(g, work[2 * k], layer, factor[k], q, n)
        if k > 0:
            _input_gradient(p, layer, factor[k], g, r, n)
            cosine = work[2 * k - 1]
            for i in range(layer[0]):
                for s in range(n):
                    g[i, s] = r[i, s] * cosine[i, s]
        elif gx.shape[0] > 0:
            _input_gradient(p, layer, factor[k], g, r, n)
            for i in range(layer[0]):
                for s in range(n):
                    gx[a + s, i] = r[i, s]


@njit(fastmath=_FAST, cache=True)
def _add(total, part):
    """``total += part``, both ``[P]``."""
    for i in range(total.shape[0]):
        total[i] += part[i]


@njit(parallel=True, fastmath=_FAST, cache=True)
def backward(x, gy, params, owner, start, run, layers, factor, scratch, spare, q, gx):
    """Gradients of a scalar by parameters and coordinates; recomputes activations.

    Args:
        x: as for :func:`forward`.
        gy: float32 ``[M, c]``, the gradient by the values.
        params: as for :func:`forward`.
        owner: likewise.
        start: likewise.
        run: int64 ``[runs + 1]``, the first tile of each run, followed by the number of tiles.
        layers: as for :func:`forward`.
        factor: likewise.
        scratch: float32 ``[threads, 2 L + 2, widest, longest tile]``.
        spare: float32 ``[threads, P or more]``.
        q: float32 ``[runs, P]``, written: gradients by the parameters of each run's network.
        gx: float32 ``[M, d]``, written; ``[0, d]`` if not needed.
    """
    last = layers.shape[0] - 1
    for r in prange(q.shape[0]):
        me = get_thread_id()
        work = scratch[me]
        for t in range(run[r], run[r + 1]):
            p, a = params[owner[t]], start[t]
            n = start[t + 1] - a
            _keep_forward(x, p, layers, factor, work, a, n)
            g = work[2 * last + 2]
            for o in range(layers[last, 1]):
                for s in range(n):
                    g[o, s] = gy[a + s, o]
            into = q[r] if t == run[r] else spare[me]
            _back(p, layers, factor, work, n, into, gx, a)
            if t > run[r]:
                _add(q[r], into)


@njit(parallel=True, fastmath=_FAST, cache=True)
def error(x, y, weight, params, owner, start, run, layers, factor, scratch, spare, q, total):
    """The squared error, and its gradient by the parameters, in one pass.

    Args:
        x: as for :func:`forward`.
        y: float32 ``[M, c]``, the targets.
        weight: float32 ``[M]``, weight of each sample; ``[0]`` if all are 1.
        params: as for :func:`forward`.
        owner: likewise.
        start: likewise.
        run: as for :func:`backward`.
        layers: as for :func:`forward`.
        factor: likewise.
        scratch: as for :func:`backward`.
        spare: likewise.
        q: likewise.
        total: float64 ``[runs]``, written: the error of each run.
    """
    last = layers.shape[0] - 1
    nowhere = x[:0].copy()
    for r in prange(q.shape[0]):
        me = get_thread_id()
        work, of_run = scratch[me], 0.0
        for t in range(run[r], run[r + 1]):
            p, a = params[owner[t]], start[t]
            n = start[t + 1] - a
            _keep_forward(x, p, layers, factor, work, a, n)
            z, g = work[2 * last + 1], work[2 * last + 2]
            layer = (layers[last, 0], layers[last, 1], layers[last, 2], layers[last, 3])
            _affine(p, layer, factor[last], work[2 * last], z, n)
            subtotal = _F(0)
            for o in range(layer[1]):
                part = _F(0)
                for s in range(n):
                    difference = z[o, s] - y[a + s, o]
                    scaled = difference * weight[a + s] if weight.shape[0] > 0 else difference
                    part += difference * scaled
                    g[o, s] = _F(2) * scaled
                subtotal += part
            of_run += float(subtotal)
            into = q[r] if t == run[r] else spare[me]
            _back(p, layers, factor, work, n, into, nowhere, a)
            if t > run[r]:
                _add(q[r], into)
        total[r] = of_run
