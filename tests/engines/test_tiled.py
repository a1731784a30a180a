"""The tiled engine gives what plain operations give, in single precision and, as far as that reaches, in bfloat16."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from partinr.backbones import Siren
from partinr.engines import threads as tiling
from partinr.engines._tile import compiled_kernels
from partinr.engines.base import Observations
from partinr.engines.threads import ROWS, SHORTEST_TILE
from partinr.engines.tiled import Tiled
from tests.covering import covering
from tests.engines.stacks import chained, chosen, evaluate

SIZES = {
    "one network": (13,),
    "one sample": (1,),
    "whole rows": (ROWS, 2 * ROWS),
    "ragged": (3, 40, 1, 80, 39, 2, 8),
    "zeros": (0, 5, 0, 0, 3, 4, 0),
    "several tiles": (2 * SHORTEST_TILE + 1, 7, 0, SHORTEST_TILE, SHORTEST_TILE + 1),
    "nothing": (0, 0, 0),
}
# From no hidden layer on, and widths that are and are not whole cache lines.
SHAPES = [(1, 0), (5, 1), (32, 2), (40, 3)]


def _case(backbone: Siren, sizes: tuple[int, ...], d: int = 2, c: int = 3):
    generator = torch.Generator().manual_seed(0)
    params = {name: value.requires_grad_() for name, value in backbone.init(len(sizes), d, c, generator).items()}
    coords = 2 * torch.rand(sum(sizes), d, generator=generator) - 1
    targets = torch.rand(sum(sizes), c, generator=generator)
    weights = torch.rand(sum(sizes), 1, generator=generator)
    return params, coords, targets, weights


def _expected(backbone: Siren, params: dict[str, Tensor], coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """In double precision, by plain operations."""
    exact = {name: value.double() for name, value in params.items()}
    return evaluate(backbone.apply, exact, coords.double(), sizes)


def _error(values: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    error = (values - targets).square()
    return (error if weights is None else error * weights).sum()


def _assert_near(found, expected, tolerance: float) -> None:
    """Each tensor, to a fraction of its own largest number."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        scale = float(other.detach().abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(one.double(), other.double(), rtol=0, atol=tolerance * scale + 1e-7)


@covering(sizes=SIZES, shape=SHAPES)
def test_values_and_gradients(sizes, shape):
    width, layers = shape
    backbone = Siren(hidden_features=width, hidden_layers=layers, first_omega_0=20.0)
    params, coords, targets, weights = _case(backbone, sizes)
    coords.requires_grad_()
    values = Tiled().run(chained(backbone, params), coords, sizes)
    expected = _expected(backbone, params, coords, sizes)
    _assert_near([values], [expected], 1e-5)
    wanted = [coords, *params.values()]
    _assert_near(
        torch.autograd.grad(_error(values, targets, weights), wanted),
        torch.autograd.grad(_error(expected, targets, weights), wanted),
        5e-5,
    )


@covering(14, sizes=SIZES, shape=SHAPES, weighted=[False, True])
def test_error_and_its_gradient_in_one_pass(sizes, shape, weighted):
    width, layers = shape
    backbone = Siren(hidden_features=width, hidden_layers=layers, first_omega_0=20.0)
    params, coords, targets, weights = _case(backbone, sizes)
    given = weights if weighted else None
    found = Tiled().error(chained(backbone, params), Observations(coords, targets, sizes, given))
    expected = _error(_expected(backbone, params, coords, sizes), targets, given)
    assert found.shape == ()
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    wanted = list(params.values())
    _assert_near(torch.autograd.grad(3 * found, wanted), torch.autograd.grad(3 * expected, wanted), 5e-5)


@pytest.mark.parametrize(("d", "c"), [(1, 1), (3, 4)])
def test_any_number_of_axes_and_channels(d, c):
    sizes = (3, 0, 110, 4)
    backbone = Siren(hidden_features=6, hidden_layers=1)
    params, coords, targets, _ = _case(backbone, sizes, d, c)
    found = Tiled().error(chained(backbone, params), Observations(coords, targets, sizes))
    expected = _error(_expected(backbone, params, coords, sizes), targets, None)
    wanted = list(params.values())
    _assert_near(torch.autograd.grad(found, wanted), torch.autograd.grad(expected, wanted), 5e-5)


@pytest.mark.parametrize("sizes", [SIZES["ragged"], SIZES["several tiles"]], ids=["ragged", "several tiles"])
def test_bfloat16_is_near_single_precision(sizes):
    # Digits of a bfloat16: 2^-8. A hidden layer's angle is rounded by that, and each layer adds its own error; what a
    # parameter gathers of it over many samples averages out.
    backbone = Siren(hidden_features=40, hidden_layers=3)
    params, coords, targets, weights = _case(backbone, sizes)
    wanted = list(params.values())
    expected = _expected(backbone, params, coords, sizes)
    gradients = torch.autograd.grad(_error(expected, targets, weights), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        values = Tiled().run(chained(backbone, params), coords, sizes)
        error = Tiled().error(chained(backbone, params), Observations(coords, targets, sizes, weights))
    assert values.dtype == error.dtype == torch.float32
    _assert_near([values], [expected], 0.03)
    _assert_near([error], [_error(values, targets, weights)], 1e-5)
    one_pass = torch.autograd.grad(error, wanted)
    _assert_near(one_pass, torch.autograd.grad(_error(values, targets, weights), wanted), 1e-4)
    for found, other in zip(one_pass, gradients, strict=True):
        assert found.dtype == torch.float32
        assert (found - other).norm() <= 0.03 * other.norm()


def test_in_bfloat16_the_first_layer_sees_exact_coordinates():
    # With its bfloat16 neighbour the coordinate would turn the sine by half a radian.
    backbone = Siren(hidden_features=8, hidden_layers=0, first_omega_0=300.0)
    params, coords, _, _ = _case(backbone, (50,))
    with torch.autocast("cpu", torch.bfloat16):
        values = Tiled().run(chained(backbone, params), coords, (50,))
    _assert_near([values], [_expected(backbone, params, coords, (50,))], 0.01)


@pytest.mark.parametrize("entry", ["values", "error"])
def test_gradients_of_gradients_are_there(entry):
    sizes = (4, 0, 7)
    backbone = Siren(hidden_features=3, hidden_layers=1, first_omega_0=3.0, omega_0=2.0)
    params, coords, targets, weights = _case(backbone, sizes)

    def second(error: Tensor) -> list[Tensor]:
        first = torch.autograd.grad(error, list(params.values()), create_graph=True)
        total = torch.stack([each.square().sum() for each in first]).sum()
        return list(torch.autograd.grad(total, list(params.values())))

    chain = chained(backbone, params)
    found = (
        Tiled().error(chain, Observations(coords, targets, sizes, weights))
        if entry == "error"
        else _error(Tiled().run(chain, coords, sizes), targets, weights)
    )
    _assert_near(second(found), second(_error(_expected(backbone, params, coords, sizes), targets, weights)), 1e-4)


def test_the_error_has_a_gradient_by_coordinates_too():
    sizes = (4, 300)
    backbone = Siren(hidden_features=5, hidden_layers=1, first_omega_0=3.0)
    params, coords, targets, weights = _case(backbone, sizes)
    coords.requires_grad_()
    found = Tiled().error(chained(backbone, params), Observations(coords, targets, sizes, weights))
    expected = _error(_expected(backbone, params, coords, sizes), targets, weights)
    _assert_near(torch.autograd.grad(found, coords), torch.autograd.grad(expected, coords), 1e-4)


def test_without_gradients_there_is_the_error_alone():
    backbone = Siren(hidden_features=5, hidden_layers=1)
    params, coords, targets, weights = _case(backbone, (40, 3))
    with torch.no_grad():
        found = Tiled().error(chained(backbone, params), Observations(coords, targets, (40, 3), weights))
    assert not found.requires_grad
    expected = _error(_expected(backbone, params, coords, (40, 3)), targets, weights)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("half", [False, True])
def test_what_is_no_number_stays_with_its_network(half):
    sizes = (4, 300, 5)
    backbone = Siren(hidden_features=4, hidden_layers=1)
    params, coords, targets, _ = _case(backbone, sizes)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        before = Tiled().run(chained(backbone, params), coords, sizes)
        with torch.no_grad():
            params["weight_1"][1, 0, 0] = math.nan
        after = Tiled().run(chained(backbone, params), coords, sizes)
        error = Tiled().error(chained(backbone, params), Observations(coords, targets, sizes))
    assert after[4:304].isnan().all()
    assert torch.equal(after[:4], before[:4])
    assert torch.equal(after[304:], before[304:])
    assert error.isnan()
    error.backward()
    gradient = params["weight_0"].grad
    assert gradient is not None
    assert gradient.isnan().flatten(1).all(1).tolist() == [False, True, False]


@pytest.fixture
def few_runs(monkeypatch):
    """Runs of several tiles, as large pictures have them."""
    monkeypatch.setattr(tiling, "RUNS", 3)
    tiling.runs_of.cache_clear()
    yield
    tiling.runs_of.cache_clear()


@pytest.mark.usefixtures("few_runs")
def test_a_run_of_several_tiles_sums_their_gradients():
    sizes = (5 * SHORTEST_TILE - 3, 2 * SHORTEST_TILE)
    assert max(len(run.tiles) for run in tiling.runs_of(sizes, 5)) > 1
    backbone = Siren(hidden_features=5, hidden_layers=2)
    params, coords, targets, weights = _case(backbone, sizes)
    wanted = list(params.values())
    gradients = torch.autograd.grad(_error(_expected(backbone, params, coords, sizes), targets, weights), wanted)
    found = torch.autograd.grad(
        Tiled().error(chained(backbone, params), Observations(coords, targets, sizes, weights)), wanted
    )
    _assert_near(found, gradients, 5e-5)


@covering(sizes={**SIZES, "large": (70_000, 0, 5), "many": tuple(range(300))}, width=[1, 170, 10_000])
def test_tiles_cover_the_samples_in_order(sizes, width):
    runs = tiling.runs_of(sizes, width)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    at, part = 0, -1
    network = -1
    for run in runs:
        part = part + 1 if run.network == network else 0
        network = run.network
        assert run.part == part
        for start, length in run.tiles:
            assert (start, length > 0) == (at, True)
            assert (owners[start : start + length] == network).all()
            at += length
    assert at == sum(sizes)


@pytest.mark.parametrize("half", [False, True])
def test_results_do_not_depend_on_threads(half):
    sizes = (2000, *range(0, 600, 70))
    backbone = Siren(hidden_features=20, hidden_layers=2)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3, 1):
            torch.set_num_threads(count)
            params, coords, targets, weights = _case(backbone, sizes)
            wanted = list(params.values())
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                values = Tiled().run(chained(backbone, params), coords, sizes)
                error = Tiled().error(chained(backbone, params), Observations(coords, targets, sizes, weights))
            by_values = torch.autograd.grad(_error(values, targets, weights), wanted)
            results.append([values, error, *by_values, *torch.autograd.grad(error, wanted)])
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    for first, other in itertools.pairwise(results):
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_every_thread_of_the_pool_keeps_to_itself():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        pool, _ = tiling._pool(2, os.getpid())

        def after_a_large_operation(_: int) -> int:
            torch.ones(300, 300).add_(torch.ones(300, 300))
            return torch.get_num_threads()

        assert list(pool.map(after_a_large_operation, range(8))) == [1] * 8
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


FORK = """
import os, sys, torch
from partinr import api
from partinr.backbones import Siren
from partinr.model import inr
print([x for x in ("triton", "numba") if x in sys.modules])
from partinr.engines.tiled import Tiled
torch.set_num_threads(2)
backbone = Siren(hidden_features=4, hidden_layers=0)
chain = backbone.chain(backbone.init(1, 2, 3, None))
evaluate = lambda: Tiled().run(chain, torch.zeros(4, 2), (4,))
expected = evaluate()
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(evaluate(), expected) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_has_threads_of_its_own():
    compiled_kernels()  # the process finds them in numba's cache
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True, timeout=60)
    # And nothing compiles before it is needed.
    assert done.stdout.splitlines() == ["[]", "0"]


def test_the_rough_sine_is_one_to_bfloat16():
    compiled_kernels()
    from partinr.engines._sine_kernels import rough_sincos

    for reach, tolerance in ((300, 2e-4), (3000, 1e-3)):
        x = np.linspace(-reach, reach, 20_001).astype(np.float32)
        sine, cosine = np.array([rough_sincos(value) for value in x]).T
        assert np.abs(sine - np.sin(x.astype(np.float64))).max() < tolerance
        assert np.abs(cosine - np.cos(x.astype(np.float64))).max() < tolerance
    for angle in (0.0, 1e5, -3e5, 1e9, -1e20, 3e38):
        assert all(abs(value) <= 1.0002 for value in rough_sincos(np.float32(angle)))
    for angle in (math.nan, math.inf, -math.inf):
        assert all(math.isnan(value) for value in rough_sincos(np.float32(angle)))


# -- when it is taken -----------------------------------------------------------------------------------------------


def test_it_takes_wide_networks_of_single_precision_on_the_cpu():
    backbone = Siren(hidden_features=100, hidden_layers=3)
    sizes = (2000, 2000)
    params, coords, _, _ = _case(backbone, sizes)

    def tiled(x: Tensor = coords, sizes: tuple[int, ...] = sizes, engine: str = "auto") -> bool:
        return isinstance(chosen(engine, backbone, params, x, sizes), Tiled)

    assert tiled()
    assert tiled(coords[:20], (10, 10), "tiled")
    assert not tiled(engine="loop")
    assert not tiled(coords[:20], (10, 10))
    assert not tiled(coords.double())
    assert not tiled(coords.to("meta"))
    thin = Siren(hidden_features=8, hidden_layers=300)
    assert not isinstance(chosen("auto", thin, _case(thin, (2000,))[0], coords[:2000], (2000,)), Tiled)
    with torch.autocast("cpu", torch.bfloat16):
        assert tiled()
    with torch.autocast("cpu", torch.float16):
        assert not tiled()
    seen = []

    def look(x: Tensor) -> Tensor:
        seen.append(tiled(x))
        return x.sum()

    torch.func.grad(look)(coords)
    assert seen == [False]
