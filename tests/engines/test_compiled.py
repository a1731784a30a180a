"""The compiled engine gives what plain operations give, gradients of gradients included."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.engines.compiled import _compile, compile_network
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid
from tests.covering import covering
from tests.engines.stacks import evaluate


@pytest.fixture
def counter(monkeypatch) -> Iterator[CompileCounterWithBackend]:
    """Traced as always and differentiated ahead of time, but evaluated operation by operation: seconds less."""
    plain, counter = torch.compile, CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", lambda function: plain(function, backend=counter))
    _compile.cache_clear()
    yield counter
    _compile.cache_clear()


def _case(sizes: tuple[int, ...]):
    backbone = Siren(hidden_features=3, hidden_layers=1, first_omega_0=3.0, omega_0=2.0)
    generator = torch.Generator().manual_seed(0)
    params = {
        name: value.double().requires_grad_() for name, value in backbone.init(len(sizes), 2, 3, generator).items()
    }
    coords = (2 * torch.rand(sum(sizes), 2, generator=generator, dtype=torch.float64) - 1).requires_grad_()
    mix = torch.randn(sum(sizes), 3, generator=generator, dtype=torch.float64)
    return backbone, params, coords, mix


def _second(values: Tensor, mix: Tensor, wanted: list[Tensor]) -> list[Tensor]:
    """First derivatives, and derivatives of these."""
    first = torch.autograd.grad((values.square() * mix).sum(), wanted, create_graph=True)
    total = torch.stack([each.square().sum() for each in first]).sum()
    return [*first, *torch.autograd.grad(total, wanted)]


@covering(cut=["loop", "batched"], sizes=[(4, 0, 7), (1, 30, 2), (5, 5)])
def test_values_and_derivatives_of_two_orders(counter, sizes, cut):
    backbone, params, coords, mix = _case(sizes)
    wanted = [coords, *params.values()]
    network = compile_network(backbone.apply)

    def values() -> Tensor:
        return evaluate(network, params, coords, sizes, cut)

    def expected() -> Tensor:
        return evaluate(backbone.apply, params, coords, sizes, cut)

    torch.testing.assert_close(values(), expected())
    with torch.no_grad():
        torch.testing.assert_close(values(), expected())
    torch.testing.assert_close(
        torch.autograd.grad((values() * mix).sum(), wanted), torch.autograd.grad((expected() * mix).sum(), wanted)
    )
    torch.testing.assert_close(_second(values(), mix, wanted), _second(expected(), mix, wanted))
    assert counter.frame_count > 0


def test_a_graph_that_is_kept_serves_again(counter):
    backbone, params, coords, mix = _case((9,))
    values = evaluate(compile_network(backbone.apply), params, coords, (9,))
    first, again = (torch.autograd.grad((values * mix).sum(), coords, retain_graph=True) for _ in range(2))
    torch.testing.assert_close(first, again)


def test_transforms_of_functions(counter):
    backbone, params, coords, _ = _case((4, 7))

    def loss(network, params):
        return evaluate(network, params, coords, (4, 7), "batched").square().sum()

    given = {name: value.detach() for name, value in params.items()}
    found = torch.func.grad(lambda params: loss(compile_network(backbone.apply), params))(given)
    expected = torch.func.grad(lambda params: loss(backbone.apply, params))(given)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("create_graph", [False, True])
def test_the_precision_of_autocast_is_that_of_the_gradient_too(counter, create_graph):
    backbone, params, coords, mix = _case((40,))
    params = {name: value.detach().float().requires_grad_() for name, value in params.items()}
    wanted = list(params.values())
    gradients = []
    for network in (compile_network(backbone.apply), backbone.apply):
        with torch.autocast("cpu", torch.bfloat16):
            values = evaluate(network, params, coords.detach().float(), (40,))
        assert values.dtype == torch.float32  # of an output layer that keeps all digits
        gradients.append(torch.autograd.grad((values * mix).sum(), wanted, create_graph=create_graph))
    for found, other in zip(*gradients, strict=True):
        torch.testing.assert_close(found, other, rtol=0.05, atol=0.02 * float(other.detach().abs().max()))


def test_other_sizes_are_not_compiled_anew(counter):
    backbone, params, coords, _ = _case((60,))
    network = compile_network(backbone.apply)
    for sizes in ((3,), (9,), (20,), (33,)):
        evaluate(network, params, coords[: sum(sizes)], sizes)
    assert counter.frame_count == 1
    # An even stack, and chunks and draws of it: other tiles, other lengths.
    backbone, params, coords, _ = _case((9,) * 6)
    for stack in ((9,) * 6, (9, 9, 9, 5, 0, 0), (2, 3, 4, 5, 6, 7), (3, 1, 8, 8, 7, 1)):
        evaluate(network, params, coords[: sum(stack)], stack, "batched")
    assert counter.frame_count <= 3


def test_each_backbone_has_its_own_count_of_compilations(counter):
    for width in range(1, 11):
        backbone = Siren(hidden_features=width, hidden_layers=0)
        params = backbone.init(1, 2, 3, None)
        evaluate(compile_network(backbone.apply), params, torch.rand(5, 2), (5,))
    assert counter.frame_count == 10


def test_what_cannot_be_compiled_is_refused(monkeypatch):
    def broken(graph, inputs):
        raise RuntimeError("no compiler here")

    plain = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function: plain(function, backend=broken))
    backbone, params, coords, _ = _case((4,))
    with pytest.raises(PartinrError, match=r"engine=compiled: torch.compile fails .*no compiler here.*; choose"):
        evaluate(compile_network(backbone.apply), params, coords, (4,))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method:DeprecationWarning")  # torch's own, of itself
@pytest.mark.skipif(
    not any(map(shutil.which, ("g++", "clang++"))), reason="no C++ compiler on the PATH (Debian: apt-get install g++)"
)
def test_compiled_in_earnest():
    signal = torch.rand(4, 6, 3, generator=torch.Generator().manual_seed(0))
    backbone = Siren(hidden_features=4, hidden_layers=0, first_omega_0=3.0)
    results = []
    for engine in ("compiled", "batched"):
        model = PiecewiseINR(Grid(rows=2, cols=2)(signal), backbone, engine=engine)
        batch = model.batch(signal)
        wanted = list(model.parameters())
        loss = (model(batch.coords, batch.sizes) - batch.targets).square().mean()
        first = torch.autograd.grad(loss, wanted)
        loss = (model(batch.coords, batch.sizes) - batch.targets).square().mean()
        total = torch.stack([g.square().sum() for g in torch.autograd.grad(loss, wanted, create_graph=True)]).sum()
        results.append([*first, *torch.autograd.grad(total, wanted)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-6)
