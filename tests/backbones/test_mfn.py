"""Multiplicative filter networks: formula, initialisation, counts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from partinr.backbones import Mfn
from partinr.base.errors import PartinrError
from tests.covering import cases


@pytest.fixture(params=["fourier", "gabor"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_the_formula(kind, layers):
    backbone = Mfn(hidden_features=5, hidden_layers=layers, filter=kind, input_scale=8.0)
    generator = torch.Generator().manual_seed(0)
    params = {name: value[0].double() for name, value in backbone.init(1, 2, 3, generator).items()}
    x = 2 * torch.rand(9, 2, dtype=torch.float64, generator=generator) - 1

    def filtered(number: int) -> torch.Tensor:
        wave = torch.sin(x @ params[f"omega_{number}"].T + params[f"phi_{number}"])
        if kind == "fourier":
            return wave
        distance = torch.cdist(x, params[f"mu_{number}"])
        return wave * torch.exp(-params[f"gamma_{number}"] / 2 * distance**2)

    z = filtered(0)
    for layer in range(1, layers + 1):
        z = (z @ params[f"weight_{layer}"].T + params[f"bias_{layer}"]) * filtered(layer)
    expected = z @ params[f"weight_{layers + 1}"].T + params[f"bias_{layers + 1}"]
    torch.testing.assert_close(backbone.apply(params, x, F.linear), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("d", "width", "layers", "c"), [(2, 256, 3, 1), (1, 7, 0, 3)])
def test_parameters_by_hand(kind, d, width, layers, c):
    of_filter = width * (d + 1 if kind == "fourier" else 2 * d + 2)
    by_hand = (layers + 1) * of_filter + layers * (width + 1) * width + (width + 1) * c
    assert Mfn(hidden_features=width, hidden_layers=layers, filter=kind).parameters(d, c) == by_hand


def test_initialisation(kind):
    backbone = Mfn(hidden_features=48, filter=kind, input_scale=100.0, alpha=8.0, beta=2.0)
    params = backbone.init(30, 2, 3, torch.Generator().manual_seed(0))
    limits = {"phi": math.pi, "omega": 100 / math.sqrt(4 * 2)}
    for number in range(4):
        found = {"phi": params[f"phi_{number}"], "omega": params[f"omega_{number}"]}
        if kind == "gabor":
            gamma, mu = params[f"gamma_{number}"], params[f"mu_{number}"]
            # Gamma(2, 2): mean 1, variance 1/2.
            assert float(gamma.min()) > 0
            assert float(gamma.mean()) == pytest.approx(1, abs=0.1)
            assert float(gamma.var()) == pytest.approx(0.5, abs=0.15)
            assert 0.95 < float(mu.abs().max()) <= 1
            found["omega"] = found["omega"] / gamma.sqrt().unsqueeze(-1)
        for name, values in found.items():
            assert 0.95 * limits[name] < float(values.abs().max()) <= limits[name] * (1 + 1e-5)
            assert float(values.std()) == pytest.approx(limits[name] / math.sqrt(3), rel=0.1)
    for layer in range(1, 5):
        for values in (params[f"weight_{layer}"], params[f"bias_{layer}"]):
            assert 0.9 / math.sqrt(48) < float(values.abs().max()) <= 1 / math.sqrt(48)


def test_options_out_of_range_are_refused():
    for options in cases(
        {"filter": "wavelet"}, {"input_scale": 0.0}, {"alpha": -1.0}, {"beta": 0.0}, {"alpha": math.inf}
    ):
        with pytest.raises(PartinrError, match=r"Mfn\."):
            Mfn(hidden_features=4, **options)
