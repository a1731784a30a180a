"""Second derivatives of thin networks on the CPU: the fused engine with a direction in the parameters."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from torch import Tensor

from partinr.engines.base import Observations
from partinr.engines.chain import Chain, factors_of, pack, rows_of, tensors_of, unpack


def fused_curvature(chain: Chain, along: Chain, observed: Observations) -> list[Tensor]:
    """The Hessian of N networks' squared error times a direction, see :data:`partinr.engines.base.HessianVector`."""
    from partinr.engines import _numba  # takes a second

    _numba.ready_kernels()
    kernels, tensors = _compiled(), tensors_of(chain)
    layers, packed = pack(tensors, factors_of(chain))
    rows = packed, rows_of(tensors_of(along)).contiguous()
    planes = {"kept": kernels.KEPT, "further": kernels.SPARE}
    found = _numba.run(kernels.curvature, observed.arrays(), rows, observed.sizes, layers, **planes)
    return unpack(found, [tensor.shape for tensor in tensors])


@cache
def _compiled() -> Any:
    """The compiled kernels, separate from the others because only learning to learn needs them."""
    from numba import get_num_threads

    from partinr.engines.curvature import _fused_kernels as kernels

    row, tile = np.zeros((1, 2), dtype=np.float32), np.arange(2, dtype=np.int64)
    layers, factor = np.array([[1, 1, 0, 1]]), np.ones(1, dtype=np.float32)
    scratch = np.zeros((int(get_num_threads()), kernels.KEPT + kernels.SPARE, 1, 16), dtype=np.float32)
    one = np.zeros((1, 1), dtype=np.float32)
    kernels.curvature(one, one, one[0], row, row, tile[:1], tile, tile, layers, factor, scratch, row.copy(), row.copy())
    return kernels
