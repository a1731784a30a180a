"""STAF: formula, initialisation, counts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from partinr.backbones import Siren, Staf


def test_the_formula():
    backbone = Staf(hidden_features=5, hidden_layers=1, tau=3)
    params = {name: value[0].double() for name, value in backbone.init(1, 2, 3, None).items()}
    x = 2 * torch.rand(9, 2, dtype=torch.float64) - 1
    hidden = x
    for layer in range(2):
        z = hidden @ params[f"weight_{layer}"].T + params[f"bias_{layer}"]
        c, omega, phi = (params[f"{name}_{layer}"] for name in ("amplitudes", "frequencies", "phases"))
        hidden = (c * torch.sin(z[..., None] * omega + phi)).sum(-1)
    expected = hidden @ params["weight_2"].T + params["bias_2"]
    torch.testing.assert_close(backbone.apply(params, x, F.linear), expected)


def test_a_layer_shares_its_terms():
    more = Staf(hidden_features=64, tau=7).parameters(2, 3) - Siren(hidden_features=64).parameters(2, 3)
    assert more == 4 * 3 * 7


def test_initialisation():
    params = Staf(hidden_features=3, first_omega_0=8.0).init(3000, 2, 3, torch.Generator().manual_seed(0))
    for layer, omega in ((0, 8.0), (1, 30.0)):
        amplitudes = params[f"amplitudes_{layer}"]
        # The mean of C² is that of |X|, the scale of a Laplace distribution, and that of |X|² twice the scale's square.
        assert float(amplitudes.square().mean()) == pytest.approx(1 / 10, rel=0.05)
        assert float(amplitudes.pow(4).mean()) == pytest.approx(2 * (1 / 10) ** 2, rel=0.1)
        assert abs(float(amplitudes.sign().mean())) < 0.05
        for name, low, high in (("frequencies", 0.0, omega), ("phases", -math.pi, math.pi)):
            values = params[f"{name}_{layer}"]
            assert float(values.min()) == pytest.approx(low, abs=0.01)
            assert float(values.max()) == pytest.approx(high, rel=0.01)
            assert float(values.mean()) == pytest.approx((low + high) / 2, abs=0.1)
    assert "amplitudes_4" not in params
    assert 0.99 / math.sqrt(3) < float(params["weight_1"].abs().max()) <= 1 / math.sqrt(3)


def test_a_layer_starts_with_variance_a_quarter():
    backbone = Staf(hidden_features=8, hidden_layers=0)
    params = backbone.init(4000, 1, 1, torch.Generator().manual_seed(0))
    values = backbone.layer(0, params, torch.linspace(-1, 1, 7).reshape(7, 1).expand(4000, -1, -1), torch_batched)
    assert float(values.var()) == pytest.approx(1 / 4, rel=0.1)


def torch_batched(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return x @ weight.mT + bias.unsqueeze(-2)
