"""Compiled kernels of the fused engine (numba). The first use imports them, since numba takes a second.

The parameters of network n are one row ``params[n]``: weights ``[out, in]`` and biases of each layer, at the offsets in
``layers[k] = (in, out, offset of the weights, offset of the biases)``. Layer k is the sine of ``factor[k]`` times the
affine map; the last layer has no sine.

Work is cut into tiles: samples ``start[t]`` to ``start[t + 1]`` belong to network ``owner[t]``. Features are the first
axis of a tile, and products keep blocks of 4 features by 2 vectors of samples in registers. A block of samples goes
through all layers and back to the coordinates while it is in the innermost cache; then the gradients by the parameters
are summed over the tile, layer by layer.

Gradients by the parameters are summed in runs: a run is a sequence of tiles of one network on one thread. Runs write to
separate places in a fixed order, so results do not depend on the number of threads. Each thread calls a kernel, and the
kernels share a counter of pieces: a thread that has lost its core delays the others by one piece at most.
"""

# Numba's decorators have no types, and its intrinsics have one argument more than their callers see.
# mypy: ignore-errors

import numpy as np
from numba import njit

from partinr.engines._adam import adam_of_one
from partinr.engines._blocks import BLOCK, input_gradient, output, parameter_gradient, sines, sums_4
from partinr.engines._cached import kernel
from partinr.engines._vectors import LANES, fma, lane, load, next_of, splat, store

_F = np.float32


@njit(forceinline=True)
def _layer(layers, k):
    return layers[k, 0], layers[k, 1], layers[k, 2], layers[k, 3]


@njit
def _samples(table, a, n, s, at, line):
    """Copy samples ``a`` to ``a + n`` of a table ``[M, features]`` to rows of the scratch; zeros fill up a block."""
    whole = -(-n // BLOCK) * BLOCK
    rows = table[a : a + n]  # a slice once, so that the loops need no check for negative positions
    for i in range(table.shape[1]):
        row = s[at + i * line : at + i * line + whole]
        for t in range(n):
            row[t] = rows[t, i]
        row[n:] = _F(0)


@njit
def _tile_in(x, y, weight, a, n, layers, s, line, wide):
    """Copy a tile's coordinates, targets and weights to the scratch."""
    after = 2 * layers.shape[0] * wide * line
    _samples(x, a, n, s, 0, line)
    _samples(y, a, n, s, after, line)
    row = s[after + wide * line : after + wide * line + -(-n // BLOCK) * BLOCK]
    row[:n] = weight[a : a + n] if weight.shape[0] > 0 else s[after + wide * line + line :][:n]
    row[n:] = _F(0)


@njit
def _ones(layers, s, line, wide):
    """Write those places of the scratch that are always 1."""
    ones = (2 * layers.shape[0] + 1) * wide * line + line
    s[ones : ones + line + wide * BLOCK] = _F(1)


@njit
def _tile(p, n, given, by_x, layers, factor, s, line, wide, q):
    """Forward and backward pass of a tile that is in the scratch; returns the squared error.

    The scratch has the inputs of each layer, ``[wide, line]`` each; the gradients at the output of each layer; targets;
    a row of weights and one of ones; and for one block the cosines that belong to the inputs of each layer (those of
    the first layer are ones).

    Args:
        p: parameters of the network.
        n: number of samples.
        given: whether the targets are the gradients by the values instead.
        by_x: whether to compute the gradient by the coordinates, in the place of the coordinates.
        layers: as for :func:`forward`.
        factor: likewise.
        s: the scratch.
        line: length of a row.
        wide: rows of a layer.
        q: the gradient by the parameters, written.
    """
    last, plane = layers.shape[0] - 1, wide * line
    whole = -(-n // BLOCK) * BLOCK
    back = (last + 1) * plane
    target = 2 * back
    weights = target + plane
    ones = weights + line
    cosines = ones + line
    channels = layers[last, 1]
    error = splat(_F(0))
    for t in range(0, whole, BLOCK):
        for k in range(last):
            cosine = cosines + (k + 1) * wide * BLOCK
            sines(p, _layer(layers, k), factor[k], s, k * plane + t, line, (k + 1) * plane + t, cosine)
        at = back + last * plane + t
        if not given:
            output(p, _layer(layers, last), factor[last], s, last * plane + t, line, at)
        for o in range(channels):
            for u in range(t, t + BLOCK, LANES):
                g, y = back + last * plane + o * line + u, load(s, target + o * line + u)
                if given:
                    store(s, g, y)
                else:
                    difference = load(s, g) - y
                    weighed = difference * load(s, weights + u)
                    error = fma(difference, weighed, error)
                    store(s, g, weighed + weighed)
        for k in range(last, 0, -1):
            cosine = cosines + k * wide * BLOCK
            at = back + k * plane + t
            input_gradient(p, _layer(layers, k), factor[k], s, at, line, cosine, at - plane)
    for k in range(last + 1):
        parameter_gradient(s, back + k * plane, k * plane, ones, line, whole, _layer(layers, k), factor[k], q)
    if by_x:
        for t in range(0, whole, BLOCK):
            input_gradient(p, _layer(layers, 0), factor[0], s, back + t, line, cosines, t)
    return float(lane(sums_4(error, error, error, error), 0))


@njit
def _run(x, y, weight, given, p, start, t0, t1, loaded, layers, factor, s, line, wide, spare, q, gx):
    """The sum of a run's gradients into ``q``; returns the squared error."""
    error = 0.0
    for t in range(t0, t1):
        a = start[t]
        n = start[t + 1] - a
        if not loaded:
            _tile_in(x, y, weight, a, n, layers, s, line, wide)
        into = q if t == t0 else spare
        error += _tile(p, n, given, gx.shape[0] > 0, layers, factor, s, line, wide, into)
        for i in range(gx.shape[1] if gx.shape[0] > 0 else 0):
            for u in range(n):
                gx[a + u, i] = s[i * line + u]
        if t > t0:
            for i in range(q.shape[0]):
                q[i] += spare[i]
    return error


@kernel(nogil=True)
def forward(counter, scratch, line, wide, x, params, owner, start, layers, factor, y):
    """Values of all networks.

    Args:
        counter: int64 ``[1]``, shared by all threads: the next tile.
        scratch: float32 ``[scratch_size()]``, this thread's.
        line: length of a row in the scratch: the longest tile in whole blocks, or more.
        wide: the most features of a layer.
        x: float32 ``[M, d]``.
        params: float32 ``[N, P]``.
        owner: int64 ``[tiles]``.
        start: int64 ``[tiles + 1]``.
        layers: int64 ``[L, 4]``.
        factor: float32 ``[L]``.
        y: float32 ``[M, c]``, written.
    """
    last, plane = layers.shape[0] - 1, wide * line
    while True:
        t = next_of(counter)
        if t >= owner.shape[0]:
            return
        p, a = params[owner[t]], start[t]
        n = start[t + 1] - a
        _samples(x, a, n, scratch, 0, line)
        for u in range(0, n, BLOCK):
            for k in range(last):
                after, spare = (k + 1) * plane + u, (last + 1) * plane
                sines(p, _layer(layers, k), factor[k], scratch, k * plane + u, line, after, spare)
            output(p, _layer(layers, last), factor[last], scratch, last * plane + u, line, u)
        for o in range(layers[last, 1]):
            for u in range(n):
                y[a + u, o] = scratch[o * line + u]


@kernel(nogil=True)
def gradients(
    counter, scratch, line, wide, given, x, y, weight, params, owner, start, run, layers, factor, q, total, gx
):  # fmt: skip
    """Gradients of the squared error, or of any scalar, by parameters and coordinates, in one pass.

    Args:
        counter: int64 ``[1]``, shared by all threads: the next run.
        scratch: as for :func:`forward`.
        line: likewise.
        wide: likewise.
        given: whether ``y`` has the gradients of the scalar by the values instead of targets.
        x: as for :func:`forward`.
        y: float32 ``[M, c]``, the targets.
        weight: float32 ``[M]``, weight of each sample; ``[0]`` if all are 1.
        params: as for :func:`forward`.
        owner: likewise.
        start: likewise.
        run: int64 ``[runs + 1]``, the first tile of each run, followed by the number of tiles.
        layers: as for :func:`forward`.
        factor: likewise.
        q: float32 ``[runs, P]``, written: gradients by the parameters of each run's network.
        total: float64 ``[runs]``, written: the error of each run.
        gx: float32 ``[M, d]``, written: the gradient by the coordinates; ``[0, d]`` if not needed.
    """
    _ones(layers, scratch, line, wide)
    spare = scratch[scratch.shape[0] - q.shape[1] :]
    while True:
        r = next_of(counter)
        if r >= q.shape[0]:
            return
        p, t0, t1 = params[owner[run[r]]], run[r], run[r + 1]
        total[r] = _run(
            x, y, weight, given, p, start, t0, t1, False, layers, factor, scratch, line, wide, spare, q[r], gx
        )


@kernel(nogil=True)
def steps(
    counter, scratch, line, wide, x, y, weight, params, start, run, first_run, layers, factor, mean, square, rates,
    decays, first, scale, total,
):  # fmt: skip
    """Several steps of Adam on the squared error of each network.

    Networks are trained independently, so each takes all its steps while its samples are in the cache. T sets of
    samples, one after the other, take turns.

    Args:
        counter: int64 ``[1]``, shared by all threads: the next network.
        scratch: as for :func:`forward`.
        line: likewise.
        wide: likewise.
        x: as for :func:`gradients`.
        y: likewise.
        weight: likewise.
        params: float32 ``[N, P]``, changed.
        start: as for :func:`gradients`.
        run: likewise.
        first_run: int64 ``[T N + 1]``, the first run of each network in each set, followed by the number of runs.
        layers: as for :func:`gradients`.
        factor: likewise.
        mean: float32 ``[N, P]``, Adam's mean of gradients, changed.
        square: likewise of their squares.
        rates: float32 ``[steps, 3]``, see :func:`adam_of_one`.
        decays: float32 ``[3]``, likewise.
        first: number of the first step; step ``n`` sees set ``n % T``.
        scale: factor of the gradient.
        total: float64 ``[N]``, written: each network's error before its last step.
    """
    _ones(layers, scratch, line, wide)
    nowhere, size = x[:0].copy(), params.shape[1]
    rows = scratch[scratch.shape[0] - 3 * size :]
    q, of_run, spare = rows[:size], rows[size : 2 * size], rows[2 * size :]
    turns = (first_run.shape[0] - 1) // max(1, params.shape[0])
    while True:
        n = next_of(counter)
        if n >= params.shape[0]:
            return
        p, loaded = params[n], -1
        for step in range(rates.shape[0]):
            own = (first + step) % turns * params.shape[0] + n
            r0, r1 = first_run[own], first_run[own + 1]
            alone = r1 == r0 + 1 and run[r1] == run[r0] + 1
            error = 0.0
            if r0 == r1:
                q[:] = _F(0)
            for r in range(r0, r1):
                into = q if r == r0 else of_run
                error += _run(
                    x, y, weight, False, p, start, run[r], run[r + 1], alone and loaded == own, layers, factor,
                    scratch, line, wide, spare, into, nowhere,
                )  # fmt: skip
                if r > r0:
                    for i in range(size):
                        q[i] += into[i]
            loaded = own
            adam_of_one(p, q, mean[n], square[n], rates[step], decays, scale)
            total[n] = error


@kernel(nogil=True)
def add_runs(q, first_run, into):
    """Add the gradients of runs, ``q [runs, P]``, to those of their networks, ``into [N, P]``, in order."""
    for n in range(into.shape[0]):
        for r in range(first_run[n], first_run[n + 1]):
            for i in range(q.shape[1]):
                into[n, i] += q[r, i]


def scratch_size(layers, line, wide, parameters):
    """Numbers in a thread's scratch: what :func:`_tile` keeps, and three rows of parameters."""
    return (2 * layers + 1) * wide * line + 2 * line + layers * wide * BLOCK + 3 * parameters
