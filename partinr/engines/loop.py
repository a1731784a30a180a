"""The loop: evaluates one network after the other by plain products without padding. Best for few large regions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from partinr.engines.base import Engine, Shape, Stack

LOOP_FROM_MACS = {"cpu": 50e6, "cuda": 4e9}
"""Multiply-accumulates per forward pass from which a network is cheaper alone than in a batched product.

The number for CPUs is measured (experiments/benchmarks/engines.py): one product of that size uses all cores, and the
batched product's inner loop is slower. A GPU needs larger pieces; its number is a guess.
"""


class Loop(Engine):
    """See the module."""

    name = "loop"

    def cost(self, shape: Shape, sizes: NDArray[np.int64], device: torch.device) -> NDArray[np.floating[Any]]:
        """Half the cost of a batched product plus a call; both engines are equal at :data:`LOOP_FROM_MACS`."""
        return (LOOP_FROM_MACS.get(device.type, LOOP_FROM_MACS["cuda"]) + sizes * float(shape.macs)) / 2

    def values(self, stack: Stack, coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """See :meth:`Engine.values`."""
        # The gradient of one unbind per parameter is one stack; indexing each network would add N tensors of that size.
        names, values = list(stack.params), [value.unbind(0) for value in stack.params.values()]
        found = [
            stack.architecture.network(dict(zip(names, params, strict=True)), x, F.linear)
            for x, *params in zip(coords.split(list(sizes)), *values, strict=True)
            if len(x) > 0 or len(coords) == 0
        ]
        return torch.cat(found) if len(found) > 1 else found[0]


LOOP = Loop()
