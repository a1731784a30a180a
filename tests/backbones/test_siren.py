"""SIREN: initialisation, formula, counts."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from tests.covering import covering


@pytest.mark.parametrize(("networks", "width", "expected"), [(1, 512, 791_043), (9, 170, 794_097)])
def test_parameter_counts_of_the_paper(networks, width, expected):
    backbone = Siren(hidden_features=width, hidden_layers=3)
    assert networks * backbone.parameters(2, 3) == expected
    assert sum(value.numel() for value in backbone.init(networks, 2, 3, None).values()) == expected


@pytest.mark.parametrize(("d", "c", "width", "layers", "omega"), [(2, 3, 64, 3, 30.0), (1, 1, 48, 1, 10.0)])
def test_initialisation_is_uniform_within_the_papers_bounds(d, c, width, layers, omega):
    backbone = Siren(hidden_features=width, hidden_layers=layers, omega_0=omega, first_omega_0=7.0)
    params = backbone.init(40, d, c, torch.Generator().manual_seed(0))
    assert len(params) == 2 * (layers + 2)
    for layer in range(layers + 2):
        weight, bias = params[f"weight_{layer}"], params[f"bias_{layer}"]
        fan_in = weight.shape[-1]
        bound = 1 / fan_in if layer == 0 else math.sqrt(6 / fan_in) / omega
        for values, limit in [(weight, bound), (bias, 1 / math.sqrt(fan_in))]:
            peak = float(values.abs().max())
            # Of 40 values and more, the largest lies within a tenth of the bound, and the spread is a uniform one's.
            assert 0.9 * limit < peak <= limit
            assert float(values.std()) == pytest.approx(limit / math.sqrt(3), rel=0.25)
            assert abs(float(values.mean())) < limit * 5 / math.sqrt(3 * values.numel())


def test_scaled_weights_are_all_but_the_output_layers():
    options: dict[str, Any] = {"hidden_features": 8, "hidden_layers": 2}
    plain, scaled = (
        Siren(weight_scale=scale, **options).init(3, 2, 3, torch.Generator().manual_seed(0)) for scale in (1.0, 2.5)
    )
    for name, value in plain.items():
        factor = 2.5 if name in ("weight_0", "weight_1", "weight_2") else 1
        torch.testing.assert_close(scaled[name], factor * value)


def test_networks_of_a_stack_start_differently_and_from_the_seed_alone():
    backbone = Siren(hidden_features=8)

    def start(seed):
        return backbone.init(3, 2, 3, torch.Generator().manual_seed(seed))

    for name, value in start(5).items():
        assert torch.equal(value, start(5)[name])
        assert not torch.equal(value, start(6)[name])
        assert not torch.equal(value[0], value[1])


class Sine(nn.Module):
    def __init__(self, omega: float) -> None:
        super().__init__()
        self.omega = omega

    def forward(self, x):
        return torch.sin(self.omega * x)


@covering(omegas=[(60.0, 30.0), (10.0, 30.0), (1.0, 1.0)], layers=[0, 1, 3])
def test_the_same_weights_in_a_plain_module_give_the_same_values(layers, omegas):
    backbone = Siren(hidden_features=16, hidden_layers=layers, first_omega_0=omegas[0], omega_0=omegas[1])
    params = {name: value.double() for name, value in backbone.init(1, 2, 3, torch.Generator().manual_seed(1)).items()}

    widths = [2, *[16] * (layers + 1), 3]
    modules: list[nn.Module] = []
    for layer in range(layers + 2):
        linear = nn.Linear(widths[layer], widths[layer + 1], dtype=torch.float64)
        linear.load_state_dict({"weight": params[f"weight_{layer}"][0], "bias": params[f"bias_{layer}"][0]})
        modules.append(linear)
        if layer <= layers:
            modules.append(Sine(omegas[0] if layer == 0 else omegas[1]))
    plain = nn.Sequential(*modules)

    x = 2 * torch.rand(50, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) - 1
    values = backbone.apply({name: value[0] for name, value in params.items()}, x, F.linear)
    torch.testing.assert_close(values, plain(x), rtol=1e-11, atol=1e-11)


@covering(name=["omega_0", "first_omega_0", "weight_scale"], value=[0.0, -30.0, math.inf, math.nan, "30", True])
def test_frequencies_out_of_range_are_refused(name, value):
    with pytest.raises(PartinrError, match=rf"Siren\.{name}="):
        Siren(hidden_features=4, **{name: value})


def test_a_whole_number_is_a_frequency():
    assert Siren(hidden_features=4, omega_0=30).omega_0 == 30.0


def test_under_autocast_the_first_and_the_last_layer_keep_all_digits():
    backbone = Siren(hidden_features=24, hidden_layers=2)
    params = {name: value[0] for name, value in backbone.init(1, 2, 3, torch.Generator().manual_seed(0)).items()}
    coords = 2 * torch.rand(50, 2, generator=torch.Generator().manual_seed(1)) - 1
    seen = []

    def linear(x, weight, bias):
        values = torch.nn.functional.linear(x, weight, bias)
        seen.append((x.dtype, values.dtype))
        return values

    exact = backbone.apply(params, coords, torch.nn.functional.linear)
    with torch.autocast("cpu", torch.bfloat16):
        values = backbone.apply(params, coords, linear)
    single, half = torch.float32, torch.bfloat16
    assert seen == [(single, single), (single, half), (half, half), (single, single)]
    assert values.dtype == single
    torch.testing.assert_close(values, exact, rtol=0, atol=0.03)
