"""SIREN (Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions", 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from partinr.backbones.base import Frequency, Mlp, settled
from partinr.base.spec import spec
from partinr.engines.base import Linear
from partinr.engines.chain import Chain, Link


@spec
class Siren(Mlp):
    """A layer is ``sin(omega · (W x + b))``.

    Initialisation as in the paper (section 3.2 and supplement 1.5): weights of the first layer uniform in ±1 / fan_in,
    of all others in ±sqrt(6 / fan_in) / omega_0, biases uniform in ±1 / sqrt(fan_in). The output layer is linear.

    ``weight_scale`` is the scaling of Yeom et al., "Fast Training of Sinusoidal Neural Fields via Scaling
    Initialization" (2024, section 3): all weights except those of the output layer start this many times as large. It
    raises the frequencies layer by layer, which fits fine detail sooner; a large scale fits the samples but not the
    function between them.

    Attributes:
        omega_0: frequency factor of the hidden layers, above 0.
        first_omega_0: frequency factor of the first layer, which sets the network's initial frequencies. The partition
            paper uses 60 on images, SIREN's paper 30. ``auto``: follows from the signal.
        weight_scale: factor of the initial weights, above 0; SIREN's paper uses 1.
    """

    frequency: ClassVar[str] = "first_omega_0"
    period: ClassVar[float] = math.pi
    omega_0: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    first_omega_0: Frequency = 60.0
    weight_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    def init_layer(self, layer: int, weight: Tensor, bias: Tensor, generator: torch.Generator | None) -> None:
        """The paper's initialisation of one layer."""
        fan_in = weight.shape[-1]
        bound = 1 / fan_in if layer == 0 else math.sqrt(6 / fan_in) / self.omega_0
        if layer <= self.hidden_layers:
            bound *= self.weight_scale
        weight.uniform_(-bound, bound, generator=generator)
        bias.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)

    def activation(self, layer: int, x: Tensor, weight: Tensor, bias: Tensor, linear: Linear) -> Tensor:
        """``sin(omega · (W x + b))``."""
        omega = settled(self.first_omega_0) if layer == 0 else self.omega_0
        # omega is multiplied into the weights, [out, in] numbers, instead of the product, [n, out] numbers.
        return torch.sin(linear(x, omega * weight, omega * bias))

    def chain(self, params: Mapping[str, Tensor]) -> Chain:
        """``sin(omega · (W x + b))`` in each layer but the last, which is ``W x + b``."""
        factors = (settled(self.first_omega_0), *[self.omega_0] * self.hidden_layers, 1.0)
        return tuple(
            Link(params[f"weight_{layer}"], params[f"bias_{layer}"], factor) for layer, factor in enumerate(factors)
        )
