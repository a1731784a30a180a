"""The fused engine gives what plain operations give: values, gradients, gradients of gradients."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from partinr.backbones import Siren
from partinr.engines import _numba
from partinr.engines._numba import TILE
from partinr.engines.base import Observations
from partinr.engines.chain import RUNS, tiles_of
from partinr.engines.fused import Fused
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Partition
from tests.covering import covering
from tests.engines.stacks import chained, chosen, evaluate

SIZES = {
    "one network": (13,),
    "one sample": (1,),
    "equal": (6, 6, 6, 6),
    "ragged": (3, 40, 1, 8, 39, 2, 8),
    "zeros": (0, 5, 0, 0, 3, 4, 0),
    "several tiles": (2 * TILE + 1, 7, 0, TILE, TILE + 1),
    "nothing": (0, 0, 0),
}


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


# Widths around the unrolling by four, and layers from none on.
SHAPES = [(1, 0), (2, 1), (4, 2), (5, 3), (9, 2), (17, 1)]


@covering(sizes=SIZES, shape=SHAPES)
def test_values_and_gradients(sizes, shape):
    width, layers = shape
    backbone = Siren(hidden_features=width, hidden_layers=layers, first_omega_0=20.0)
    params, coords, mix = _case(backbone, sizes)
    coords.requires_grad_()
    values = Fused().run(chained(backbone, params), coords, sizes)
    expected = _expected(backbone, params, coords, sizes)
    assert values.shape == expected.shape
    torch.testing.assert_close(values.double(), expected, rtol=1e-5, atol=1e-5)
    wanted = [coords, *params.values()]
    for found, other in zip(
        torch.autograd.grad((values * mix).sum(), wanted),
        torch.autograd.grad((expected * mix).sum(), wanted),
        strict=True,
    ):
        scale = float(other.abs().max()) if other.numel() else 1.0
        torch.testing.assert_close(found, other, rtol=1e-4, atol=2e-5 * max(1.0, scale))


@pytest.mark.parametrize(("d", "c"), [(1, 1), (3, 4)])
def test_any_number_of_axes_and_channels(d, c):
    backbone = Siren(hidden_features=6, hidden_layers=1)
    params, coords, _ = _case(backbone, (3, 0, 11, 4), d, c)
    values = Fused().run(chained(backbone, params), coords, (3, 0, 11, 4))
    torch.testing.assert_close(values.double(), _expected(backbone, params, coords, (3, 0, 11, 4)), rtol=0, atol=1e-5)


def test_the_sine_is_one_to_single_precision():
    from partinr.engines._sincos import sincos

    for reach, tolerance in ((4, 4e-7), (300, 1e-6), (10_000, 1e-5)):
        x = np.linspace(-reach, reach, 20_001).astype(np.float32)
        sine, cosine = np.array([sincos(value) for value in x]).T
        assert np.abs(sine - np.sin(x.astype(np.float64))).max() < tolerance
        assert np.abs(cosine - np.cos(x.astype(np.float64))).max() < tolerance


def test_any_angle_has_a_sine_but_those_that_are_none():
    from partinr.engines._sincos import sincos

    for x in (0.0, 1e5, -3e5, 1e9, -1e20, 3e38):
        sine, cosine = sincos(np.float32(x))
        assert abs(sine) <= 1.000001
        assert abs(cosine) <= 1.000001
    for x in (math.nan, math.inf, -math.inf):
        assert all(math.isnan(value) for value in sincos(np.float32(x)))


def test_sines_of_vectors():
    _numba.ready_kernels()
    from numba import njit

    from partinr.engines._blocks import sincos_pi
    from partinr.engines._vectors import LANES, load, store

    @njit
    def over(turns, sine, cosine):
        for at in range(0, turns.shape[0], LANES):
            s, c = sincos_pi(load(turns, at))  # type: ignore[call-arg]  # an intrinsic's first argument is numba's
            store(sine, at, s)
            store(cosine, at, c)

    def of(turns: Any) -> tuple[Any, Any]:
        found = np.empty_like(turns), np.empty_like(turns)
        over(turns, *found)
        return found

    for reach in (2.0, 100.0, 10_000.0):
        turns = np.linspace(-reach, reach, 2**14).astype(np.float32)
        sine, cosine = of(turns)
        # An angle of thousands of half turns has few digits below one, but all that it has count.
        angle = np.pi * np.remainder(turns.astype(np.float64), 2)
        assert np.abs(sine - np.sin(angle)).max() < 4e-7
        assert np.abs(cosine - np.cos(angle)).max() < 4e-7
    huge = np.array([1e7, -1e9, 1e20, -3e38] * 4, dtype=np.float32)
    assert all(np.abs(each).max() <= 1.000001 for each in of(huge))
    none = np.array([math.nan, math.inf, -math.inf, math.nan] * 4, dtype=np.float32)
    assert all(np.isnan(each).all() for each in of(none))


def test_gradients_of_gradients_are_there():
    sizes = (4, 0, 7)
    backbone = Siren(hidden_features=3, hidden_layers=1, first_omega_0=3.0, omega_0=2.0)
    params, coords, mix = _case(backbone, sizes)

    def second(values: Tensor) -> list[Tensor]:
        first = torch.autograd.grad((values.square() * mix).sum(), list(params.values()), create_graph=True)
        total = torch.stack([each.square().sum() for each in first]).sum()
        return list(torch.autograd.grad(total, list(params.values())))

    fused = second(Fused().run(chained(backbone, params), coords, sizes))
    plain = second(evaluate(backbone.apply, params, coords, sizes))
    for found, other in zip(fused, plain, strict=True):
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


def test_results_do_not_depend_on_threads():
    sizes = tuple(range(0, 600, 7))
    backbone = Siren(hidden_features=7, hidden_layers=2)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 1):
            torch.set_num_threads(count)
            params, coords, mix = _case(backbone, sizes)
            values = Fused().run(chained(backbone, params), coords, sizes)
            results.append([values, *torch.autograd.grad((values * mix).sum(), list(params.values()))])
    finally:
        torch.set_num_threads(threads)
    for first, other in itertools.pairwise(results):
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.fixture
def few_runs(monkeypatch):
    """Runs of several tiles, which else only large signals have."""
    tiles_of.cache_clear()
    monkeypatch.setattr("partinr.engines.chain.RUNS", 2)
    yield
    tiles_of.cache_clear()


def test_gradients_take_memory_within_bounds():
    for sizes in ((4096**2,), (4096**2 // 40, 3, 0) * 40, (9,) * 5000, (0, 0), (TILE * RUNS * 3 + 1, 1)):
        tiles = tiles_of(sizes, TILE)
        assert tiles.runs <= RUNS + len(sizes)
        assert tiles.run[-1] == tiles.count
        assert tiles.first_run[-1] == tiles.runs
        # A run is of one network, and none is empty.
        assert (np.diff(tiles.run) > 0).all()
        of_run = np.repeat(np.arange(len(sizes)), np.diff(tiles.first_run))
        assert (np.repeat(of_run, np.diff(tiles.run)) == tiles.owner).all()


def test_runs_of_several_tiles(few_runs):
    sizes = (9 * TILE + 5, 0, 7, 3 * TILE)
    assert np.diff(tiles_of(sizes, TILE).run).max() > 2
    backbone = Siren(hidden_features=5, hidden_layers=1, first_omega_0=20.0)
    params, coords, mix = _case(backbone, sizes)
    wanted = list(params.values())
    expected = _expected(backbone, params, coords, sizes)
    chain = chained(backbone, params)
    threads = torch.get_num_threads()
    by_threads: list[list[Tensor]] = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            values, error = Fused().run(chain, coords, sizes), Fused().error(chain, Observations(coords, mix, sizes))
            losses = ((values * mix).sum(), error)
            by_threads.append([each for loss in losses for each in (loss, *torch.autograd.grad(loss, wanted))])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, other) for one, other in zip(*by_threads, strict=True))
    plain = ((expected * mix).sum(), (expected - mix).square().sum())
    of_plain = [each for loss in plain for each in (loss, *torch.autograd.grad(loss, wanted, retain_graph=True))]
    for one, other in zip(by_threads[0], of_plain, strict=True):
        scale = float(other.detach().abs().max())
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-4, atol=2e-5 * scale)


# -- when it is taken -----------------------------------------------------------------------------------------------


def test_it_takes_thin_chains_of_single_precision_outside_transforms():
    backbone = Siren(hidden_features=4, hidden_layers=1)
    params, coords, _ = _case(backbone, (5,))

    def fused(x: Tensor) -> bool:
        return isinstance(chosen("auto", backbone, params, x, (5,)), Fused)

    assert fused(coords)
    assert not fused(coords.double())
    assert not fused(coords.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        # A thin network stays in single precision: narrower products would not be faster.
        assert fused(coords)
        assert Fused().run(chained(backbone, params), coords, (5,)).dtype == torch.float32
    seen = []

    def look(x: Tensor) -> Tensor:
        seen.append(fused(x))
        return x.sum()

    torch.func.grad(look)(coords)
    assert seen == [False]


@pytest.mark.parametrize(
    ("engine", "width", "fused"),
    [("auto", 8, True), ("auto", 128, False), ("fused", 128, True), ("loop", 8, False), ("batched", 8, False)],
)
def test_auto_takes_it_for_thin_networks(monkeypatch, engine, width, fused):
    taken = []

    run = Fused.run

    def watched(*given):
        taken.append(True)
        return run(*given)

    monkeypatch.setattr(Fused, "run", watched)
    signal = torch.rand(6, 6, 3)
    model = PiecewiseINR(Grid(regions=4)(signal), Siren(hidden_features=width, hidden_layers=1), engine=engine)
    batch = model.batch(signal)
    model(batch.coords, batch.sizes)
    assert bool(taken) == fused


def test_networks_of_several_widths_take_their_own_engine():
    partition = Partition(torch.tensor([[0, 1], [2, 1]]))
    backbone = Siren(hidden_features=8, hidden_layers=1)
    signal = torch.rand(2, 2, 3)
    fused, loop = (PiecewiseINR(partition, backbone, widths=(4, 100, 8), engine=e) for e in ("auto", "loop"))
    batch = fused.batch(signal)
    torch.testing.assert_close(fused(batch.coords, batch.sizes), loop(batch.coords, batch.sizes))


@covering(14, sizes=SIZES, shape=SHAPES, weighted=[False, True])
def test_the_error_and_its_gradients_in_one_pass(sizes, shape, weighted):
    width, layers = shape
    backbone = Siren(hidden_features=width, hidden_layers=layers, first_omega_0=20.0)
    params, coords, targets = _case(backbone, sizes)
    weights = torch.rand(sum(sizes), 1) if weighted else None
    found = Fused().error(chained(backbone, params), Observations(coords, targets, sizes, weights))
    difference = (_expected(backbone, params, coords, sizes) - targets).square()
    expected = (difference if weights is None else difference * weights).sum()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    wanted = list(params.values())
    for one, other in zip(
        torch.autograd.grad(3 * found, wanted), torch.autograd.grad(3 * expected, wanted), strict=True
    ):
        scale = float(other.abs().max()) if other.numel() else 1.0
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5 * max(1.0, scale))


def test_the_error_without_gradients():
    backbone = Siren(hidden_features=5, hidden_layers=1)
    params, coords, targets = _case(backbone, (3, 0, 11, 4))
    with torch.no_grad():
        found = Fused().error(chained(backbone, params), Observations(coords, targets, (3, 0, 11, 4)))
    expected = (_expected(backbone, params, coords, (3, 0, 11, 4)) - targets).square().sum()
    torch.testing.assert_close(found.double(), expected.detach(), rtol=1e-5, atol=0)


def test_second_derivatives_of_the_error():
    backbone = Siren(hidden_features=5, hidden_layers=1, first_omega_0=5.0, omega_0=5.0)
    params, coords, targets = _case(backbone, (3, 0, 11, 4))
    wanted = list(params.values())
    weights = torch.rand(18, 1)

    def twice(error: Tensor) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(error, wanted, create_graph=True)
        return torch.autograd.grad(torch.stack([each.square().sum() for each in first]).sum(), wanted)

    found = twice(Fused().error(chained(backbone, params), Observations(coords, targets, (3, 0, 11, 4), weights)))
    values = _expected(backbone, params, coords, (3, 0, 11, 4))
    expected = twice(((values - targets).square() * weights).sum())
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(other.abs().max()))
