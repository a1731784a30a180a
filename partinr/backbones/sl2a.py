"""SL²A-INR (Heidari et al., "Single-Layer Learnable Activation for Implicit Neural Representation", ICCV 2025)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from partinr.backbones.base import Backbone, all_digits, init_by_fan
from partinr.base.spec import spec
from partinr.engines.base import Linear


@spec
class Sl2a(Backbone):
    """A layer of learned polynomials Ψ, and low-rank ReLU layers that Ψ modulates (section 3).

    ``Ψ(x) = norm(Σ_d Σ_k c_dk T_k(tanh x_d))`` with Chebyshev polynomials T_0 … T_degree, and a normalisation over the
    features with gain and shift. Then ``y_0 = Ψ``, ``y_i = max(0, U_i V_i (Ψ ∘ y_{i-1}) + b_i)``, and a linear output
    layer takes ``Ψ ∘ y``.

    As in the authors' code, coefficients start uniform in ±sqrt(6 / ((d + width) (degree + 1))), V in ±1 / sqrt(rank),
    U in ±1 / sqrt(width), hidden biases in ±1 / sqrt(rank), and the output layer in ±1 / sqrt(width). Its networks for
    images are 256 wide with degree 256 and rank 128. By default degree and rank have that share of the width.

    Attributes:
        hidden_layers: low-rank layers, 0 or more.
        degree: highest polynomial, 1 or more; null for as many as hidden features. It bounds the frequencies.
        rank: columns of U, 1 or more; null for half the hidden features.
    """

    hidden_layers: Annotated[int, Field(ge=0)] = 3
    degree: Annotated[int, Field(ge=1)] | None = None
    rank: Annotated[int, Field(ge=1)] | None = None

    def sizes(self, in_features: int) -> tuple[int, int, int]:
        """Width, polynomials over all axes, and rank."""
        assert self.hidden_features is not None, "call sized() first"
        width = self.hidden_features
        terms = (width if self.degree is None else self.degree) + 1
        return width, in_features * terms, max(1, width // 2) if self.rank is None else self.rank

    def init(
        self, networks: int, in_features: int, out_features: int, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Initial parameters: ``coefficients``, ``gain``, ``shift``; ``right_i`` V, ``left_i`` U, ``bias_i``."""
        width, terms, rank = self.sizes(in_features)
        bound = math.sqrt(6 * in_features / ((in_features + width) * terms))
        coefficients = torch.empty(networks, width, terms).uniform_(-bound, bound, generator=generator)
        params = {
            "coefficients": coefficients,
            "gain": torch.ones(networks, width),
            "shift": torch.zeros(networks, width),
        }
        narrow, wide = 1 / math.sqrt(rank), 1 / math.sqrt(width)
        for layer in range(1, self.hidden_layers + 1):
            for name, shape, bound in (
                ("right", (rank, width), narrow),
                ("left", (width, rank), wide),
                ("bias", (width,), narrow),
            ):
                value = torch.empty(networks, *shape)
                params[f"{name}_{layer}"] = value.uniform_(-bound, bound, generator=generator)
        weight, bias = torch.empty(networks, out_features, width), torch.empty(networks, out_features)
        init_by_fan(weight, bias, generator)
        return {**params, "weight": weight, "bias": bias}

    def apply(self, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        """Values, see :meth:`Backbone.apply`; autocast applies to the low-rank layers only."""
        width, terms, _ = self.sizes(x.shape[-1])
        coefficients = params["coefficients"]
        with all_digits(x):
            # T_k(cos θ) = cos(k θ).
            order = torch.arange(terms // x.shape[-1], dtype=x.dtype, device=x.device)
            polynomials = torch.cos(torch.acos(torch.tanh(x)).unsqueeze(-1) * order).flatten(-2)
            psi = linear(polynomials, coefficients, torch.zeros_like(coefficients[..., 0]))
            psi = F.layer_norm(psi, (width,)) * params["gain"].unsqueeze(-2) + params["shift"].unsqueeze(-2)
        y = psi
        for layer in range(1, self.hidden_layers + 1):
            right = params[f"right_{layer}"]
            low = linear(psi * y, right, torch.zeros_like(right[..., 0]))
            y = torch.relu(linear(low, params[f"left_{layer}"], params[f"bias_{layer}"]))
        with all_digits(x):
            return linear((psi * y).to(params["weight"].dtype), params["weight"], params["bias"])

    def macs(self, in_features: int, out_features: int) -> int:
        """Products of the polynomials, the low-rank layers and the output layer."""
        width, terms, rank = self.sizes(in_features)
        return width * (terms + 2 * rank * self.hidden_layers + out_features)

    def layers(self) -> tuple[tuple[str, ...], ...]:
        """The polynomials, the low-rank layers, and the output layer."""
        hidden = [
            tuple(f"{name}_{layer}" for name in ("right", "left", "bias")) for layer in range(1, self.hidden_layers + 1)
        ]
        return (("coefficients", "gain", "shift"), *hidden, ("weight", "bias"))

    def output_bias(self) -> str:
        """The bias of the output layer."""
        return "bias"

    def hidden_matrices(self) -> tuple[str, ...] | None:
        """The factors of the hidden layers."""
        return (
            tuple(f"{name}_{layer}" for layer in range(1, self.hidden_layers + 1) for name in ("right", "left")) or None
        )
