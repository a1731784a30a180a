"""Second derivatives of thin networks on the CPU: the fused engine with a direction in the parameters."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from partinr.engines.base import Observations
from partinr.engines.chain import Chain, factors_of, pack, rows_of, tensors_of, tiles_of, unpack
from partinr.engines.threads import SINGLE, together


def fused_curvature(chain: Chain, along: Chain, observed: Observations) -> list[Tensor]:
    """The Hessian of N networks' squared error times a direction, see :data:`partinr.engines.base.HessianVector`."""
    from partinr.engines import _numba  # takes a second

    _numba.ready_kernels()
    kernels, tensors = _compiled(), tensors_of(chain)
    layers, packed = pack(tensors, factors_of(chain))
    rows = packed.numpy(), rows_of(tensors_of(along)).contiguous().numpy()
    tiles, width = tiles_of(observed.sizes, _numba.TILE), packed.shape[1]
    given = *observed.arrays(), *rows, tiles.owner, tiles.start, tiles.run, *_numba.tables(layers)
    line, wide = _numba.extent(layers, tiles)
    planes = kernels.KEPT * len(layers) + kernels.SPARE
    by_run, counter = np.empty((tiles.runs, width), dtype=np.float32), np.zeros(1, dtype=np.int64)

    def work() -> None:
        memory = torch.empty(planes, wide, line, **SINGLE).numpy(), torch.empty(width, **SINGLE).numpy()
        kernels.curvature(counter, *memory, *given, by_run)

    together(work)
    return unpack(_numba.sum_of_runs(by_run, tiles), [tensor.shape for tensor in tensors])


@cache
def _compiled() -> Any:
    """The compiled kernels, separate from the others because only learning to learn needs them."""
    from partinr.engines.curvature import _fused_kernels as kernels

    row, tile = np.zeros((1, 2), dtype=np.float32), np.arange(2, dtype=np.int64)
    layers, factor = np.array([[1, 1, 0, 1]]), np.ones(1, dtype=np.float32)
    scratch = np.zeros((kernels.KEPT + kernels.SPARE, 1, 16), dtype=np.float32)
    one, counter = np.zeros((1, 1), dtype=np.float32), np.zeros(1, dtype=np.int64)
    places = row, row, tile[:1], tile, tile
    kernels.curvature(counter, scratch, row[0], one, one, one[0], *places, layers, factor, row.copy())
    return kernels
