"""Adam as a compiled kernel (numba)."""

# numba's decorators have no types.
# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from partinr.engines._cached import kernel

_F = np.float32


# Divisions without a check for zero, so that the loop is vectorised.
@njit(error_model="numpy")
def adam_of_one(p, q, m, v, rates, decays, scale):
    """One step of Adam or AdamW (Kingma & Ba 2015; Loshchilov & Hutter 2019), in the order of torch's operations.

    Args:
        p: parameters ``[P]``, changed.
        q: the gradient before ``scale``.
        m: mean of gradients, changed.
        v: mean of squares, changed.
        rates: the learning rate over the mean's bias correction; the root of the squares' correction; the factor of
            weight decay.
        decays: beta 1, beta 2, epsilon.
        scale: factor of the gradient.
    """
    rate, root, shrink = rates[0], rates[1], rates[2]
    beta_1, beta_2, epsilon = decays[0], decays[1], decays[2]
    rest_1, rest_2 = _F(1) - beta_1, _F(1) - beta_2
    for i in range(p.shape[0]):
        g = q[i] * scale
        m[i] = beta_1 * m[i] + rest_1 * g
        v[i] = beta_2 * v[i] + rest_2 * g * g
        p[i] = p[i] * shrink - rate * (m[i] / (np.sqrt(v[i]) / root + epsilon))


@kernel(nogil=True)
def adam(params, q, mean, square, rates, decays, scale):
    """One step of all networks, ``[N, P]`` each; see :func:`adam_of_one`."""
    for n in range(params.shape[0]):
        adam_of_one(params[n], q[n], mean[n], square[n], rates, decays, scale)


@cache
def compiled_adam() -> Any:
    """:func:`adam`, compiled, so that the training clock does not count it."""
    row, three = np.zeros((1, 1), dtype=np.float32), np.ones(3, dtype=np.float32)
    adam(row, row, row.copy(), row.copy(), three, three, _F(1))
    return adam
