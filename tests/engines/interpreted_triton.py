"""The kernels for CUDA give what plain operations give, on a CPU by Triton's interpreter.

Not collected by itself: the interpreter has to be asked for before Triton is imported, so that test_triton.py runs this
file in a process of its own, with TRITON_INTERPRET=1.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from partinr.backbones import Siren
from partinr.engines import _triton as kernels
from partinr.engines import fused
from partinr.engines.chain import Link
from partinr.engines.fused import Fused
from tests.covering import covering
from tests.engines.stacks import chained, evaluate

SIZES = {
    "one sample": (1,),
    "ragged": (3, 40, 1, 8, 39, 2, 8),
    "zeros": (0, 5, 0, 0, 3, 4, 0),
    "several tiles": (257, 7, 0, 128, 129),
    "nothing": (0, 0, 0),
}
# Features filled up to 16, 32 and 64.
SHAPES = [(1, 0), (2, 1), (5, 3), (17, 1), (32, 3), (33, 1)]


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch):
    monkeypatch.setattr(fused, "_back_end", lambda device: kernels)


def _case(backbone: Siren, sizes: tuple[int, ...], d: int = 2, c: int = 3):
    generator = torch.Generator().manual_seed(0)
    params = {name: value.requires_grad_() for name, value in backbone.init(len(sizes), d, c, generator).items()}
    coords = 2 * torch.rand(sum(sizes), d, generator=generator) - 1
    mix = torch.randn(sum(sizes), c, generator=generator)
    return params, coords, mix


def _expected(backbone: Siren, params: dict[str, Tensor], coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """In double precision, by plain operations."""
    exact = {name: value.double() for name, value in params.items()}
    return evaluate(backbone.apply, exact, coords.double(), sizes)


@covering(15, sizes=SIZES, shape=SHAPES, by_coords=[True, False])
def test_values_and_gradients(sizes, shape, by_coords):
    width, layers = shape
    backbone = Siren(hidden_features=width, hidden_layers=layers, first_omega_0=20.0)
    params, coords, mix = _case(backbone, sizes)
    wanted = list(params.values())
    if by_coords:
        wanted.append(coords.requires_grad_())
    values = Fused().run(chained(backbone, params), coords, sizes)
    expected = _expected(backbone, params, coords, sizes)
    assert values.shape == expected.shape
    torch.testing.assert_close(values.double(), expected, rtol=1e-5, atol=1e-5)
    for found, other in zip(
        torch.autograd.grad((values * mix).sum(), wanted),
        torch.autograd.grad((expected * mix).sum(), wanted),
        strict=True,
    ):
        scale = float(other.abs().max()) if other.numel() else 1.0
        torch.testing.assert_close(found, other, rtol=1e-4, atol=2e-5 * max(1.0, scale))


def test_more_tiles_than_gradients_are_kept_of_take_several_passes(monkeypatch):
    # 37 tiles: two passes, the second begins within a network.
    sizes = (9 * 128, 0, 27 * 128 + 1)
    backbone = Siren(hidden_features=4, hidden_layers=1, first_omega_0=20.0)
    found = []
    for numbers in (kernels.GRADIENT_NUMBERS, 1):
        monkeypatch.setattr(kernels, "GRADIENT_NUMBERS", numbers)
        params, coords, mix = _case(backbone, sizes)
        values = Fused().run(chained(backbone, params), coords.requires_grad_(), sizes)
        found.append(torch.autograd.grad((values * mix).sum(), [coords, *params.values()]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("d", "c"), [(1, 1), (3, 4), (17, 20)])
def test_any_number_of_axes_and_channels(d, c):
    backbone = Siren(hidden_features=6, hidden_layers=1)
    params, coords, _ = _case(backbone, (3, 0, 11, 4), d, c)
    values = Fused().run(chained(backbone, params), coords, (3, 0, 11, 4))
    torch.testing.assert_close(values.double(), _expected(backbone, params, coords, (3, 0, 11, 4)), rtol=0, atol=2e-5)


def test_coordinates_and_gradients_may_lie_anyhow_in_memory():
    backbone = Siren(hidden_features=3, hidden_layers=1, first_omega_0=20.0)
    params, coords, mix = _case(backbone, (5, 6))
    turned = coords.T.contiguous().T.requires_grad_()
    values = Fused().run(chained(backbone, params), turned, (5, 6))
    expected = _expected(backbone, params, turned, (5, 6))
    (found,) = torch.autograd.grad(values, turned, mix.T.contiguous().T)
    (other,) = torch.autograd.grad(expected, turned, mix.double())
    torch.testing.assert_close(found, other, rtol=1e-4, atol=1e-4)


def test_gradients_of_gradients_are_there():
    sizes = (4, 0, 7)
    backbone = Siren(hidden_features=3, hidden_layers=1, first_omega_0=3.0, omega_0=2.0)
    params, coords, mix = _case(backbone, sizes)

    def second(values: Tensor) -> list[Tensor]:
        first = torch.autograd.grad((values.square() * mix).sum(), list(params.values()), create_graph=True)
        total = torch.stack([each.square().sum() for each in first]).sum()
        return list(torch.autograd.grad(total, list(params.values())))

    plain = second(_expected(backbone, params, coords, sizes))
    for found, other in zip(second(Fused().run(chained(backbone, params), coords, sizes)), plain, strict=True):
        torch.testing.assert_close(found, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()))


def test_what_is_no_number_stays_with_its_network():
    sizes = (4, 300, 5)
    backbone = Siren(hidden_features=4, hidden_layers=1)
    params, coords, _ = _case(backbone, sizes)
    before = Fused().run(chained(backbone, params), coords, sizes)
    with torch.no_grad():
        params["weight_1"][1, 0, 0] = math.nan
    after = Fused().run(chained(backbone, params), coords, sizes)
    assert after[4:304].isnan().all()
    assert torch.equal(after[:4], before[:4])
    assert torch.equal(after[304:], before[304:])
    after.square().sum().backward()
    gradient = params["weight_0"].grad
    assert gradient is not None
    assert gradient.isnan().flatten(1).all(1).tolist() == [False, True, False]


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, of what is infinite
def test_any_angle_has_a_sine():
    # One layer of a factor alone: the value is the sine of the coordinate.
    link = Link(torch.ones(1, 1, 1), torch.zeros(1, 1), 1.0)
    angles = torch.cat([torch.linspace(-300, 300, 5001), torch.tensor([1e5, -3e5, 1e9, -1e20, 3e38])])[:, None]
    sines = Fused().run((link, link), angles, (len(angles),))
    torch.testing.assert_close(sines[:5001].double(), angles[:5001].double().sin(), rtol=0, atol=1e-6)
    assert bool((sines.abs() <= 1.000001).all())
    assert Fused().run((link, link), torch.tensor([[math.nan], [math.inf]]), (2,)).isnan().all()
