"""ReLU network on Gaussian random Fourier features (Tancik et al. 2020).

"Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains", section 6: the Gaussian
mapping, and its image regression.
"""

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


@spec
class Fourier(Mlp):
    """The first layer's input is ``cos(pi B x), sin(pi B x)`` with fixed frequencies B from ``N(0, scale^2)``.

    The paper's coordinates lie in [0, 1] and it maps ``2 pi B x``; on [-1, 1] the same frequencies are ``pi B x``. B is
    drawn for each network, from the seed, before the weights. It is stored with them but not trained, so it does not
    count in ``parameters`` or ``match_params``. Weights start as in the paper's code: Glorot's normal initialisation,
    biases ``N(0, 0.01^2)``. The default depth and number of frequencies (as many as features) follow the paper's image
    regression (256 each). The output layer is linear here, as in all backbones.

    Attributes:
        frequencies: rows of B; null for as many as there are hidden features.
        scale: standard deviation of the frequencies, in periods over the frame, above 0. ``auto``: follows from
            the signal.
    """

    title: ClassVar[str] = "fourier"
    fixed: ClassVar[frozenset[str]] = frozenset({"frequencies"})
    encoding: ClassVar[tuple[str, ...]] = ("frequencies",)
    frequency: ClassVar[str] = "scale"
    hidden_layers: Annotated[int, Field(ge=0)] = 2
    frequencies: Annotated[int, Field(ge=1)] | None = None
    scale: Frequency = 10.0

    def init_encoding(self, networks: int, in_features: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        """``frequencies [N, m, d]``: B."""
        shape = networks, self.encoded_features(in_features) // 2, in_features
        return {"frequencies": torch.empty(shape).normal_(0.0, settled(self.scale), generator=generator)}

    def encoded_features(self, in_features: int) -> int:
        """A cosine and a sine for each frequency."""
        frequencies = self.hidden_features if self.frequencies is None else self.frequencies
        assert frequencies is not None, "call sized() first"
        return 2 * frequencies

    def encode(self, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        """``[..., n, d]`` to ``[..., n, 2 m]``."""
        waves = math.pi * params["frequencies"]
        angles = linear(x, waves, torch.zeros_like(waves[..., 0]))
        return torch.cat([angles.cos(), angles.sin()], dim=-1)

    def init_layer(self, layer: int, weight: Tensor, bias: Tensor, generator: torch.Generator | None) -> None:
        """Glorot's normal initialisation (Glorot and Bengio 2010)."""
        weight.normal_(0.0, math.sqrt(2 / sum(weight.shape[-2:])), generator=generator)
        bias.normal_(0.0, 0.01, generator=generator)

    def activation(self, layer: int, x: Tensor, weight: Tensor, bias: Tensor, linear: Linear) -> Tensor:
        """``max(0, W x + b)``."""
        return torch.relu(linear(x, weight, bias))

    def macs(self, in_features: int, out_features: int) -> int:
        """Products of the layers, and of ``B x``."""
        return super().macs(in_features, out_features) + self.encoded_features(in_features) // 2 * in_features
