"""The tiled engine: evaluates wide networks of sines on the CPU, each tile of samples through all layers on one core.

Half of a step of a wide network is products; the other half passes over all activations again, for the bias, the sine,
the cosine and the sum of a gradient. This engine evaluates a tile of up to a few thousand samples of one network
through all layers and back on one core. The products are torch's, on one thread; between them there is one compiled
pass forward and one backward (:mod:`partinr.engines._sine_kernels`). Tiles are distributed over Python threads
(:mod:`partinr.engines.threads`).

Under autocast to bfloat16 the products between hidden layers take bfloat16, and so do activations and their gradients.
Coordinates, the first layer, the output layer's values, sums over samples and all parameters' gradients stay float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.engines._tile import Networks
from partinr.engines.base import (
    AdamRun,
    AdamSettings,
    Architecture,
    HessianVector,
    InTurns,
    Moments,
    Precision,
    Shape,
)
from partinr.engines.chain import factors_of, tensors_of
from partinr.engines.curvature import tiled_curvature
from partinr.engines.plan import JointRun
from partinr.engines.sines import NO_DOUBLE, Passes, SineEngine
from partinr.engines.threads import own_threads_only

TILED_FROM_WIDTH = 48
"""``auto`` uses this engine for networks from this width on; thinner ones spend too little time on products."""

TILED_FROM_MACS = 12e6
"""Mean multiply-accumulates per forward pass of a network from which ``auto`` uses this engine, since each piece of
work costs Python a fraction of a millisecond. Both limits are measured (experiments/benchmarks/wide.py)."""


class Tiled(SineEngine):
    """See the module."""

    name = "tiled"

    def refuses(self, architecture: Architecture, device: torch.device | None, precision: Precision) -> str | None:
        """Networks other than chains of sines, other devices than the CPU, and types but float32 and bfloat16."""
        refusal = super().refuses(architecture, device, precision)
        if refusal is not None:
            return refusal
        if precision.autocast not in (None, torch.bfloat16):
            return NO_DOUBLE
        if device is not None and device.type != "cpu":
            return "is for the CPU; choose engine=auto, or trainer.accelerator=cpu"
        return None

    def cost(self, shape: Shape, sizes: NDArray[np.int64], device: torch.device) -> NDArray[np.floating[Any]]:
        """The lowest cost for wide networks with enough samples: a third, for about three times the speed."""
        # Mean over networks with samples, since a chunk of a large image has none of most networks.
        macs = shape.macs * sizes.sum() / max(1, np.count_nonzero(sizes))
        worthwhile = max(shape.widths[1:]) >= TILED_FROM_WIDTH and macs >= TILED_FROM_MACS
        return sizes * (shape.macs / 3) if worthwhile else super().cost(shape, sizes, device)

    def passes(self, factors: Sequence[float], tensors: Sequence[Tensor]) -> Passes:
        """See :meth:`SineEngine.passes`."""
        return Networks(factors, tensors, torch.is_autocast_enabled("cpu"))

    def adam(self, stacks: Sequence[InTurns], moments: Moments, settings: AdamSettings) -> AdamRun | None:
        """Steps with these passes, on these threads alone."""
        if not all(tensor.requires_grad for stack, _ in stacks for tensor in stack.params.values()):
            return None
        return JointRun([_TiledAdam(each, moments, settings) for each in stacks])

    def hessian_vector(
        self, architecture: Architecture, device: torch.device, precision: Precision
    ) -> HessianVector | None:
        """The kernel in single precision for hidden layers of one width, else None."""
        return (
            tiled_curvature if precision.autocast is None and len(set(architecture.shape.widths[1:-1])) == 1 else None
        )


class _TiledAdam:
    """Adam's steps of N networks in place; see :class:`partinr.engines.base.AdamRun`."""

    def __init__(self, given: InTurns, moments: Moments, settings: AdamSettings) -> None:
        from partinr.engines._adam import compiled_adam

        self._adam = compiled_adam()
        chain, self._turns = given.stack.chain, given.turns
        self._factors, self._tensors = factors_of(chain), tensors_of(chain)
        self._moments = [moments(tensor) for tensor in self._tensors]
        self._decays = np.array([*settings.betas, settings.eps], dtype=np.float32)

    def take(self, first: int, scale: float, rates: NDArray[np.float32]) -> float:
        error, half = 0.0, torch.is_autocast_enabled("cpu")
        with own_threads_only():
            for number, rate in enumerate(rates, first):
                turn = self._turns[number % len(self._turns)]
                found, gradients = Networks(self._factors, self._tensors, half).error(turn)
                error = float(found)
                for tensor, gradient, moments in zip(self._tensors, gradients, self._moments, strict=True):
                    # Views, since all of them are contiguous.
                    rows = [each.detach().view(len(each), -1).numpy() for each in (tensor, gradient, *moments)]
                    self._adam(*rows, rate, self._decays, np.float32(scale))
        return error

    def close(self) -> None:
        """Nothing: the steps are in place."""
