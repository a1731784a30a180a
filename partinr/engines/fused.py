"""The fused engine: thin networks of sines, in one pass over each tile of samples.

The products of thin networks are so little work that memory limits a stack: plain torch writes and reads every layer of
every sample for the product, the sine and its derivative. This engine evaluates a tile of a few hundred samples through
all layers of its network in the cache (on CUDA: in registers), and recomputes it in the backward pass. Each tile
belongs to one network, so the cost follows the samples, even or ragged.

There are two back ends: numba's kernels for the CPU (:mod:`partinr.engines._numba`) and Triton's for CUDA
(:mod:`partinr.engines._triton`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.engines.base import (
    AdamRun,
    AdamSettings,
    Architecture,
    HessianVector,
    InTurns,
    Moments,
    Observations,
    Precision,
    Shape,
)
from partinr.engines.chain import pack, unpack
from partinr.engines.curvature import fused_curvature
from partinr.engines.sines import Passes, SineEngine

FUSED_UP_TO = {"cpu": 44, "cuda": 32}
"""``auto`` uses this engine for networks up to this width; wider ones need a matrix product each.

The number for CPUs is measured (experiments/benchmarks/engines.py); that for CUDA is a guess.
"""

CUDA_UP_TO = 64
"""The largest width for the CUDA kernels; a tile of a wider network does not fit into registers."""


class Fused(SineEngine):
    """See the module."""

    name = "fused"

    def refuses(self, architecture: Architecture, device: torch.device | None, precision: Precision) -> str | None:
        """Other networks than chains of sines, double precision, and CUDA without Triton or with wide networks.

        Autocast is accepted and ignored: lower precision would not make a thin network's products faster.
        """
        refusal = super().refuses(architecture, device, precision)
        if refusal is not None or device is None or device.type == "cpu":
            return refusal
        if device.type != "cuda":
            return f"has no kernels for {device.type}; choose engine=auto, or trainer.accelerator=cpu"
        if not _has_triton():
            return "needs Triton on CUDA; pip install triton (Linux), or choose engine=auto"
        if not _runs_triton(device):
            return "needs a GPU of compute capability 8.0 or above; choose engine=auto"
        widest = max(architecture.shape.widths)
        if widest > CUDA_UP_TO:
            return f"takes networks up to {CUDA_UP_TO} wide on CUDA, not {widest}; choose engine=auto"
        return None

    def cost(self, shape: Shape, sizes: NDArray[np.int64], device: torch.device) -> NDArray[np.floating[Any]]:
        """The lowest cost for thin networks: a quarter, for two to four times the speed."""
        thin = max(shape.widths) <= FUSED_UP_TO.get(device.type, 0)
        return sizes * (shape.macs / 4) if thin else super().cost(shape, sizes, device)

    def passes(self, factors: Sequence[float], tensors: Sequence[Tensor]) -> Passes:
        """See :meth:`SineEngine.passes`."""
        return _Packed(factors, tensors)

    def hessian_vector(
        self, architecture: Architecture, device: torch.device, precision: Precision
    ) -> HessianVector | None:
        """The kernel on the CPU, else None."""
        return fused_curvature if device.type == "cpu" else None

    def adam(self, stacks: Sequence[InTurns], moments: Moments, settings: AdamSettings) -> AdamRun | None:
        """Steps by the kernel on the CPU; None on CUDA, where a graph replays plain steps."""
        tensors = [tensor for stack, _ in stacks for tensor in stack.params.values()]
        if any(tensor.device.type != "cpu" or not tensor.requires_grad for tensor in tensors):
            return None
        from partinr.engines import _numba

        return _numba.AdamRows(stacks, moments, settings)


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def _runs_triton(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)


def _back_end(device: torch.device) -> ModuleType:
    """The module with the kernels, imported here because each import takes a second."""
    if device.type == "cpu":
        from partinr.engines import _numba

        return _numba
    from partinr.engines import _triton

    return _triton


class _Packed:
    """The parameters with one row per network; see :class:`partinr.engines.sines.Passes`."""

    def __init__(self, factors: Sequence[float], tensors: Sequence[Tensor]) -> None:
        self.layers, self.packed = pack(tensors, factors)
        self.shapes = [tensor.shape for tensor in tensors]
        self.back_end = _back_end(self.packed.device)

    def values(self, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        values: Tensor = self.back_end.forward(coords, self.packed, sizes, self.layers)
        return values

    def gradients(
        self, coords: Tensor, sizes: tuple[int, ...], by_values: Tensor, by_coords: bool
    ) -> tuple[Tensor | None, list[Tensor]]:
        by_network, by_x = self.back_end.backward(coords, self.packed, sizes, self.layers, by_values, by_coords)
        return by_x, unpack(by_network, self.shapes)

    def error(self, observed: Observations) -> tuple[Tensor, list[Tensor]]:
        error, by_network = self.back_end.error(observed, self.packed, self.layers)
        return error, unpack(by_network, self.shapes)
