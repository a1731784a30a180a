"""The tiled engine: wide networks of sines on the CPU, every tile of samples through all layers on one core.

Half of a step of a wide network is its products; the other half goes over all its activations again, for the bias, the
sine, the cosine and the sum of a gradient. Here a tile of up to a few thousand samples of one network goes through all
layers and back on one core. The products are torch's, on one thread, and what lies between them is one pass forwards
and one backwards, compiled (:mod:`partinr.engines._sine_kernels`). Tiles are spread over Python's threads
(:mod:`partinr.engines.threads`).

Under autocast to bfloat16 the products between hidden layers take bfloat16, and so do activations and their gradients.
Coordinates, the first layer, the output layer's values, sums over samples and all parameters' gradients stay float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.engines._tile import Networks
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
from partinr.engines.chain import Chain, factors_of, tensors_of
from partinr.engines.curvature import tiled_curvature
from partinr.engines.plan import plain_chain
from partinr.engines.threads import Run, runs_of, spread, sum_over_runs

TILED_FROM_WIDTH = 48
"""``auto`` takes this engine for networks from this wide on: in thinner ones too little is products."""

TILED_FROM_MACS = 12e6
"""... and from this many multiply-accumulates a forward pass of a network, in the mean: every piece of work goes
through Python, which takes a fraction of a millisecond. Both are measured (experiments/benchmarks/wide.py)."""


class Tiled(Engine):
    """See the module."""

    name = "tiled"

    def refuses(self, architecture: Architecture, device: torch.device | None, precision: Precision) -> str | None:
        """Other networks than chains of sines, other devices than the CPU, and other numbers than float32, bfloat16."""
        if not architecture.shape.widths:
            return f"is for chains of sines, such as backbone=siren, not for {architecture.title}; choose engine=auto"
        if precision.dtype != torch.float32 or precision.autocast not in (None, torch.bfloat16):
            return "has no double precision; choose engine=auto, or trainer.precision=32-true"
        if precision.transformed:
            return "has no transforms of torch.func; choose engine=auto"
        if device is not None and device.type != "cpu":
            return "is for the CPU; choose engine=auto, or trainer.accelerator=cpu"
        return None

    def cost(self, shape: Shape, sizes: NDArray[np.int64], device: torch.device) -> NDArray[np.floating[Any]]:
        """The least for wide networks with enough samples: a third stands for about three times as fast."""
        # Of those that have samples: a chunk of a large image has none of most networks.
        macs = shape.macs * sizes.sum() / max(1, np.count_nonzero(sizes))
        worthwhile = max(shape.widths[1:]) >= TILED_FROM_WIDTH and macs >= TILED_FROM_MACS
        return sizes * (shape.macs / 3) if worthwhile else super().cost(shape, sizes, device)

    def values(self, stack: Stack, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """See :func:`run_tiled`."""
        return run_tiled(stack.chain, coords, sizes)

    def squared_error(
        self, stack: Stack, coords: Tensor, targets: Tensor, weights: Tensor | None, sizes: tuple[int, ...]
    ) -> Tensor:
        """See :func:`tiled_error`."""
        return tiled_error(stack.chain, coords, targets, weights, sizes)

    def hessian_vector(
        self, architecture: Architecture, device: torch.device, precision: Precision
    ) -> HessianVector | None:
        """In single precision, for hidden layers of one width."""
        return (
            tiled_curvature if precision.autocast is None and len(set(architecture.shape.widths[1:-1])) == 1 else None
        )


def run_tiled(chain: Chain, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Evaluate N networks, each on its own samples; differentiable any number of times.

    Activations are not kept for the way back, but computed anew.

    Args:
        chain: the networks.
        coords: float32 ``[M, d]``, sorted by network.
        sizes: samples of each network.

    Returns:
        float32 ``[M, c]``, in the order of ``coords``; also under autocast.
    """
    return cast(Tensor, _Tiled.apply(coords, sizes, factors_of(chain), _is_half(), *tensors_of(chain)))


def tiled_error(
    chain: Chain, coords: Tensor, targets: Tensor, weights: Tensor | None, sizes: tuple[int, ...]
) -> Tensor:
    """The squared error of N networks, summed over samples and channels; its gradient comes in the same pass.

    Differentiable by the parameters, and by coordinates if they ask for it, which takes two passes.

    Args:
        chain: the networks.
        coords: float32 ``[M, d]``, sorted by network.
        targets: float32 ``[M, c]``, likewise.
        weights: float32 ``[M, 1]``, of each sample; None where all are 1.
        sizes: samples of each network.
    """
    tensors = tensors_of(chain)
    if torch.is_grad_enabled() and not coords.requires_grad and any(tensor.requires_grad for tensor in tensors):
        return cast(Tensor, _TiledError.apply(coords, targets, weights, sizes, factors_of(chain), _is_half(), *tensors))
    return weighted_error(run_tiled(chain, coords, sizes), targets, weights)


def _is_half() -> bool:
    return torch.is_autocast_enabled("cpu")


def _values(networks: Networks, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Values ``[M, c]`` without derivatives."""
    x = coords.detach().contiguous().numpy()
    values = torch.empty(coords.shape[0], networks.shapes[-1][0])
    y = values.numpy()
    runs = runs_of(sizes, max(networks.widths))

    def work(left: Iterable[Run]) -> None:
        scratch = networks.scratch(runs)
        for run in left:
            for start, length in run.tiles:
                samples = slice(start, start + length)
                networks.forward(run.network, x[samples], scratch, y[samples])

    spread(work, runs)
    return values


def _gradients(
    networks: Networks,
    coords: Tensor,
    sizes: tuple[int, ...],
    by_y_of: Callable[[slice, NDArray[np.float32]], NDArray[np.float32]],
    by_coords: Tensor,
) -> list[Tensor]:
    """Gradients by the parameters, and by the coordinates into ``by_coords``, unless that has no rows.

    Args:
        networks: the stack.
        coords: ``[M, d]``.
        sizes: samples of each network.
        by_y_of: of some samples, which it is given with their values, the gradient by these.
        by_coords: ``[M, d]`` or ``[0, d]``.
    """
    runs = runs_of(sizes, max(networks.widths))
    x, by_x = coords.detach().contiguous().numpy(), by_coords.numpy()

    def work(left: Iterable[tuple[Run, list[Tensor]]]) -> None:
        scratch = networks.scratch(runs)
        y = np.empty((max(length for run in runs for _, length in run.tiles), networks.shapes[-1][0]), np.float32)
        for run, place in left:
            arrays = [each.numpy() for each in place]
            for start, length in run.tiles:
                samples = slice(start, start + length)
                networks.forward(run.network, x[samples], scratch, y[:length])
                by_y = by_y_of(samples, y[:length])
                networks.backward(run.network, x[samples], by_y, scratch, place, arrays, by_x[samples])

    return sum_over_runs(runs, len(sizes), networks.shapes, work)


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, coords: Tensor, sizes: tuple[int, ...], factors: tuple[float, ...], half: bool, *tensors: Tensor
    ) -> Tensor:
        ctx.save_for_backward(coords, *tensors)
        ctx.sizes, ctx.factors, ctx.half = sizes, factors, half
        return _values(Networks(factors, tensors, half), coords, sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        coords, *tensors = ctx.saved_tensors
        if torch.is_grad_enabled():
            # Somebody wants derivatives of these derivatives: torch's own operations have them.
            values = plain_chain(ctx.factors, tensors, coords, ctx.sizes)
            by_coords, *by_each = gradients_again(values, gradients[0], [coords, *tensors])
            return by_coords, None, None, None, *by_each
        by_values = gradients[0].contiguous().numpy()
        found = torch.empty_like(coords if ctx.needs_input_grad[0] else coords[:0])
        networks = Networks(ctx.factors, tensors, ctx.half)
        by_params = _gradients(networks, coords, ctx.sizes, lambda samples, y: by_values[samples], found)
        return found if ctx.needs_input_grad[0] else None, None, None, None, *by_params


class _TiledError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        coords: Tensor,
        targets: Tensor,
        weights: Tensor | None,
        sizes: tuple[int, ...],
        factors: tuple[float, ...],
        half: bool,
        *tensors: Tensor,
    ) -> Tensor:
        networks = Networks(factors, tensors, half)
        wanted = targets.detach().contiguous().numpy()
        weight = (targets.new_empty(0) if weights is None else weights.detach().reshape(-1)).numpy()
        # By the first sample of a tile, so that the order of the sum does not depend on the threads.
        errors: dict[int, float] = {}

        def by_values(samples: slice, y: NDArray[np.float32]) -> NDArray[np.float32]:
            by_y = np.empty_like(y)
            errors[samples.start] = networks.kernels.error(y, wanted[samples], weight[samples], by_y)
            return by_y

        ctx.gradients = _gradients(networks, coords, sizes, by_values, coords[:0])
        ctx.save_for_backward(coords, targets, weights, *tensors)
        ctx.sizes, ctx.factors = sizes, factors
        return torch.tensor(sum(errors[start] for start in sorted(errors)), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        coords, targets, weights, *tensors = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return None, None, None, None, None, None, *(gradients[0] * each for each in ctx.gradients)
        total = weighted_error(plain_chain(ctx.factors, tensors, coords, ctx.sizes), targets, weights)
        return None, None, None, None, None, None, *gradients_again(total, gradients[0], tensors)
