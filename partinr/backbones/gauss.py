"""Network with Gaussian activations (Ramasinghe and Lucey, "Beyond Periodicity", 2022)."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from partinr.backbones.base import Mlp, init_by_fan
from partinr.base.spec import spec
from partinr.engines.base import Linear


@spec
class Gauss(Mlp):
    """A layer is ``exp(-(W x + b)^2 / (2 sigma^2))`` (table 1 of the paper).

    The paper finds that such a network needs no special initialisation: weights and biases start as in torch's
    ``Linear``, uniform in ±1 / sqrt(fan_in). The output layer is linear.

    Attributes:
        sigma: width of the activation, above 0; smaller values give higher frequencies.
    """

    sigma: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05

    def init_layer(self, layer: int, weight: Tensor, bias: Tensor, generator: torch.Generator | None) -> None:
        """Uniform by the fan."""
        init_by_fan(weight, bias, generator)

    def activation(self, layer: int, x: Tensor, weight: Tensor, bias: Tensor, linear: Linear) -> Tensor:
        """``exp(-(W x + b)^2 / (2 sigma^2))``."""
        # The factor is multiplied into the weights, like SIREN's omega.
        narrow = 1 / (math.sqrt(2) * self.sigma)
        return torch.exp(-linear(x, narrow * weight, narrow * bias).square())
