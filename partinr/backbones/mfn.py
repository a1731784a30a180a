"""Multiplicative filter networks (Fathony et al., "Multiplicative Filter Networks", ICLR 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from partinr.backbones.base import Backbone, all_digits, init_by_fan
from partinr.base.spec import spec
from partinr.engines.base import Linear


@spec
class Mfn(Backbone):
    """``z_0 = g_0(x)``, ``z_i = (W_i z_{i-1} + b_i) ∘ g_i(x)``, then a linear output layer (section 3).

    The filters g are sines, ``sin(ω x + φ)`` (the Fourier network), or Gabor wavelets,
    ``sin(ω x + φ) exp(-γ / 2 · ‖x - μ‖²)``, of the coordinates, so the network is a sum of exponentially many of these.
    With n filters ω starts uniform in ±``input_scale`` / sqrt(n d), times sqrt(γ) for Gabor filters; φ in ±π; μ in ±1;
    γ from a Gamma distribution of shape ``alpha`` / n and rate ``beta``. Weights and biases of the layers start uniform
    in ±1 / sqrt(fan_in). This and the defaults are those of the paper's code for images.

    Attributes:
        filter: ``fourier`` or ``gabor``.
        hidden_layers: layers from ``hidden_features`` to ``hidden_features``, 0 or more; there is one more filter.
        input_scale: scale of the frequencies, above 0.
        alpha: shape of the distribution of γ, over all filters, above 0; Gabor filters only.
        beta: rate of that distribution, above 0; likewise.
    """

    filter: Literal["fourier", "gabor"] = "gabor"
    hidden_layers: Annotated[int, Field(ge=0)] = 3
    input_scale: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 256.0
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 6.0
    beta: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    def init(
        self, networks: int, in_features: int, out_features: int, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Initial parameters of the filters (``omega_i``, ``phi_i``, ``mu_i``, ``gamma_i``) and layers."""
        assert self.hidden_features is not None, "call sized() first"
        width, output = self.hidden_features, self.hidden_layers + 1
        params = {}
        for number in range(output):
            params.update(self._init_filter(number, (networks, width, in_features), generator))
        for layer in range(1, output + 1):
            rows = out_features if layer == output else width
            weight, bias = torch.empty(networks, rows, width), torch.empty(networks, rows)
            init_by_fan(weight, bias, generator)
            params[f"weight_{layer}"], params[f"bias_{layer}"] = weight, bias
        return params

    def _init_filter(
        self, number: int, shape: tuple[int, int, int], generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        filters = self.hidden_layers + 1
        omega, phi = torch.empty(shape), torch.empty(shape[:-1])
        bound = self.input_scale / math.sqrt(filters * shape[-1])
        omega.uniform_(-bound, bound, generator=generator)
        phi.uniform_(-math.pi, math.pi, generator=generator)
        found = {f"omega_{number}": omega, f"phi_{number}": phi}
        if self.filter == "gabor":
            mu = torch.empty(shape).uniform_(-1, 1, generator=generator)
            gamma = torch._standard_gamma(torch.full(shape[:-1], self.alpha / filters), generator) / self.beta
            omega *= gamma.sqrt().unsqueeze(-1)
            found.update({f"mu_{number}": mu, f"gamma_{number}": gamma})
        return found

    def apply(self, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        """Values, see :meth:`Backbone.apply`; autocast applies to the hidden layers only."""
        output = self.hidden_layers + 1
        with all_digits(x):
            filters = [self._filter(number, params, x, linear) for number in range(output)]
        z = filters[0]
        for layer in range(1, output):
            z = filters[layer] * linear(z, params[f"weight_{layer}"], params[f"bias_{layer}"])
        weight = params[f"weight_{output}"]
        with all_digits(x):
            return linear(z.to(weight.dtype), weight, params[f"bias_{output}"])

    def _filter(self, number: int, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        wave = torch.sin(linear(x, params[f"omega_{number}"], params[f"phi_{number}"]))
        if self.filter == "fourier":
            return wave
        # -γ/2 ‖x - μ‖² as an affine map of x and ‖x‖², a product that every engine supports.
        mu, gamma = params[f"mu_{number}"], params[f"gamma_{number}"].unsqueeze(-1)
        weight = torch.cat([gamma * mu, -gamma / 2], dim=-1)
        bias = -gamma.squeeze(-1) / 2 * mu.square().sum(-1)
        squared = x.square().sum(-1, keepdim=True)
        return wave * torch.exp(linear(torch.cat([x, squared], dim=-1), weight, bias))

    def output_bias(self) -> str:
        """The bias of the output layer."""
        return f"bias_{self.hidden_layers + 1}"

    def hidden_matrices(self) -> tuple[str, ...] | None:
        """The weights of the hidden layers, without filters, whose input is coordinates."""
        return tuple(f"weight_{layer}" for layer in range(1, self.hidden_layers + 1)) or None

    def layers(self) -> tuple[tuple[str, ...], ...]:
        """Weights and biases with the filter that multiplies them; the first layer is only a filter."""
        parts = ("omega", "phi") if self.filter == "fourier" else ("omega", "phi", "mu", "gamma")
        output = self.hidden_layers + 1
        filters = [tuple(f"{part}_{number}" for part in parts) for number in range(output)]
        linear = [(), *((f"weight_{layer}", f"bias_{layer}") for layer in range(1, output + 1))]
        return tuple((*own, *names) for own, names in zip([*filters, ()], linear, strict=True))

    def macs(self, in_features: int, out_features: int) -> int:
        """Products of filters and layers."""
        assert self.hidden_features is not None, "call sized() first"
        width, filters = self.hidden_features, self.hidden_layers + 1
        of_filter = in_features if self.filter == "fourier" else 2 * in_features + 1
        return width * (filters * of_filter + self.hidden_layers * width + out_features)
