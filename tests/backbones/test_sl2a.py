"""SL²A: formula, initialisation, counts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from numpy.polynomial import chebyshev

from partinr.backbones import Sl2a


def test_the_formula():
    backbone = Sl2a(hidden_features=6, hidden_layers=2, degree=4, rank=2)
    params = {name: value[0].double() for name, value in backbone.init(1, 2, 3, None).items()}
    params["gain"], params["shift"] = params["gain"] + 0.3, params["shift"] - 0.2
    x = 2 * torch.rand(9, 2, dtype=torch.float64) - 1
    # chebvander: T_0 … T_4 by the recurrence.
    polynomials = torch.from_numpy(chebyshev.chebvander(torch.tanh(x).numpy(), 4))
    coefficients = params["coefficients"].reshape(6, 2, 5)
    psi = torch.einsum("ndk,odk->no", polynomials, coefficients)
    psi = (psi - psi.mean(-1, keepdim=True)) / (psi.var(-1, correction=0, keepdim=True) + 1e-5).sqrt() * 1.3 - 0.2
    y = psi
    for layer in (1, 2):
        product = params[f"left_{layer}"] @ params[f"right_{layer}"]
        y = ((psi * y) @ product.T + params[f"bias_{layer}"]).clamp(min=0)
    expected = (psi * y) @ params["weight"].T + params["bias"]
    torch.testing.assert_close(backbone.apply(params, x, F.linear), expected)


def test_the_network_of_the_authors_code_for_images():
    # 2 · 256 · 257 coefficients, 2 · 256 of the norm, 3 · (2 · 256 · 128 + 256), and 256 · 3 + 3.
    assert Sl2a(hidden_features=256).parameters(2, 3) == 131_584 + 512 + 197_376 + 771
    assert Sl2a(hidden_features=256).sizes(2) == (256, 2 * 257, 128)


def test_initialisation():
    params = Sl2a(hidden_features=24, degree=9, rank=4).init(50, 2, 3, torch.Generator().manual_seed(0))
    bounds = {
        "coefficients": math.sqrt(6 / ((2 + 24) * 10)),
        "right_1": 1 / math.sqrt(4),
        "left_1": 1 / math.sqrt(24),
        "bias_1": 1 / math.sqrt(4),
        "weight": 1 / math.sqrt(24),
        "bias": 1 / math.sqrt(24),
    }
    for name, bound in bounds.items():
        assert 0.97 * bound < float(params[name].abs().max()) <= bound * (1 + 1e-6), name
        assert float(params[name].std()) == pytest.approx(bound / math.sqrt(3), rel=0.1), name
    assert params["gain"].eq(1).all()
    assert params["shift"].eq(0).all()
