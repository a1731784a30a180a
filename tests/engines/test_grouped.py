"""The grouped engine gives what the loop gives in bf16, on torch's own grouped product for the CPU."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from partinr.backbones import ReluPE, Siren
from partinr.base.errors import PartinrError
from partinr.engines import check_grouped, groups, make_plan, run_grouped, run_stack
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid

pytestmark = pytest.mark.skipif(not hasattr(F, "grouped_mm"), reason="torch has no grouped product before 2.10")

CPU = torch.device("cpu")
SIZES = [(13,), (3, 40, 1, 8), (0, 5, 0, 0, 3), (6, 6)]
# Widths on both sides of a multiple of 8.
BACKBONES = [
    Siren(hidden_features=8, hidden_layers=1, first_omega_0=3.0, omega_0=2.0),
    Siren(hidden_features=13, hidden_layers=0, first_omega_0=3.0),
    ReluPE(hidden_features=7, hidden_layers=2, frequencies=3),
]


def _case(backbone, sizes):
    generator = torch.Generator().manual_seed(0)
    params = backbone.init(len(sizes), 2, 3, generator)
    params = {name: (value + 0.01).requires_grad_() for name, value in params.items()}
    coords = (2 * torch.rand(sum(sizes), 2, generator=generator) - 1).requires_grad_()
    return params, coords, torch.randn(sum(sizes), 3, generator=generator)


def _near(found, expected):
    for one, other in zip(found, expected, strict=True):
        scale = float(other.detach().abs().max())
        torch.testing.assert_close(one.float(), other.float(), rtol=0.05, atol=0.05 * max(scale, 1e-3))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: f"{backbone.title}-{backbone.hidden_features}")
def test_values_and_gradients(backbone, sizes):
    params, coords, mix = _case(backbone, sizes)
    wanted = [coords, *params.values()]

    def results(values: Tensor) -> list[Tensor]:
        assert values.dtype == torch.float32  # of an output layer that keeps all digits
        return [values, *torch.autograd.grad((values * mix).sum(), wanted)]

    with torch.autocast("cpu", torch.bfloat16):
        grouped = run_grouped(backbone.apply, params, coords, sizes)
        plain = run_stack(backbone.apply, params, coords, make_plan(sizes, "loop", 1, CPU))
    _near(results(grouped), results(plain))


def test_gradients_of_gradients():
    backbone, sizes = BACKBONES[0], (5, 0, 9)
    params, coords, mix = _case(backbone, sizes)
    wanted = list(params.values())

    def second(values: Tensor) -> list[Tensor]:
        first = torch.autograd.grad((values.square() * mix).sum(), wanted, create_graph=True)
        return list(torch.autograd.grad(torch.stack([each.square().sum() for each in first]).sum(), wanted))

    with torch.autocast("cpu", torch.bfloat16):
        grouped = run_grouped(backbone.apply, params, coords, sizes)
        plain = run_stack(backbone.apply, params, coords, make_plan(sizes, "loop", 1, CPU))
    _near(second(grouped), second(plain))


def test_only_under_autocast_to_bf16():
    coords = torch.zeros(5, 2)
    assert not groups("grouped", coords)
    with torch.autocast("cpu", torch.float16):
        assert not groups("grouped", coords)
    with torch.autocast("cpu", torch.bfloat16):
        assert groups("grouped", coords)
        assert not groups("auto", coords)
        assert not groups("grouped", coords[:0])


def test_a_model_takes_it_and_evaluates_in_full():
    signal = torch.rand(5, 6, 3)
    grouped, auto = (PiecewiseINR(Grid(regions=4)(signal), BACKBONES[1], engine=e) for e in ("grouped", "auto"))
    batch = grouped.batch(signal)
    with torch.autocast("cpu", torch.bfloat16):
        values = grouped(batch.coords, batch.sizes)
    assert values.dtype == torch.float32  # of an output layer that keeps all digits
    _near([values], [auto(batch.coords, batch.sizes)])
    torch.testing.assert_close(grouped.render(), auto.render(), rtol=0, atol=1e-6)


def test_a_parameter_outside_of_a_product_is_refused():
    params, coords, _ = _case(BACKBONES[0], (3, 4))

    def network(params, x, linear):
        x = linear(x, params["weight_0"], params["bias_0"])
        return linear(x * params["bias_1"].unsqueeze(-2), params["weight_1"], params["bias_1"])

    with torch.autocast("cpu", torch.bfloat16), pytest.raises(PartinrError, match="products alone; choose engine=auto"):
        run_grouped(network, params, coords, (3, 4))


def test_where_there_is_none_it_is_refused():
    with pytest.raises(PartinrError, match=r"needs a GPU of compute capability 9.0 or above; choose engine=auto"):
        check_grouped(CPU)
