"""WIRE (Saragadam et al., "WIRE: Wavelet Implicit Neural Representations", CVPR 2023)."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from partinr.backbones.base import Mlp, init_by_fan
from partinr.base.spec import spec
from partinr.engines.base import Linear


@spec
class Wire(Mlp):
    """A layer is the complex Gabor wavelet ``exp(i omega_0 z - |scale_0 z|^2)`` of ``z = W x + b`` (section 3).

    Weights and biases are complex from the second layer on, and the values are the real part of a linear output layer.
    As in the paper's code they start as in torch's ``Linear``, both parts uniform in ±1 / sqrt(fan_in).

    A complex number is stored as two real ones. Activations are their real parts followed by their imaginary parts, and
    so are the rows of ``weight_i`` and ``bias_i`` of hidden layers and the columns of the output layer's weights. Each
    complex number counts as two parameters, so at the same budget the width is about 1 / sqrt(2) of that of a real
    network, as in the paper. The imaginary part of the output layer's bias has no effect and is left out. The defaults
    are the paper's for images.

    Attributes:
        omega_0: frequency of the wavelet, above 0.
        scale_0: inverse of its width, above 0.
    """

    hidden_layers: Annotated[int, Field(ge=0)] = 2
    omega_0: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 20.0
    scale_0: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0

    def shapes(self, in_features: int, out_features: int) -> list[tuple[int, int]]:
        """Rows and columns of the stored real numbers."""
        first, *hidden, (channels, width) = super().shapes(in_features, out_features)
        return [first, *((2 * rows, columns) for rows, columns in hidden), (channels, 2 * width)]

    def init_layer(self, layer: int, weight: Tensor, bias: Tensor, generator: torch.Generator | None) -> None:
        """Uniform by the fan, in complex numbers."""
        if layer <= self.hidden_layers:
            init_by_fan(weight, bias, generator)
        else:
            # Half as many inputs as there are columns.
            init_by_fan(weight.unflatten(-1, (2, -1)), bias, generator)

    def activation(self, layer: int, x: Tensor, weight: Tensor, bias: Tensor, linear: Linear) -> Tensor:
        """``exp(i omega_0 z - |scale_0 z|^2)``, ``[..., n, in]`` or ``[..., n, 2 in]`` to ``[..., n, 2 out]``."""
        if layer > 0:
            real, imaginary = weight.chunk(2, dim=-2)
            weight = torch.cat([torch.cat([real, -imaginary], dim=-1), torch.cat([imaginary, real], dim=-1)], dim=-2)
        # omega is multiplied into the weights, as in SIREN: the result is omega z.
        z = linear(x, self.omega_0 * weight, self.omega_0 * bias)
        narrow = (self.scale_0 / self.omega_0) ** 2
        if layer == 0:
            size = torch.exp(-narrow * z.square())
        else:
            z, decay = z.chunk(2, dim=-1)
            size = torch.exp(-decay - narrow * (z.square() + decay.square()))
        return torch.cat([size * z.cos(), size * z.sin()], dim=-1)

    def hidden_matrices(self) -> None:
        """None: they are complex, stored as two real ones."""
        return None

    def macs(self, in_features: int, out_features: int) -> int:
        """Real multiply-accumulates: four for a complex product."""
        first, *hidden, output = self.shapes(in_features, out_features)
        products = [rows * columns for rows, columns in (first, output)]
        return sum(products) + sum(2 * rows * columns for rows, columns in hidden)
