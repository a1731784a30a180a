"""ReLU network on random Fourier features: formula, initialisation, counts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from partinr.backbones import Fourier
from partinr.base.errors import PartinrError
from tests.covering import cases


def test_the_papers_network():
    # Four layers of 256, 256 frequencies: 512 features of them go in.
    backbone = Fourier(hidden_features=256)
    assert backbone.parameters(2, 3) == (512 + 1) * 256 + 2 * (256 + 1) * 256 + (256 + 1) * 3
    params = backbone.init(1, 2, 3, None)
    assert params["frequencies"].shape == (1, 256, 2)
    assert sum(value.numel() for value in params.values()) == backbone.parameters(2, 3) + 256 * 2


def test_as_many_frequencies_as_features_or_as_are_given():
    for frequencies, rows in [(None, 6), (4, 4), (20, 20)]:
        backbone = Fourier(hidden_features=6, hidden_layers=1, frequencies=frequencies)
        assert backbone.init(1, 2, 3, None)["frequencies"].shape == (1, rows, 2)
        assert backbone.parameters(2, 3) == (2 * rows + 1) * 6 + 7 * 6 + 7 * 3
        assert backbone.with_width(9).init(1, 2, 3, None)["frequencies"].shape[1] == (frequencies or 9)


@pytest.mark.parametrize("d", [1, 2])
def test_the_features_are_those_of_the_paper_on_the_unit_square_but_for_phases(d):
    backbone = Fourier(hidden_features=5)
    params = {name: value[0].double() for name, value in backbone.init(1, d, 3, None).items()}
    x = 2 * torch.rand(7, d, dtype=torch.float64) - 1
    cosine, sine = backbone.encode(params, x, F.linear).chunk(2, dim=-1)
    unit = (x + 1) / 2
    waves = torch.polar(torch.ones_like(cosine), 2 * math.pi * unit @ params["frequencies"].T)
    # The middle of the square is at 1/2 there, at 0 here.
    middle = torch.polar(torch.ones_like(cosine[0]), math.pi * params["frequencies"].sum(-1))
    torch.testing.assert_close(torch.complex(cosine, sine) * middle, waves, rtol=1e-9, atol=1e-9)


def test_initialisation():
    params = Fourier(hidden_features=64, scale=7.0).init(20, 2, 3, torch.Generator().manual_seed(0))
    assert float(params["frequencies"].std()) == pytest.approx(7.0, rel=0.05)
    assert abs(float(params["frequencies"].mean())) < 0.6
    for layer in range(4):
        weight = params[f"weight_{layer}"]
        assert float(weight.std()) == pytest.approx(math.sqrt(2 / sum(weight.shape[1:])), rel=0.05)
        assert float(params[f"bias_{layer}"].std()) == pytest.approx(0.01, rel=0.25)


def test_frequencies_follow_from_the_seed_whatever_comes_after():
    shallow, deep = (
        Fourier(hidden_features=6, hidden_layers=layers).init(2, 2, 3, torch.Generator().manual_seed(4))
        for layers in (0, 3)
    )
    assert torch.equal(shallow["frequencies"], deep["frequencies"])


def test_options_out_of_range_are_refused():
    for options in cases({"scale": 0.0}, {"scale": math.inf}, {"frequencies": 0}, {"frequencies": 2.5}):
        with pytest.raises(PartinrError, match=r"Fourier\."):
            Fourier(hidden_features=4, **options)
