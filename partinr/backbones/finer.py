"""FINER (Liu et al. 2024).

"FINER: Flexible Spectral-bias Tuning in Implicit NEural Representation by Variable-periodic Activation Functions",
section 3.
"""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from partinr.backbones.base import Frequency, Mlp, init_by_fan, settled
from partinr.base.spec import spec
from partinr.engines.base import Linear


@spec
class Finer(Mlp):
    """A layer is ``sin(omega · (|z| + 1) · z)``, ``z = W x + b``: frequencies grow with the distance from 0.

    Weights start as SIREN's do: uniform in ±1 / fan_in in the first layer, in ±sqrt(6 / fan_in) / omega_0 in all
    others. Biases of the first layer start uniform in ±``first_bias``, which sets the initial frequencies; all others
    in ±1 / sqrt(fan_in). The output layer is linear. The gradient is exact; the paper's code treats ``|z| + 1`` as a
    constant in it.

    Attributes:
        omega_0: frequency factor of the hidden layers, above 0.
        first_omega_0: frequency factor of the first layer. ``auto``: follows from the signal.
        first_bias: bound of the first layer's biases, above 0; null for 1 / sqrt(d), as in the paper's code for images.
    """

    frequency: ClassVar[str] = "first_omega_0"
    period: ClassVar[float] = math.pi
    omega_0: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    first_omega_0: Frequency = 30.0
    first_bias: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    def init_layer(self, layer: int, weight: Tensor, bias: Tensor, generator: torch.Generator | None) -> None:
        """SIREN's weights, and FINER's biases in the first layer."""
        init_by_fan(weight, bias, generator)
        fan_in = weight.shape[-1]
        # SIREN draws both uniformly in ±1 / sqrt(fan_in).
        weight *= 1 / math.sqrt(fan_in) if layer == 0 else math.sqrt(6) / self.omega_0
        if layer == 0 and self.first_bias is not None:
            bias *= self.first_bias * math.sqrt(fan_in)

    def activation(self, layer: int, x: Tensor, weight: Tensor, bias: Tensor, linear: Linear) -> Tensor:
        """``sin(omega · (|z| + 1) · z)``."""
        omega = settled(self.first_omega_0) if layer == 0 else self.omega_0
        z = linear(x, weight, bias)
        return torch.sin(omega * (z.abs() + 1) * z)
