"""SIREN (Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions", 2020)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from partinr.backbones.base import Frequency, Mlp, settled
from partinr.backbones.batch_norm import PROBES, normalised
from partinr.base.spec import spec
from partinr.engines.base import Linear
from partinr.engines.chain import Chain, Link


@spec
class Sines(Mlp):
    """A layer is ``sin(omega · (W x + b))``, with SIREN's initialisation.

    Weights of the first layer start uniform in ±1 / fan_in, all others in ±sqrt(6 / fan_in) / omega_0, biases in
    ±1 / sqrt(fan_in) (section 3.2 and supplement 1.5). The output layer is linear.

    Attributes:
        omega_0: frequency factor of the hidden layers, above 0.
        first_omega_0: frequency factor of the first layer, which sets the network's initial frequencies. ``auto``:
            follows from the signal.
    """

    frequency: ClassVar[str | None] = "first_omega_0"
    period: ClassVar[float] = math.pi
    omega_0: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    first_omega_0: Frequency = 30.0

    def bound(self, layer: int, fan_in: int) -> float:
        """The largest initial weight of a layer."""
        return 1 / fan_in if layer == 0 else math.sqrt(6 / fan_in) / self.omega_0

    def init_layer(self, layer: int, weight: Tensor, bias: Tensor, generator: torch.Generator | None) -> None:
        """The paper's initialisation of one layer."""
        fan_in = weight.shape[-1]
        bound = self.bound(layer, fan_in)
        weight.uniform_(-bound, bound, generator=generator)
        bias.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)

    def omega(self, layer: int) -> float:
        """The frequency factor of a layer."""
        return settled(self.first_omega_0) if layer == 0 else self.omega_0

    def activation(self, layer: int, x: Tensor, weight: Tensor, bias: Tensor, linear: Linear) -> Tensor:
        """``sin(omega · (W x + b))``."""
        omega = self.omega(layer)
        # omega is multiplied into the weights, [out, in] numbers, instead of the product, [n, out] numbers.
        return torch.sin(linear(x, omega * weight, omega * bias))


@spec
class Siren(Sines):
    """A layer is ``sin(omega · (W x + b))``.

    ``weight_scale`` is the scaling of Yeom et al., "Fast Training of Sinusoidal Neural Fields via Scaling
    Initialization" (2024, section 3): all weights except those of the output layer start this many times as large. It
    raises the frequencies layer by layer, which fits fine detail sooner; a large scale fits the samples but not the
    function between them.

    ``batch_norm`` normalises what the sines of the hidden layers take, ``sin(gain · ẑ + shift)``, see
    :mod:`partinr.backbones.batch_norm`.

    Attributes:
        first_omega_0: the partition paper uses 60 on images, SIREN's paper 30.
        weight_scale: factor of the initial weights, above 0; SIREN's paper uses 1.
        batch_norm: normalise the hidden layers; adds a gain and a shift for each of their features.
    """

    first_omega_0: Frequency = 60.0
    weight_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    batch_norm: bool = False

    def bound(self, layer: int, fan_in: int) -> float:
        """The largest initial weight of a layer, with the scaling of all but the output layer."""
        return super().bound(layer, fan_in) * (self.weight_scale if layer <= self.hidden_layers else 1.0)

    def further(self, layer: int) -> tuple[str, ...]:
        """Gain and shift of a normalised layer."""
        own = ("gain", "shift") if self.batch_norm and 1 <= layer <= self.hidden_layers else ()
        return (*super().further(layer), *own)

    def init_further(self, layer: int, weight: Tensor, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Gains of 1 and shifts of 0, as batch normalisation starts."""
        found = super().init_further(layer, weight, generator)
        if "gain" in self.further(layer):
            found |= {"gain": torch.ones(weight.shape[:-1]), "shift": torch.zeros(weight.shape[:-1])}
        return found

    def settle(self, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Mapping[str, Tensor]:
        """Weights and biases of the hidden layers with their normalisation."""
        params = super().settle(params, x, linear)
        return normalised(self, params, x, linear) if self.batch_norm else params

    def affine_inputs(self) -> tuple[tuple[str, str], ...] | None:
        """Those of the first layer; None for a normalised network, which is measured at points of its own frame."""
        return None if self.batch_norm else super().affine_inputs()

    def macs_a_pass(self, in_features: int, out_features: int) -> int:
        """The products at the points where a normalised network is measured; twice in the hidden layers."""
        (rows, columns), *hidden, _ = self.shapes(in_features, out_features)
        work = rows * columns + 2 * sum(rows * columns for rows, columns in hidden)
        return PROBES * work if self.batch_norm else 0

    def chain(self, params: Mapping[str, Tensor]) -> Chain | None:
        """``sin(omega · (W x + b))`` in each layer but the last, which is ``W x + b``; None with further parameters."""
        if self.factorisation is not None or self.batch_norm:
            return None
        factors = (self.omega(0), *[self.omega_0] * self.hidden_layers, 1.0)
        return tuple(
            Link(params[f"weight_{layer}"], params[f"bias_{layer}"], factor) for layer, factor in enumerate(factors)
        )
