"""STAF (Morsali et al., "STAF: Sinusoidal Trainable Activation Functions for Implicit Neural Representation", 2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from partinr.backbones.base import Mlp, init_by_fan
from partinr.base.spec import spec
from partinr.engines.base import Linear


@spec
class Staf(Mlp):
    """A layer is ``Σ_i C_i sin(Ω_i z + Φ_i)``, ``z = W x + b``, with ``tau`` trained terms that its features share.

    Frequencies Ω start uniform in [0, omega] and phases Φ in ±π. Amplitudes C start as ``sign(X) sqrt(|X|)`` with X
    from a Laplace distribution of scale 1 / (2 tau), as in the authors' code, which gives a layer's outputs variance
    1 / 4. (With a scale of 2 / tau they have variance 1, as the paper wants, and a network of this depth starts as
    noise.) Weights and biases start as in torch's ``Linear``, uniform in ±1 / sqrt(fan_in), as in the code. The output
    layer is linear. The code adds z to the activation for some images, the paper's formula does not.

    Attributes:
        tau: number of terms, 1 or more.
        omega_0: largest initial frequency of the hidden layers, above 0.
        first_omega_0: largest initial frequency of the first layer.
    """

    tau: Annotated[int, Field(ge=1)] = 5
    omega_0: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0
    first_omega_0: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 30.0

    def further(self, layer: int) -> tuple[str, ...]:
        """Amplitudes, frequencies and phases of a layer with an activation."""
        own = ("amplitudes", "frequencies", "phases") if layer <= self.hidden_layers else ()
        return (*super().further(layer), *own)

    def init_further(self, layer: int, weight: Tensor, generator: torch.Generator | None) -> dict[str, Tensor]:
        """The terms of a layer, ``[N, tau]`` each."""
        found = super().init_further(layer, weight, generator)
        if layer <= self.hidden_layers:
            omega = self.first_omega_0 if layer == 0 else self.omega_0
            size, sign, frequencies, phases = (torch.empty(len(weight), self.tau) for _ in range(4))
            # The absolute value of a Laplace variable is exponential.
            size.exponential_(2 * self.tau, generator=generator)
            sign.uniform_(-1, 1, generator=generator)
            frequencies.uniform_(0, omega, generator=generator)
            phases.uniform_(-math.pi, math.pi, generator=generator)
            found |= {"amplitudes": size.sqrt().copysign(sign), "frequencies": frequencies, "phases": phases}
        return found

    def init_layer(self, layer: int, weight: Tensor, bias: Tensor, generator: torch.Generator | None) -> None:
        """Uniform by the fan."""
        init_by_fan(weight, bias, generator)

    def layer(self, number: int, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        """``Σ_i C_i sin(Ω_i z + Φ_i)``."""
        z = linear(x, params[f"weight_{number}"], params[f"bias_{number}"])
        names = (f"{name}_{number}" for name in ("amplitudes", "frequencies", "phases"))
        terms = zip(*(params[name][..., None, None].unbind(-3) for name in names), strict=True)
        found = torch.zeros_like(z)
        for amplitude, frequency, phase in terms:
            found = found + amplitude * torch.sin(frequency * z + phase)
        return found

    def activation(self, layer: int, x: Tensor, weight: Tensor, bias: Tensor, linear: Linear) -> Tensor:
        """Without its terms a layer has no activation, see :meth:`layer`."""
        return linear(x, weight, bias)
