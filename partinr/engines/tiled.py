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

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.engines._tile import Networks
from partinr.engines.base import Architecture, HessianVector, Precision, Shape
from partinr.engines.curvature import tiled_curvature
from partinr.engines.sines import NO_DOUBLE, Passes, SineEngine

TILED_FROM_WIDTH = 48
"""``auto`` takes this engine for networks from this wide on: in thinner ones too little is products."""

TILED_FROM_MACS = 12e6
"""... and from this many multiply-accumulates a forward pass of a network, in the mean: every piece of work goes
through Python, which takes a fraction of a millisecond. Both are measured (experiments/benchmarks/wide.py)."""


class Tiled(SineEngine):
    """See the module."""

    name = "tiled"

    def refuses(self, architecture: Architecture, device: torch.device | None, precision: Precision) -> str | None:
        """Other networks than chains of sines, other devices than the CPU, and other numbers than float32, bfloat16."""
        refusal = super().refuses(architecture, device, precision)
        if refusal is not None:
            return refusal
        if precision.autocast not in (None, torch.bfloat16):
            return NO_DOUBLE
        if device is not None and device.type != "cpu":
            return "is for the CPU; choose engine=auto, or trainer.accelerator=cpu"
        return None

    def cost(self, shape: Shape, sizes: NDArray[np.int64], device: torch.device) -> NDArray[np.floating[Any]]:
        """The least for wide networks with enough samples: a third stands for about three times as fast."""
        # Of those that have samples: a chunk of a large image has none of most networks.
        macs = shape.macs * sizes.sum() / max(1, np.count_nonzero(sizes))
        worthwhile = max(shape.widths[1:]) >= TILED_FROM_WIDTH and macs >= TILED_FROM_MACS
        return sizes * (shape.macs / 3) if worthwhile else super().cost(shape, sizes, device)

    def passes(self, factors: Sequence[float], tensors: Sequence[Tensor]) -> Passes:
        """See :meth:`SineEngine.passes`."""
        return Networks(factors, tensors, torch.is_autocast_enabled("cpu"))

    def hessian_vector(
        self, architecture: Architecture, device: torch.device, precision: Precision
    ) -> HessianVector | None:
        """In single precision, for hidden layers of one width."""
        return (
            tiled_curvature if precision.autocast is None and len(set(architecture.shape.widths[1:-1])) == 1 else None
        )
