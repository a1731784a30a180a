"""ReLU network on a harmonic encoding: formula, initialisation, counts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from partinr.backbones import ReluPE
from partinr.base.errors import PartinrError
from tests.covering import cases


@pytest.mark.parametrize(("networks", "width", "expected"), [(1, 512, 912_899), (9, 148, 920_439)])
def test_parameter_counts_of_the_paper(networks, width, expected):
    backbone = ReluPE(hidden_features=width, hidden_layers=3)
    assert networks * backbone.parameters(2, 3) == expected
    assert sum(value.numel() for value in backbone.init(networks, 2, 3, None).values()) == expected


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize(("frequencies", "base"), [(1, 1.0), (6, 0.5), (4, math.pi)])
def test_the_encoding_is_a_sine_and_a_cosine_of_every_octave(d, frequencies, base):
    backbone = ReluPE(hidden_features=4, frequencies=frequencies, base=base)
    x = 2 * torch.rand(7, d, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1
    encoded = backbone.encode({}, x, F.linear)
    assert encoded.shape == (7, backbone.encoded_features(d)) == (7, 2 * frequencies * d)
    expected = {
        (sample, round(function(base * 2**k * float(x[sample, axis])), 9))
        for sample in range(7)
        for axis in range(d)
        for k in range(frequencies)
        for function in (math.sin, math.cos)
    }
    assert {(sample, round(float(value), 9)) for sample, row in enumerate(encoded) for value in row} == expected


def test_the_encoding_is_the_same_for_one_network_and_for_many():
    backbone = ReluPE(hidden_features=4, frequencies=5)
    x = torch.rand(3, 8, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(backbone.encode({}, x, F.linear)[1], backbone.encode({}, x[1], F.linear), rtol=0, atol=0)


def test_the_papers_sixty_octaves_stay_within_one():
    encoded = ReluPE(hidden_features=4).encode({}, 2 * torch.rand(100, 2) - 1, F.linear)
    assert encoded.isfinite().all()
    assert float(encoded.abs().max()) <= 1


def test_he_initialisation():
    params = ReluPE(hidden_features=64, hidden_layers=2, frequencies=8).init(30, 2, 3, torch.Generator().manual_seed(0))
    for layer in range(4):
        weight = params[f"weight_{layer}"]
        assert float(weight.std()) == pytest.approx(math.sqrt(2 / weight.shape[-1]), rel=0.05)
        assert not params[f"bias_{layer}"].any()


def test_the_layers_are_affine_maps_with_a_rectifier_between():
    backbone = ReluPE(hidden_features=6, hidden_layers=1, frequencies=2)
    params = {name: value[0].double() for name, value in backbone.init(1, 1, 1, None).items()}
    x = torch.rand(20, 1, dtype=torch.float64)
    hidden = backbone.encode({}, x, F.linear)
    for layer in range(2):
        hidden = (hidden @ params[f"weight_{layer}"].T + params[f"bias_{layer}"]).clamp(min=0)
    expected = hidden @ params["weight_2"].T + params["bias_2"]
    torch.testing.assert_close(backbone.apply(params, x, F.linear), expected)


def test_options_out_of_range_are_refused():
    for options in cases(
        {"frequencies": 0}, {"frequencies": 2.0}, {"frequencies": 1000}, {"base": 0.0}, {"base": math.inf}
    ):
        with pytest.raises(PartinrError, match=r"ReluPE\."):
            ReluPE(hidden_features=4, **options)
