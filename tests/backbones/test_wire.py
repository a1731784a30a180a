"""WIRE: complex wavelets in real numbers, initialisation, counts."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from partinr.backbones import Siren, Wire
from partinr.base.errors import PartinrError
from tests.covering import covering


def by_complex_numbers(backbone: Wire, params: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The paper's formula on complex tensors."""
    z = x.to(torch.complex128)
    for layer in range(backbone.hidden_layers + 2):
        weight, bias = params[f"weight_{layer}"], params[f"bias_{layer}"]
        if layer > backbone.hidden_layers:
            real, imaginary = weight.chunk(2, dim=-1)
            # Its columns are factors of real and imaginary parts: the real part of a product with the conjugate.
            return (z @ torch.complex(real, -imaginary).T).real + bias
        if layer > 0:
            weight, bias = torch.complex(*weight.chunk(2)), torch.complex(*bias.chunk(2))
        z = z @ weight.to(z).T + bias
        z = torch.exp(1j * backbone.omega_0 * z - (backbone.scale_0 * z).abs().square())
    raise AssertionError


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize(("omega", "scale"), [(20.0, 10.0), (3.0, 0.5)])
def test_the_formula_in_complex_numbers(layers, omega, scale):
    backbone = Wire(hidden_features=6, hidden_layers=layers, omega_0=omega, scale_0=scale)
    generator = torch.Generator().manual_seed(0)
    params = {name: value[0].double() for name, value in backbone.init(1, 2, 3, generator).items()}
    x = 2 * torch.rand(30, 2, dtype=torch.float64, generator=generator) - 1
    expected = by_complex_numbers(backbone, params, x)
    torch.testing.assert_close(backbone.apply(params, x, F.linear), expected, rtol=1e-9, atol=1e-9)
    assert float(expected.std()) > 1e-3  # not all wavelets are where nothing is


@pytest.mark.parametrize(("d", "width", "layers", "c"), [(2, 181, 2, 3), (1, 7, 0, 1)])
def test_a_complex_number_counts_as_two(d, width, layers, c):
    backbone = Wire(hidden_features=width, hidden_layers=layers)
    by_hand = (d + 1) * width + layers * 2 * (width + 1) * width + (2 * width + 1) * c
    assert backbone.parameters(d, c) == by_hand
    assert sum(value.numel() for value in backbone.init(3, d, c, None).values()) == 3 * by_hand


def test_a_width_of_one_over_the_root_of_two_has_about_the_same_budget():
    real, complex_one = Siren(hidden_features=256, hidden_layers=2), Wire(hidden_features=round(256 / math.sqrt(2)))
    assert complex_one.parameters(2, 3) == pytest.approx(real.parameters(2, 3), rel=0.01)


def test_initialisation_is_uniform_by_the_fan():
    params = Wire(hidden_features=48).init(20, 2, 3, torch.Generator().manual_seed(0))
    for layer, fan_in in enumerate((2, 48, 48, 48)):
        bound = 1 / math.sqrt(fan_in)
        # In the paper's code, the real part of the output layer's bias is drawn in the same way.
        bounds = {"weight": bound, "bias": bound}
        for name, limit in bounds.items():
            values = params[f"{name}_{layer}"]
            assert 0.9 * limit < float(values.abs().max()) <= limit * (1 + 1e-6)
            assert float(values.std()) == pytest.approx(limit / math.sqrt(3), rel=0.2)


@covering(name=["omega_0", "scale_0"], value=[0.0, -1.0, math.inf])
def test_options_out_of_range_are_refused(name, value):
    with pytest.raises(PartinrError, match=rf"Wire\.{name}="):
        Wire(hidden_features=4, **{name: value})
