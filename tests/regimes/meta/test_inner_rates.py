"""Learning rates of the inner loop: how many there are, what they begin with, which one a step takes."""

from __future__ import annotations

import math

import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.regimes.meta import RATE_KINDS, InnerRates
from tests.covering import covering

PARAMS = {"w": torch.zeros(2, 3, 4), "b": torch.zeros(2, 3)}
COUNTS = {"static": 0, "global": 1, "per_step": 5, "per_parameter": 30, "per_parameter_per_step": 150}


def test_every_kind_is_known_here():
    assert set(COUNTS) == set(RATE_KINDS)


@covering(positive=[False, True], kind=RATE_KINDS)
def test_all_begin_with_the_value(kind, positive):
    rates = InnerRates(PARAMS, kind, 1e-3, 5, positive)
    assert sum(each.numel() for each in rates.parameters()) == COUNTS[kind]
    assert rates.learned == (kind != "static")
    for step in range(5):
        for name, value in PARAMS.items():
            rate = torch.as_tensor(rates.at(step, name))
            torch.testing.assert_close(rate.expand(value.shape), torch.full_like(value, 1e-3))
    assert math.isclose(rates.mean(), 1e-3, rel_tol=1e-5)


@covering(kind=["per_step", "per_parameter_per_step"], sign=[1.0, -1.0], positive=[False, True])
def test_steps_beyond_the_last_take_the_median_and_never_a_negative_rate(kind, sign, positive):
    rates = InnerRates(PARAMS, kind, 1e-3, 3, positive)
    raw = sign * torch.tensor([3.0, 0.5, 1.0])
    with torch.no_grad():
        for each in rates.parameters():
            each.copy_(raw.reshape(3, *[1] * (each.ndim - 1)).expand_as(each))
    trained = [torch.as_tensor(rates.at(step, "w")).detach().unique() for step in range(3)]
    assert torch.equal(torch.cat(trained), raw.exp() if positive else raw)
    expected = math.exp(sign) if positive else max(0.0, sign)
    for step in (3, 10**6):
        assert torch.as_tensor(rates.at(step, "b")).detach().unique().tolist() == pytest.approx([expected])


@pytest.mark.parametrize("kind", ["per_parameter", "per_parameter_per_step"])
def test_a_network_has_the_rates_of_its_cell(kind):
    rates = InnerRates(PARAMS, kind, 1e-3, 2)
    with torch.no_grad():
        for each in rates.parameters():
            each.copy_(torch.rand(each.shape, generator=torch.Generator().manual_seed(0)))
    cell = torch.tensor([1, 0, 0])
    for name in PARAMS:
        own = rates.at(1, name)
        assert isinstance(own, torch.Tensor)
        found = rates.at(1, name, cell)
        assert torch.equal(torch.as_tensor(found), own[cell])


@pytest.mark.parametrize("kind", RATE_KINDS[1:])
def test_logarithms_keep_a_rate_above_0(kind):
    rates = InnerRates(PARAMS, kind, 1e-3, 2, positive=True)
    with torch.no_grad():
        for each in rates.parameters():
            each.sub_(30)
    assert 0 < torch.as_tensor(rates.at(0, "w")).detach().min() < 1e-15
    assert 0 < rates.mean() < 1e-15


@pytest.mark.parametrize("value", [0.0, -1e-3, math.nan, math.inf])
def test_a_rate_that_none_can_begin_with_is_refused(value):
    with pytest.raises(PartinrError, match=r"^regime\.inner_lr=[^\n]*; give a number above 0$"):
        InnerRates(PARAMS, "global", value, 2)


def test_an_unknown_kind_is_refused():
    with pytest.raises(PartinrError, match=r"^regime\.inner_lr_kind='each' is unknown; choose from static, [^\n]*$"):
        InnerRates(PARAMS, "each", 1e-3, 2)  # type: ignore[arg-type]
