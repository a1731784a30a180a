"""The fused engine: thin networks of sines, in one pass over each tile of samples.

The product of a thin network is so little work that a stack of them waits for memory: plain torch writes and reads
every layer of every sample for the product, the sine and its derivative. Here a tile of a few hundred samples goes
through all layers of its network while it lies in the cache (on CUDA: in registers), forwards and, computed anew,
backwards. Each tile belongs to one network, so the cost follows the samples, even or ragged.

There are two back ends: numba's kernels for the CPU (:mod:`partinr.engines._numba`) and Triton's for CUDA
(:mod:`partinr.engines._triton`).
"""

from __future__ import annotations

import importlib.util
from functools import cache
from types import ModuleType
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.engines.base import (
    Architecture,
    Engine,
    HessianVector,
    Precision,
    Shape,
    Stack,
    gradients_again,
    weighted_error,
)
from partinr.engines.chain import Chain, factors_of, pack, tensors_of, unpack
from partinr.engines.curvature import fused_curvature
from partinr.engines.plan import plain_chain

FUSED_UP_TO = {"cpu": 44, "cuda": 32}
"""``auto`` takes this engine for networks up to this wide: wider ones want a matrix product of their own.

The CPU's figure is measured (experiments/benchmarks/engines.py); that of CUDA is a guess until it is measured there.
"""

CUDA_UP_TO = 64
"""The widest network that the kernels for CUDA take: a tile of a wider one has no room in registers."""


class Fused(Engine):
    """See the module."""

    name = "fused"

    def refuses(self, architecture: Architecture, device: torch.device | None, precision: Precision) -> str | None:
        """Other networks than chains of sines, double precision, and CUDA without Triton or with wide networks.

        Autocast is no reason: a thin network has no products that fewer digits would make faster, so it keeps all.
        """
        widths = architecture.shape.widths
        if not widths:
            return f"is for chains of sines, such as backbone=siren, not for {architecture.title}; choose engine=auto"
        if precision.dtype != torch.float32:
            return "has no double precision; choose engine=auto, or trainer.precision=32-true"
        if precision.transformed:
            return "has no transforms of torch.func; choose engine=auto"
        if device is None or device.type == "cpu":
            return None
        if device.type != "cuda":
            return f"has no kernels for {device.type}; choose engine=auto, or trainer.accelerator=cpu"
        if not _has_triton():
            return "needs Triton on CUDA; pip install triton (Linux), or choose engine=auto"
        if not _runs_triton(device):
            return "needs a GPU of compute capability 8.0 or above; choose engine=auto"
        if max(widths) > CUDA_UP_TO:
            return f"takes networks up to {CUDA_UP_TO} wide on CUDA, not {max(widths)}; choose engine=auto"
        return None

    def cost(self, shape: Shape, sizes: NDArray[np.int64], device: torch.device) -> NDArray[np.floating[Any]]:
        """The least for thin networks: a quarter stands for two to four times as fast."""
        thin = max(shape.widths) <= FUSED_UP_TO.get(device.type, 0)
        return sizes * (shape.macs / 4) if thin else super().cost(shape, sizes, device)

    def values(self, stack: Stack, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """See :func:`run_fused`."""
        return run_fused(stack.chain, coords, sizes)

    def squared_error(
        self, stack: Stack, coords: Tensor, targets: Tensor, weights: Tensor | None, sizes: tuple[int, ...]
    ) -> Tensor:
        """See :func:`fused_error`."""
        return fused_error(stack.chain, coords, targets, weights, sizes)

    def hessian_vector(
        self, architecture: Architecture, device: torch.device, precision: Precision
    ) -> HessianVector | None:
        """On the CPU."""
        return fused_curvature if device.type == "cpu" else None


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


@cache
def _runs_triton(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 0)


def run_fused(chain: Chain, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Evaluate N networks, each on its own samples; differentiable any number of times.

    Args:
        chain: the networks.
        coords: float32 ``[M, d]``, sorted by network.
        sizes: samples of each network.

    Returns:
        float32 ``[M, c]``, in the order of ``coords``.
    """
    return cast(Tensor, _Fused.apply(coords, sizes, factors_of(chain), *tensors_of(chain)))


def fused_error(
    chain: Chain, coords: Tensor, targets: Tensor, weights: Tensor | None, sizes: tuple[int, ...]
) -> Tensor:
    """The squared error of N networks, summed over samples and channels.

    On the CPU its gradient by the parameters comes in the same pass.

    Args:
        chain: the networks.
        coords: float32 ``[M, d]``, sorted by network.
        targets: float32 ``[M, c]``, likewise.
        weights: float32 ``[M, 1]``, of each sample; None where all are 1.
        sizes: samples of each network.
    """
    tensors = tensors_of(chain)
    by_parameters = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    if coords.device.type == "cpu" and by_parameters and not coords.requires_grad:
        return cast(Tensor, _FusedError.apply(coords, targets, weights, sizes, factors_of(chain), *tensors))
    return weighted_error(run_fused(chain, coords, sizes), targets, weights)


def _back_end(device: torch.device) -> ModuleType:
    """The module with ``forward`` and ``backward``; imported here, since each takes a second."""
    if device.type == "cpu":
        from partinr.engines import _numba

        return _numba
    from partinr.engines import _triton

    return _triton


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, coords: Tensor, sizes: tuple[int, ...], factors: tuple[float, ...], *tensors: Tensor
    ) -> Tensor:
        layers, packed = pack(tensors, factors)
        ctx.save_for_backward(coords, packed, *tensors)
        ctx.sizes, ctx.factors, ctx.layers = sizes, factors, layers
        values: Tensor = _back_end(coords.device).forward(coords.detach(), packed, sizes, layers)
        return values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        coords, packed, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Somebody wants derivatives of these derivatives, which the kernels lack.
            values = plain_chain(ctx.factors, tensors, coords, ctx.sizes)
            by_coords, *by_each = gradients_again(values, gradients[0], [coords, *tensors])
            return by_coords, None, None, *by_each
        by_network, by_coords = _back_end(coords.device).backward(
            coords.detach(), packed, ctx.sizes, ctx.layers, gradients[0], by_coords=ctx.needs_input_grad[0]
        )
        return by_coords, None, None, *unpack(by_network, tensors)


class _FusedError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        coords: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        sizes: tuple[int, ...],
        factors: tuple[float, ...],
        *tensors: Tensor,
    ) -> Tensor:
        layers, packed = pack(tensors, factors)
        error, by_network = _back_end(coords.device).error(coords.detach(), targets, weights, packed, sizes, layers)
        ctx.gradients = unpack(by_network, tensors)
        ctx.save_for_backward(coords, targets, weights, *tensors)
        ctx.sizes, ctx.factors = sizes, factors
        return cast(Tensor, error)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if not torch.is_grad_enabled():
            return None, None, None, None, None, *(gradients[0] * each for each in ctx.gradients)
        # Somebody wants derivatives of these derivatives.
        coords, targets, weights, *tensors = ctx.saved_tensors
        error = weighted_error(plain_chain(ctx.factors, tensors, coords, ctx.sizes), targets, weights)
        return None, None, None, None, None, *gradients_again(error, gradients[0], tensors)
