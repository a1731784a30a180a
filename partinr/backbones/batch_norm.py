"""Batch normalisation in a coordinate network (Cai et al., CVPR 2024).

"Batch Normalization Alleviates the Spectral Bias in Coordinate Networks": a layer takes ``gain · (z - mean) / std +
shift`` in place of ``z = W x + b``, with mean and standard deviation over the batch. The authors' code never leaves the
training mode of its layers: it also evaluates with the statistics of the batch, which is the whole image. The value at
a point then depends on the points that it is evaluated with, and half an image or another resolution gives another
function.

Here mean and standard deviation are those of z at :data:`PROBES` fixed points, evenly spread over the network's frame,
with the present weights. They change with the weights, gradients go through them as through those of a batch, and a
network stays a pure function of its parameters and a coordinate: the same for one region and for many, in training and
evaluation, and at any resolution. With ``coords.frame=local`` the points lie in the region's own box; with
``coords.frame=global`` they lie in the whole signal, of which the network sees a part.

The authors' layers end in ReLU. In front of a sine, z is scaled by omega; a gain of 1 and a shift of 0 replace that,
and give each sine an input of mean 0 and variance 1, which is what SIREN's initialisation aims at. The first layer is
not normalised, since the scale of its z sets the frequencies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from partinr.engines.base import Linear

if TYPE_CHECKING:
    from partinr.backbones.siren import Siren

PROBES = 256
"""Points at which a network is measured. Their work is that of so many more samples for each network in each pass."""

EPS = 1e-5
"""Added to the variance, as in torch's ``BatchNorm1d``."""


def probe_points(axes: int, like: Tensor) -> Tensor:
    """Points ``[PROBES, axes]`` evenly spread over [-1, 1], in the type and on the device of ``like``.

    Multiples of powers of 1 / g modulo 1, where ``g^(axes + 1) = g + 1``: the additive recurrence of Roberts, "The
    Unreasonable Effectiveness of Quasirandom Sequences" (2018).
    """
    root = 2.0
    for _ in range(40):
        root = (1 + root) ** (1 / (axes + 1))
    number = torch.arange(1, PROBES + 1, dtype=torch.float64, device=like.device)
    points = torch.stack([(0.5 + number * root ** -(axis + 1)) % 1 for axis in range(axes)], dim=-1)
    return (2 * points - 1).to(like.dtype)


def normalised(network: Siren, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Mapping[str, Tensor]:
    """Parameters with which the plain hidden layers compute what the normalised ones do.

    Args:
        network: the network; its parameters have ``gain_i`` and ``shift_i [..., out]`` for each hidden layer.
        params: its parameters, with or without an axis of networks.
        x: coordinates ``[..., n, d]``, of which only the number of axes counts.
        linear: the product of the engine.
    """
    found = dict(params)
    points = probe_points(x.shape[-1], params["weight_0"])
    hidden = network.layer(0, params, points.expand(*params["weight_0"].shape[:-2], -1, -1), linear)
    for layer in range(1, network.hidden_layers + 1):
        weight, bias, omega = params[f"weight_{layer}"], params[f"bias_{layer}"], network.omega(layer)
        z = linear(hidden, weight, bias)
        gain = params[f"gain_{layer}"] * (z.var(-2, correction=0) * omega**2 + EPS).rsqrt()
        found[f"weight_{layer}"] = gain.unsqueeze(-1) * weight
        found[f"bias_{layer}"] = gain * (bias - z.mean(-2)) + params[f"shift_{layer}"] / omega
        hidden = network.layer(layer, found, hidden, linear)
    return found
