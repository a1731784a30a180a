"""FINER: formula, initialisation, counts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from partinr.backbones import Finer, Siren
from partinr.base.errors import PartinrError
from tests.covering import covering


def test_a_network_has_as_many_parameters_as_a_siren():
    assert Finer(hidden_features=256).parameters(2, 3) == Siren(hidden_features=256).parameters(2, 3)


def test_the_formula():
    backbone = Finer(hidden_features=5, hidden_layers=1, first_omega_0=4.0, omega_0=3.0, first_bias=2.0)
    params = {name: value[0].double() for name, value in backbone.init(1, 2, 3, None).items()}
    x = 2 * torch.rand(9, 2, dtype=torch.float64) - 1
    hidden = x
    for layer, omega in enumerate((4.0, 3.0)):
        z = hidden @ params[f"weight_{layer}"].T + params[f"bias_{layer}"]
        hidden = torch.sin(omega * (z.abs() + 1) * z)
    expected = hidden @ params["weight_2"].T + params["bias_2"]
    torch.testing.assert_close(backbone.apply(params, x, F.linear), expected)


def test_initialisation():
    for first_bias, bound in [(None, 1 / math.sqrt(2)), (5.0, 5.0), (0.1, 0.1)]:
        backbone = Finer(hidden_features=48, omega_0=20.0, first_bias=first_bias)
        params = backbone.init(20, 2, 3, torch.Generator().manual_seed(0))
        for layer in range(5):
            fan_in = params[f"weight_{layer}"].shape[-1]
            limits = {
                "weight": 1 / fan_in if layer == 0 else math.sqrt(6 / fan_in) / 20,
                "bias": bound if layer == 0 else 1 / math.sqrt(fan_in),
            }
            for name, limit in limits.items():
                values = params[f"{name}_{layer}"]
                assert 0.9 * limit < float(values.abs().max()) <= limit * (1 + 1e-6)
                assert float(values.std()) == pytest.approx(limit / math.sqrt(3), rel=0.2)


@covering(name=["omega_0", "first_omega_0", "first_bias"], value=[0.0, -1.0, math.nan])
def test_options_out_of_range_are_refused(name, value):
    with pytest.raises(PartinrError, match=rf"Finer\.{name}"):
        Finer(hidden_features=4, **{name: value})
