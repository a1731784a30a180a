"""Gaussian activations: formula, initialisation, counts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from partinr.backbones import Gauss, Siren
from partinr.base.errors import PartinrError


def test_a_network_has_as_many_parameters_as_a_siren():
    assert Gauss(hidden_features=256).parameters(2, 3) == Siren(hidden_features=256).parameters(2, 3)


def test_the_formula():
    backbone = Gauss(hidden_features=5, hidden_layers=1, sigma=0.3)
    params = {name: value[0].double() for name, value in backbone.init(1, 2, 3, None).items()}
    x = 2 * torch.rand(9, 2, dtype=torch.float64) - 1
    hidden = x
    for layer in range(2):
        z = hidden @ params[f"weight_{layer}"].T + params[f"bias_{layer}"]
        hidden = torch.exp(-(z**2) / (2 * 0.3**2))
    expected = hidden @ params["weight_2"].T + params["bias_2"]
    torch.testing.assert_close(backbone.apply(params, x, F.linear), expected)


def test_initialisation_is_uniform_by_the_fan():
    params = Gauss(hidden_features=48).init(20, 2, 3, torch.Generator().manual_seed(0))
    for layer in range(5):
        bound = 1 / math.sqrt(params[f"weight_{layer}"].shape[-1])
        for values in (params[f"weight_{layer}"], params[f"bias_{layer}"]):
            assert 0.9 * bound < float(values.abs().max()) <= bound
            assert float(values.std()) == pytest.approx(bound / math.sqrt(3), rel=0.2)


def test_options_out_of_range_are_refused():
    for sigma in [0.0, -1.0, math.nan, math.inf]:
        with pytest.raises(PartinrError, match=r"Gauss\.sigma="):
            Gauss(hidden_features=4, sigma=sigma)
