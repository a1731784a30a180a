"""INCODE: formula, initialisation, counts."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from partinr.backbones import Incode, Siren


def test_the_formula():
    backbone = Incode(hidden_features=8, hidden_layers=1, first_omega_0=4.0, omega_0=3.0)
    params = {name: value[0].double() for name, value in backbone.init(1, 2, 3, None).items()}
    params = {name: value + 0.1 * torch.randn_like(value) for name, value in params.items()}
    code = params["code"]
    for layer in range(3):
        code = params[f"harmonizer_weight_{layer}"] @ code + params[f"harmonizer_bias_{layer}"]
        code = code if layer == 2 else code * torch.sigmoid(code)
    a, b, c, d = code
    x = 2 * torch.rand(9, 2, dtype=torch.float64) - 1
    hidden = x
    for layer, omega in enumerate((4.0, 3.0)):
        z = hidden @ params[f"weight_{layer}"].T + params[f"bias_{layer}"]
        hidden = a.exp() * torch.sin(b.exp() * omega * z + c) + d
    expected = hidden @ params["weight_2"].T + params["bias_2"]
    torch.testing.assert_close(backbone.apply(params, x, F.linear), expected)


def test_the_harmonizer_has_the_papers_share():
    backbone = Incode(hidden_features=256)
    # A code of 64, then 64 → 64 → 32 → 4 with biases.
    harmonizer = 64 + (64 * 64 + 64) + (64 * 32 + 32) + (32 * 4 + 4)
    assert backbone.parameters(2, 3) == Siren(hidden_features=256).parameters(2, 3) + harmonizer
    assert backbone.macs(2, 3) == Siren(hidden_features=256).macs(2, 3)
    assert backbone.macs_a_pass(2, 3) == 64 * 64 + 64 * 32 + 32 * 4
    assert Incode(hidden_features=256, features=8).harmonizer() == [8, 8, 4, 4]


def test_initialisation():
    params = Incode(hidden_features=64).init(30, 2, 3, torch.Generator().manual_seed(0))
    assert float(params["code"].std()) == pytest.approx(1, rel=0.1)
    for layer in range(3):
        assert float(params[f"harmonizer_weight_{layer}"].std()) == pytest.approx(0.001, rel=0.1)
        assert params[f"harmonizer_bias_{layer}"].eq(0.312).all()
