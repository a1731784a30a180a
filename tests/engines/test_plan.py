"""Stacked equals separate: N networks as a stack give the outputs and gradients of N separate ones."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import Tensor, nn

from partinr.backbones import Backbone, ReluPE, Siren
from partinr.engines.base import Shape
from partinr.engines.batched import TILE_COST, Tiling, tiling_of
from partinr.engines.loop import LOOP_FROM_MACS
from partinr.engines.plan import PLAIN, Plan, make_plan
from tests.covering import covering
from tests.engines.stacks import evaluate

CPU = torch.device("cpu")

SIZES = {
    "one network": (13,),
    "one sample": (1,),
    "equal": (6, 6, 6, 6),
    "nearly equal": (7, 6, 7, 7, 6),
    "unequal, rising": (1, 2, 4, 9, 20, 45),
    "unequal, mixed": (3, 40, 1, 8, 39, 2, 8),
    "zeros": (0, 5, 0, 0, 3, 4, 0),
    "zeros around one": (0, 0, 6, 0),
    "nothing": (0,),
    "nothing at all": (0, 0, 0),
    "one each": (1,) * 30,
}
# `auto` sends a network off alone from LOOP_FROM_MACS: never, for the middle ones, always.
NEVER, SOME, ALWAYS = 1, int(LOOP_FROM_MACS["cpu"] / 6), int(LOOP_FROM_MACS["cpu"] * 10)
CUTS = {
    "loop": ("loop", 1),
    "batched": ("batched", 1),
    "never": ("auto", NEVER),
    "some": ("auto", SOME),
    "always": ("auto", ALWAYS),
}


class PlainSiren(nn.Module):
    """One SIREN as its paper's page shows it, the factor on the product and not in the weights."""

    def __init__(self, params: dict[str, Tensor], spec: Siren) -> None:
        super().__init__()
        self.spec = spec
        self.params = nn.ParameterDict({name: value.clone() for name, value in params.items()})

    def forward(self, x: Tensor) -> Tensor:
        last = self.spec.hidden_layers + 1
        for layer in range(last + 1):
            x = x @ self.params[f"weight_{layer}"].T + self.params[f"bias_{layer}"]
            if layer < last:
                x = torch.sin(self.spec.omega(layer) * x)
        return x


class PlainReluPE(nn.Module):
    """One ReLU network on a harmonic encoding, written out."""

    def __init__(self, params: dict[str, Tensor], spec: ReluPE) -> None:
        super().__init__()
        self.spec = spec
        self.params = nn.ParameterDict({name: value.clone() for name, value in params.items()})

    def forward(self, x: Tensor) -> Tensor:
        angles = [self.spec.base * 2**k * x[:, i] for i in range(x.shape[1]) for k in range(self.spec.frequencies)]
        x = torch.stack([*(torch.sin(a) for a in angles), *(torch.cos(a) for a in angles)], dim=1)
        for layer in range(self.spec.hidden_layers + 2):
            if layer:
                x = x.clamp(min=0)
            x = x @ self.params[f"weight_{layer}"].T + self.params[f"bias_{layer}"]
        return x


BACKBONES: dict[str, tuple[Backbone, type]] = {
    "siren": (Siren(hidden_features=5, hidden_layers=2, first_omega_0=20.0), PlainSiren),
    "siren, no hidden layer": (Siren(hidden_features=1, hidden_layers=0), PlainSiren),
    "relu_pe": (ReluPE(hidden_features=4, hidden_layers=1, frequencies=3), PlainReluPE),
}


def _stack(backbone: Backbone, sizes: tuple[int, ...], d: int = 2, c: int = 3, seed: int = 0):
    """Parameters of a stack, coordinates and the weights of a loss that no two samples share, all float64."""
    generator = torch.Generator().manual_seed(seed)
    params = backbone.init(len(sizes), d, c, generator)
    # Biases away from 0 where a backbone starts there, so that their part in the output is seen.
    params = {name: (value + 0.01).double().requires_grad_() for name, value in params.items()}
    coords = 2 * torch.rand(sum(sizes), d, generator=generator, dtype=torch.float64) - 1
    mix = torch.randn(sum(sizes), c, generator=generator, dtype=torch.float64)
    return params, coords, mix


def _separate(plain: type, backbone: Backbone, params: dict[str, Tensor], coords: Tensor, sizes, mix: Tensor):
    """Outputs, and gradients of a loss, of as many separate networks as there are."""
    networks = [plain({name: value[n].detach() for name, value in params.items()}, backbone) for n in range(len(sizes))]
    outputs = torch.cat([network(x) for network, x in zip(networks, coords.split(sizes), strict=True)])
    (outputs.square() * mix).sum().backward()
    zero = {name: torch.zeros_like(value[0]) for name, value in params.items()}
    gradients = {
        name: torch.stack([zero[name] if (g := network.params[name].grad) is None else g for network in networks])
        for name in params
    }
    return outputs.detach(), gradients


@covering(30, sizes=SIZES, cut=CUTS, name=list(BACKBONES))
def test_stacked_equals_separate(name, sizes, cut):
    backbone, plain = BACKBONES[name]
    params, coords, mix = _stack(backbone, sizes)
    expected, gradients = _separate(plain, backbone, params, coords, sizes, mix)

    values = evaluate(backbone.apply, params, coords, sizes, *cut)
    assert values.shape == (sum(sizes), 3)
    torch.testing.assert_close(values, expected, rtol=1e-10, atol=1e-10)

    (values.square() * mix).sum().backward()
    for key, gradient in gradients.items():
        found = params[key].grad
        torch.testing.assert_close(
            torch.zeros_like(gradient) if found is None else found, gradient, rtol=1e-9, atol=1e-9
        )


@covering(cut=CUTS, axes=[(1, 1), (3, 2), (1, 4)])
def test_any_number_of_axes_and_channels(axes, cut):
    backbone, plain = BACKBONES["siren"]
    sizes = (3, 0, 11, 4)
    params, coords, _ = _stack(backbone, sizes, *axes)
    networks = [plain({name: value[n] for name, value in params.items()}, backbone) for n in range(4)]
    expected = torch.cat([network(x) for network, x in zip(networks, coords.split(sizes), strict=True)])
    values = evaluate(backbone.apply, params, coords, sizes, *cut)
    torch.testing.assert_close(values, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("engine", ["loop", "batched", "auto"])
def test_thousands_of_tiny_networks(engine):
    sizes = tuple(torch.randint(0, 4, (3000,), generator=torch.Generator().manual_seed(1)).tolist())
    backbone = Siren(hidden_features=2, hidden_layers=0)
    params, coords, mix = _stack(backbone, sizes)
    which = torch.repeat_interleave(torch.arange(3000), torch.tensor(sizes))

    def gathered(params):
        # Every sample with its own network's weights: memory nobody has for larger ones, but plainly right.
        x = torch.einsum("moi,mi->mo", params["weight_0"][which], coords) + params["bias_0"][which]
        x = torch.sin(60 * x)
        return torch.einsum("moi,mi->mo", params["weight_1"][which], x) + params["bias_1"][which]

    values = evaluate(backbone.apply, params, coords, sizes, engine, backbone.macs(2, 3))
    expected = gathered(params)
    torch.testing.assert_close(values, expected, rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad((values.square() * mix).sum(), list(params.values()))
    wanted = torch.autograd.grad((expected.square() * mix).sum(), list(params.values()))
    for found, gradient in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-9, atol=1e-9)


def test_a_network_sees_only_its_own_samples():
    for engine in ["loop", "batched", "auto"]:
        backbone, _ = BACKBONES["siren"]
        sizes = (4, 1, 9, 0, 5)
        params, coords, _ = _stack(backbone, sizes)
        before = evaluate(backbone.apply, params, coords, sizes, engine)
        with torch.no_grad():
            for value in params.values():
                value[2] = math.nan
        after = evaluate(backbone.apply, params, coords, sizes, engine)
        assert after[5:14].isnan().all()
        others = torch.cat([after[:5], after[14:]])
        torch.testing.assert_close(others, torch.cat([before[:5], before[14:]]), rtol=0, atol=0)


# ---------------------------------------------------------------------------------------------------------------------
# The plan


def _ragged() -> list[tuple[int, ...]]:
    generator = torch.Generator().manual_seed(2)
    random = [
        tuple((torch.rand(n, generator=generator) ** power * top).long().tolist())
        for n, power, top in [(1, 1, 50), (5, 1, 9), (40, 4, 300), (200, 1, 100), (200, 8, 5000), (60, 1, 3)]
    ]
    return [*SIZES.values(), *random]


@pytest.mark.parametrize("macs", [NEVER, SOME, ALWAYS])
def test_every_network_is_in_exactly_one_part(macs):
    for sizes in _ragged():
        _check_plan(make_plan(PLAIN, Shape(macs), sizes, CPU), sizes)
        if sum(sizes):
            _check_padding(tiling_of(sizes, CPU), sizes)


def _check_plan(plan: Plan, sizes: tuple[int, ...]) -> None:
    networks = list(range(len(sizes))) if plan.networks is None else plan.networks.tolist()
    assert sorted(networks) == list(range(len(sizes)))
    assert [size for part in plan.parts for size in part.sizes] == [sizes[network] for network in networks]
    if plan.samples is not None:
        assert plan.inverse is not None
        assert torch.equal(plan.samples[plan.inverse], torch.arange(sum(sizes)))


def _check_padding(tiling: Tiling, sizes: tuple[int, ...]) -> None:
    assert tiling.length <= max(sizes)
    owner = torch.arange(len(sizes)) if tiling.owner is None else tiling.owner
    positions = torch.arange(sum(sizes))
    if tiling.gather is not None and tiling.scatter is not None:
        assert torch.equal(tiling.gather[tiling.scatter], positions)
        positions = tiling.scatter
    # Every sample is in a tile of its own network.
    assert torch.equal(
        owner[positions // tiling.length], torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    )


def _cost(sizes: tuple[int, ...]) -> float:
    """Padded samples, with what tiles cost, over real ones."""
    tiling = tiling_of(sizes, CPU)
    return tiling.count * (tiling.length + TILE_COST) / sum(sizes)


def test_the_cost_follows_the_samples_not_the_largest_region():
    # 65,536 samples in 256 regions: one of them holds nearly all, or they fall by halves, or they are drawn by lot.
    generator = torch.Generator().manual_seed(0)
    halves = tuple(max(1, 32768 >> n) for n in range(256))
    lot = tuple((torch.rand(256, generator=generator) * 512).long().tolist())
    assert _cost((256,) * 256) == 1 + TILE_COST / 256
    for sizes in ((65_281, *[1] * 255), (62_000, *[14] * 255), halves, lot):
        assert _cost(sizes) < 1.5


def test_equal_networks_have_a_tile_each():
    even = tiling_of((50,) * 1000, CPU)
    assert (even.count, even.length) == (1000, 50)
    assert (even.owner, even.gather, even.scatter) == (None, None, None)


@pytest.mark.slow
def test_tiling_takes_time_in_proportion_to_the_networks():
    # With points_per_step every step has other sizes and so a tiling of its own.
    def seconds(networks):
        sizes = torch.randint(0, 100, (networks,), generator=torch.Generator().manual_seed(0)).tolist()
        best = math.inf
        for shift in range(3):
            start = time.process_time()
            tiling_of((*sizes, shift), CPU)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(8000) < 30 * seconds(1000)


def _parts(sizes: tuple[int, ...], macs: float) -> list[tuple[str, tuple[int, ...]]]:
    return [(part.engine.name, part.sizes) for part in make_plan(PLAIN, Shape(int(macs)), sizes, CPU).parts]


def test_auto_parts_the_large_from_the_small():
    large = LOOP_FROM_MACS["cpu"]
    assert _parts((2, 100, 3, 2, 90, 3), large / 50) == [("loop", (100, 90)), ("batched", (2, 3, 2, 3))]
    assert _parts((8, 8, 8), 1) == [("batched", (8, 8, 8))]
    assert _parts((8, 8, 0), large) == [("loop", (8, 8)), ("batched", (0,))]
    # Exactly at the limit both cost the same, and the loop is the first.
    assert _parts((10, 9), large / 10) == [("loop", (10,)), ("batched", (9,))]


def test_equal_regions_are_not_moved():
    plan = make_plan(PLAIN, Shape(1), (4, 4, 4), CPU)
    assert (plan.networks, plan.samples, plan.inverse) == (None, None, None)


# ---------------------------------------------------------------------------------------------------------------------
# A plan is made once and serves everyone


@pytest.mark.parametrize("engine", ["loop", "batched"])
def test_a_plan_made_without_autograd_or_inside_a_transform_serves_training(engine):
    backbone, _ = BACKBONES["siren"]
    sizes = (1, 5, 0, 9, 2)
    params, coords, _ = _stack(backbone, sizes)

    def loss(params):
        return evaluate(backbone.apply, params, coords, sizes, engine, 1).square().sum()

    tiling_of.cache_clear()
    with torch.inference_mode():
        loss(params)
    expected = dict(zip(params, torch.autograd.grad(loss(params), list(params.values())), strict=True))
    tiling_of.cache_clear()
    inside = torch.func.grad(loss)({name: value.detach() for name, value in params.items()})
    loss(params).backward()
    for name, value in params.items():
        torch.testing.assert_close(inside[name], value.grad)
        assert torch.equal(expected[name], value.grad)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
def test_second_derivatives(cut):
    sizes = (2, 0, 5, 1)
    backbone = Siren(hidden_features=2, hidden_layers=1, first_omega_0=3.0, omega_0=2.0)
    params, coords, _ = _stack(backbone, sizes, c=1)
    names = list(params)

    def values(*tensors):
        return evaluate(backbone.apply, dict(zip(names, tensors, strict=True)), coords, sizes, *cut)

    assert torch.autograd.gradgradcheck(values, tuple(params.values()))
