"""The self-test of the meta-gradient: it passes what is right, and nothing else."""

from __future__ import annotations

import re

import pytest
import torch

from partinr.backbones import ReluPE, Siren
from partinr.base.errors import PartinrError
from partinr.engines.chain import tensors_of
from partinr.regimes.meta import RATE_KINDS, InnerRates, LearnedStart, check_meta_gradient, inner, learned, selftest
from tests.covering import covering

ONE_LINE = (
    r"^the meta-gradient of regime\.algorithm={} with engine=[a-z]+ on cpu {}[^\n]*; choose another engine[^\n]*$"
)

WRONG = {name: re.compile(ONE_LINE.format(name, "is wrong, by ")) for name in ("maml", "fomaml")}
SIREN = Siren(hidden_features=64, hidden_layers=2)


@covering(
    10,
    engine=["loop", "batched", "fused", "tiled", "auto"],
    algorithm=["maml", "fomaml", "reptile", "unadapted"],
    recompute=[False, True],
)
def test_every_engine_passes(engine, algorithm, recompute):
    check_meta_gradient(LearnedStart(SIREN, engine=engine), algorithm, recompute)


RIGHT: dict[str, LearnedStart] = {
    **{kind: LearnedStart(SIREN, inner_lr_kind=kind) for kind in RATE_KINDS},  # type: ignore[arg-type]
    "positive": LearnedStart(SIREN, inner_lr_positive=True),
    "a first rate of any size": LearnedStart(SIREN, inner_lr=1e-9),
    "image": LearnedStart(SIREN, inner_loss="image"),
    "last layer": LearnedStart(SIREN, adapt_layers=1),
    "last two layers": LearnedStart(SIREN, adapt_layers=2),
    "cells": LearnedStart(SIREN, cells=4),
    "one step": LearnedStart(SIREN, inner_steps=1),
    "local": LearnedStart(SIREN, frame="local"),
    "a line, grey": LearnedStart(SIREN, in_features=1, channels=1),
    "a volume": LearnedStart(SIREN, in_features=3),
    "the paper's frequencies": LearnedStart(Siren(hidden_features=128, hidden_layers=3, first_omega_0=30.0)),
    "no hidden layer": LearnedStart(Siren(hidden_features=8, hidden_layers=0)),
    "relu_pe": LearnedStart(ReluPE(hidden_features=64)),
    "relu_pe, few frequencies": LearnedStart(ReluPE(hidden_features=64, hidden_layers=1, frequencies=4)),
    "relu_pe, last layer": LearnedStart(ReluPE(hidden_features=64), adapt_layers=1),
}


@covering(case=list(RIGHT), algorithm=["maml", "fomaml"], recompute=[False, True])
def test_what_is_right_passes(case, algorithm, recompute):
    check_meta_gradient(RIGHT[case], algorithm, recompute)


@covering(backbone={"siren": SIREN, "relu_pe": ReluPE(hidden_features=64)}, algorithm=["maml", "fomaml"])
def test_a_run_in_bfloat16_is_tested_with_all_digits(backbone, algorithm):
    with torch.autocast("cpu", torch.bfloat16):
        check_meta_gradient(LearnedStart(backbone), algorithm, recompute=False)


@pytest.mark.parametrize("case", ["per_parameter_per_step", "image", "last layer", "cells", "relu_pe"])
def test_a_forgotten_graph_is_found(monkeypatch, case):
    with_graph = inner._gradient

    def forgetful(objective, params, names, twice):
        return with_graph(objective, params, names, twice=False)

    monkeypatch.setattr(inner, "_gradient", forgetful)
    # Kernels of second derivatives would have no need of the graph.
    monkeypatch.setattr(RIGHT[case].networks, "engine", "loop")
    with pytest.raises(PartinrError, match=WRONG["maml"]):
        check_meta_gradient(RIGHT[case], "maml", recompute=False)


@pytest.mark.parametrize("engine", ["fused", "tiled"])
def test_a_kernel_without_second_derivatives_is_found(monkeypatch, engine):
    def nothing(chain, *rest):
        return [torch.zeros_like(tensor) for tensor in tensors_of(chain)]

    monkeypatch.setattr(f"partinr.engines.{engine}.{engine}_curvature", nothing)
    with pytest.raises(PartinrError, match=WRONG["maml"]):
        check_meta_gradient(LearnedStart(SIREN, engine=engine), "maml", recompute=False)


@pytest.mark.parametrize("case", ["per_parameter_per_step", "image", "last layer", "cells", "relu_pe"])
def test_a_second_order_where_the_first_is_meant_is_found(monkeypatch, case):
    def always_second(*arguments, order, **options):
        return inner.adapt(*arguments, order="second" if order == "first" else order, **options)

    monkeypatch.setattr(learned, "adapt", always_second)
    with pytest.raises(PartinrError, match=WRONG["fomaml"]):
        check_meta_gradient(RIGHT[case], "fomaml", recompute=False)


@covering(kind=[kind for kind in RATE_KINDS if kind != "static"], algorithm=["maml", "fomaml"], recompute=[False, True])
def test_rates_that_learn_something_else_are_found(monkeypatch, kind, algorithm, recompute):
    at = InnerRates.at

    def halved(self, step, name, cell=None):
        rate = at(self, step, name, cell)
        assert isinstance(rate, torch.Tensor)
        # The same rate, half of the gradient.
        return 0.5 * rate + 0.5 * rate.detach()

    monkeypatch.setattr(InnerRates, "at", halved)
    said = ONE_LINE.format(algorithm, "by its learning rates, is wrong, by 50.0%").replace(" by its", ", by its")
    with pytest.raises(PartinrError, match=said):
        check_meta_gradient(LearnedStart(SIREN, inner_lr_kind=kind), algorithm, recompute)


@covering(engine=["loop", "batched"], algorithm=["maml", "fomaml"])
def test_in_double_precision(engine, algorithm):
    check_meta_gradient(LearnedStart(SIREN, engine=engine), algorithm, recompute=False, dtype=torch.float64)
    check_meta_gradient(LearnedStart(SIREN, engine=engine).double(), algorithm, recompute=False)


def test_products_have_all_their_digits_for_its_time_only(monkeypatch):
    products = torch.backends.cuda.matmul
    seen = []

    def spy(*given, **options):
        seen.append(products.fp32_precision)
        return learned.outer_gradients(*given, **options)

    monkeypatch.setattr("partinr.regimes.meta.selftest.outer_gradients", spy)
    before = products.fp32_precision
    try:
        products.fp32_precision = "tf32"
        check_meta_gradient(LearnedStart(SIREN), "maml", recompute=False)
        assert (seen, products.fp32_precision) == (["ieee"], "tf32")
    finally:
        products.fp32_precision = before


def test_what_is_no_number_is_found(monkeypatch):
    with_graph = inner._gradient

    def broken(objective, params, names, twice):
        return {
            name: each * (float("nan") if twice else 1.0)
            for name, each in with_graph(objective, params, names, twice).items()
        }

    monkeypatch.setattr(inner, "_gradient", broken)
    with pytest.raises(PartinrError, match=WRONG["maml"]):
        check_meta_gradient(LearnedStart(SIREN), "maml", recompute=False)


class CompiledSiren(Siren):
    """As a backbone from elsewhere may be."""

    def apply(self, params, x, linear):
        return torch.compile(super().apply, backend="aot_eager")(params, x, linear)

    def chain(self, params):
        return None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler, about what it traces
@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_networks_are_found(recompute):
    # torch 2.13 refuses to differentiate their gradients; others gave the first-order meta-gradient without a word.
    start = LearnedStart(CompiledSiren(hidden_features=8, hidden_layers=0))
    with pytest.raises(PartinrError, match=ONE_LINE.format("maml", "(is wrong, by |cannot be computed: )")):
        check_meta_gradient(start, "maml", recompute)


def test_the_run_is_not_touched():
    start = LearnedStart(SIREN)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    check_meta_gradient(start, "maml", recompute=False)
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())
    assert all(value.grad is None for value in start.parameters())


def test_what_has_passed_is_kept_in_the_cache(monkeypatch, tmp_path):
    def check(engine="auto", **options):
        start = LearnedStart(SIREN, engine=engine, **options)
        check_meta_gradient(start, "maml", recompute=False, cache=tmp_path)

    check()
    (kept,) = (tmp_path / "meta_gradient").iterdir()
    compared = []
    true = selftest._true

    def counted(*given):
        compared.append(True)
        return true(*given)

    monkeypatch.setattr(selftest, "_true", counted)
    check()
    check(inner_lr=1e-3)
    assert (compared, [*kept.parent.iterdir()]) == ([], [kept])
    check("loop")
    assert compared
    assert len([*kept.parent.iterdir()]) == 2


def test_what_is_wrong_is_not_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(selftest, "TOLERANCE", -1.0)
    with pytest.raises(PartinrError, match=WRONG["maml"]):
        check_meta_gradient(LearnedStart(SIREN), "maml", recompute=False, cache=tmp_path)
    assert not list(tmp_path.iterdir())
