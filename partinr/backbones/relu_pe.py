"""ReLU network on a harmonic encoding of the coordinates (Mildenhall et al., "NeRF", 2020, equation 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from partinr.backbones.base import Mlp
from partinr.base.spec import spec
from partinr.engines.base import Linear


@spec
class ReluPE(Mlp):
    """The first layer's input is ``sin(base · 2^k x), cos(base · 2^k x)``, k = 0 … frequencies - 1, per coordinate.

    Weights start as He's normal initialisation, ``N(0, 2 / fan_in)``, biases at 0. The defaults, 60 frequencies from
    0.5, are the partition paper's. The highest octaves are far beyond the resolution of single precision. There the
    encoding is a fixed but patternless code of the coordinate, which helps to fit the given samples but is meaningless
    between them. Use fewer frequencies (10) to render at another resolution.

    Attributes:
        frequencies: octaves of the encoding, 1 or more.
        base: angular frequency of the lowest octave, above 0.
    """

    title: ClassVar[str] = "relu_pe"
    frequencies: Annotated[int, Field(ge=1, le=120)] = 60
    base: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.5

    def encoded_features(self, in_features: int) -> int:
        """A sine and a cosine for each coordinate and octave."""
        return 2 * self.frequencies * in_features

    def encode(self, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        """``[..., n, d]`` to ``[..., n, 2 · frequencies · d]``."""
        octaves = self.base * 2.0 ** torch.arange(self.frequencies, device=x.device, dtype=x.dtype)
        angles = (x.unsqueeze(-1) * octaves).flatten(-2)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def init_layer(self, layer: int, weight: Tensor, bias: Tensor, generator: torch.Generator | None) -> None:
        """He's initialisation (He et al. 2015) by the fan-in."""
        weight.normal_(0.0, math.sqrt(2 / weight.shape[-1]), generator=generator)
        bias.zero_()

    def activation(self, layer: int, x: Tensor, weight: Tensor, bias: Tensor, linear: Linear) -> Tensor:
        """``max(0, W x + b)``."""
        return torch.relu(linear(x, weight, bias))
