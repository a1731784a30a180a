"""INCODE (Kazerouni et al., "INCODE: Implicit Neural Conditioning with Prior Knowledge Embeddings", WACV 2024)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from partinr.backbones.siren import Sines
from partinr.base.spec import spec
from partinr.engines.base import Linear

START = 0.312
"""Initial biases of the harmonizer, and so about its initial outputs, as in the paper's code for images."""


@spec
class Incode(Sines):
    """A layer is ``exp(a) sin(exp(b) omega (W x + b_W) + c) + d``; a harmonizer network gives a, b, c, d to all layers.

    The paper's harmonizer is a multilayer perceptron of 64, 64, 32 and 4 features with SiLU on a feature of the signal,
    from the first layers of a ResNet (equation 3). A network here sees coordinates only, and one network is fitted to
    one region, for which such a feature is a constant. So the harmonizer's input is a trained code of the network,
    which starts normal: it can become any feature, and neither pre-trained weights nor the image are needed to render.
    By default code and layers have the paper's share of the width, 64, 64 and 32 for 256 features.

    Sines start as SIREN's do, weights of the harmonizer normal with standard deviation 0.001, its biases at 0.312. The
    paper also penalises negative a, b, c and d, which start at 0.312; there is no such penalty here. The output layer
    is linear.

    Attributes:
        features: length of the code, 1 or more; null for a quarter of the hidden features.
    """

    encoding: ClassVar[tuple[str, ...]] = (
        "code",
        *(f"harmonizer_{kind}_{layer}" for layer in range(3) for kind in ("weight", "bias")),
    )
    features: Annotated[int, Field(ge=1)] | None = None

    def harmonizer(self) -> list[int]:
        """Features before, between and after the harmonizer's layers."""
        assert self.hidden_features is not None, "call sized() first"
        width = max(1, self.hidden_features // 4) if self.features is None else self.features
        return [width, width, max(1, width // 2), 4]

    def init_encoding(self, networks: int, in_features: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        """``code [N, features]``, and weights and biases of the harmonizer."""
        widths = self.harmonizer()
        params = {"code": torch.empty(networks, widths[0]).normal_(generator=generator)}
        for layer, (fan_in, fan_out) in enumerate(pairwise(widths)):
            weight = torch.empty(networks, fan_out, fan_in).normal_(0.0, 0.001, generator=generator)
            params[f"harmonizer_weight_{layer}"] = weight
            params[f"harmonizer_bias_{layer}"] = torch.full((networks, fan_out), START)
        return params

    def settle(self, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Mapping[str, Tensor]:
        """The parameters and ``harmony [..., 1, 4]``: a, b, c and d."""
        hidden = params["code"].unsqueeze(-2)
        for layer in range(3):
            hidden = hidden if layer == 0 else F.silu(hidden)
            hidden = linear(hidden, params[f"harmonizer_weight_{layer}"], params[f"harmonizer_bias_{layer}"])
        return {**super().settle(params, x, linear), "harmony": hidden}

    def layer(self, number: int, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        """``exp(a) sin(exp(b) omega (W x + b_W) + c) + d``."""
        omega = self.omega(number)
        a, b, c, d = params["harmony"].split(1, dim=-1)
        z = linear(x, omega * params[f"weight_{number}"], omega * params[f"bias_{number}"])
        return a.exp() * torch.sin(b.exp() * z + c) + d

    def macs_a_pass(self, in_features: int, out_features: int) -> int:
        """The products of the harmonizer."""
        return sum(fan_in * fan_out for fan_in, fan_out in pairwise(self.harmonizer()))
