"""Optimisers of matrices: each network of a stack is moved as if it were the only one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

import partinr
from partinr.backbones import Siren, Wire, load_backbone
from partinr.base.errors import PartinrError
from partinr.model.stack import NetworkStack
from partinr.partition import Grid
from partinr.regimes import Optimizer, PerNetwork
from tests.covering import cases

CONF = Path(__file__).parents[2] / "conf"
BACKBONES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in CONF.glob("backbone/*.yaml")}
NETWORKS = 4


def configured(name: str) -> PerNetwork:
    options = yaml.safe_load((CONF / "optimizer" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert options.pop("_target_") == "partinr.regimes.PerNetwork"
    return PerNetwork(**options)


@pytest.fixture(params=["muon", "soap"])
def spec(request: pytest.FixtureRequest) -> PerNetwork:
    return configured(request.param)


def stack(**options: Any) -> NetworkStack:
    return NetworkStack(Siren(hidden_features=6, hidden_layers=2), NETWORKS, in_features=2, **options)


def gradients(params: dict[str, Tensor], step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(step)
    return {name: torch.randn(value.shape, generator=generator) for name, value in params.items()}


def walk(spec: Optimizer, model: NetworkStack, steps: int, **changes: Tensor) -> dict[str, Tensor]:
    """The parameters after some steps down gradients that are drawn; ``changes`` are added to those of a parameter."""
    params = dict(model.stack)
    optimizer = spec.build_stack(model, params)
    for step in range(steps):
        for name, gradient in gradients(params, step).items():
            params[name].grad = gradient + changes.get(name, 0)
        optimizer.step()
    return {name: value.detach().clone() for name, value in params.items()}


def test_stacked_equals_separate(spec: PerNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own optimiser, made for each network alone, goes the same way."""
    model, kind, options = stack(), spec._class(), spec._options()
    start = {name: value.detach().clone() for name, value in model.stack.items()}
    steps = 25
    found = walk(spec, model, steps)
    hidden = model.hidden_matrices()
    assert hidden == frozenset({"weight_1", "weight_2"})
    # Muon's products, which are in bf16 by themselves.
    monkeypatch.setattr(Tensor, "bfloat16", Tensor.clone)
    for network in range(NETWORKS):
        own = {name: nn.Parameter(value[network].clone()) for name, value in start.items()}
        chosen = [value for name, value in own.items() if spec.adamw_lr is None or name in hidden]
        rest = [value for name, value in own.items() if spec.adamw_lr is not None and name not in hidden]
        optimizers = [kind(chosen, lr=spec.lr, **options)]
        if spec.adamw_lr is not None:
            optimizers.append(torch.optim.AdamW(rest, lr=spec.adamw_lr, weight_decay=0.0))
        for step in range(steps):
            for name, gradient in gradients(dict(model.stack), step).items():
                own[name].grad = gradient[network].clone()
            for optimizer in optimizers:
                optimizer.step()
        for name, value in own.items():
            moved = float((value.detach() - start[name][network]).abs().max())
            assert moved > 1e-3
            if name in ("weight_0", "weight_3") and spec.adamw_lr is None:
                continue  # not square: a first eigenbasis of a singular matrix, which is a matter of rounding
            torch.testing.assert_close(found[name][network], value.detach(), rtol=0, atol=1e-3 * moved)


def test_no_network_notices_another(spec: PerNetwork) -> None:
    other = torch.zeros(NETWORKS, 6, 6)
    other[1] = 3.0
    plain, changed = walk(spec, stack(), 25), walk(spec, stack(), 25, weight_1=other)
    for name, value in plain.items():
        differs = [not torch.equal(value[network], changed[name][network]) for network in range(NETWORKS)]
        assert differs == [False, name == "weight_1", False, False]


def test_a_hidden_step_of_muon_is_orthogonal_and_adamw_has_the_rest() -> None:
    model = stack()
    start = {name: value.detach().clone() for name, value in model.stack.items()}
    spec = PerNetwork(name="muon", lr=0.5, adamw_lr=0.25, options={"weight_decay": 0.0})
    found = walk(spec, model, 1)
    for name, value in found.items():
        moved = start[name] - value
        if name in ("weight_1", "weight_2"):
            # Singular values that Newton and Schulz's iteration brings between 0.7 and 1.2 or so.
            values = torch.linalg.svdvals(moved / 0.5)
            assert 0.5 < float(values.min()) <= float(values.max()) < 1.3
        else:
            torch.testing.assert_close(moved, 0.25 * gradients(dict(model.stack), 0)[name].sign(), atol=1e-4, rtol=0)


def test_the_schedule_moves_both_rates() -> None:
    def moved(scale: float) -> dict[str, Tensor]:
        model = stack()
        start = {name: value.detach().clone() for name, value in model.stack.items()}
        params = dict(model.stack)
        optimizer = configured("muon").build_stack(model, params)
        optimizer.param_groups[0]["lr"] *= scale
        for name, gradient in gradients(params, 0).items():
            params[name].grad = gradient
        optimizer.step()
        return {name: value.detach() - start[name] for name, value in params.items()}

    whole, half = moved(1.0), moved(0.5)
    for name, value in whole.items():
        torch.testing.assert_close(half[name], value / 2, atol=1e-6, rtol=1e-3)


def test_networks_of_several_widths(spec: PerNetwork) -> None:
    model = stack(widths=[4, 6, 4, 9])
    found = walk(spec, model, 12)
    assert len({len(value) for value in found.values()}) > 1
    assert all(bool(value.isfinite().all()) for value in found.values())


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_learns_or_is_refused(spec: PerNetwork, name: str) -> None:
    options = {**BACKBONES[name], "hidden_features": 6}
    if "hidden_layers" in options:
        options["hidden_layers"] = 1
    if name == "hash_grid":
        options["table_size"] = 16
    image = torch.rand(8, 9, 3, generator=torch.Generator().manual_seed(0))
    model = partinr.PiecewiseINR(Grid(regions=4)(image), load_backbone(options.pop("_target_"), options))
    if model.hidden_matrices() is None and spec.adamw_lr is not None:
        with pytest.raises(PartinrError, match=f"backbone {name} has none of real numbers; choose"):
            partinr.fit(model, image, steps=12, optimizer=spec)
        return
    fixed = {key: value.detach().clone() for key, value in model.stack.items() if not value.requires_grad}
    result = partinr.fit(model, image, steps=12, optimizer=spec)
    assert result.failure is None
    assert result.curve[-1]["loss"] < result.curve[0]["loss"]
    assert all(torch.equal(value, model.stack[key]) for key, value in fixed.items())


@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_in_other_precisions(spec: PerNetwork, small_fit: Any, signal: Tensor, precision: str) -> None:
    result = small_fit(signal, steps=12, precision=precision, optimizer=spec)
    assert result.failure is None
    assert result.psnr > result.curve[0]["psnr"]


def test_a_network_without_samples_stays_where_it_is(spec: PerNetwork) -> None:
    model = stack()
    params = dict(model.stack)
    start = {name: value.detach().clone() for name, value in params.items()}
    optimizer = spec.build_stack(model, params)
    for step in range(12):
        for name, gradient in gradients(params, step).items():
            gradient[2] = 0
            params[name].grad = gradient
        optimizer.step()
    for name, value in params.items():
        assert torch.equal(value[2], start[name][2])
        assert not torch.equal(value[0], start[name][0])


def test_a_run_that_diverges_fails_in_one_line(spec: PerNetwork, small_fit: Any, signal: Tensor) -> None:
    wild = PerNetwork(name=spec.name, lr=1e30, adamw_lr=None if spec.adamw_lr is None else 1e30, options=spec.options)
    result = small_fit(signal, steps=40, optimizer=wild)
    assert "lower optimizer.lr" in str(result.failure)


# -- what is refused ----------------------------------------------------------------------------------------------


def test_without_the_package_a_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(PartinrError, match=r"pip install 'partinr\[optimizers\]'") as caught:
        configured("soap")
    assert "\n" not in str(caught.value)
    configured("muon")


def test_refused_when_it_is_made() -> None:
    for options, said in cases(
        ({"options": {"beta": [0.9, 0.9]}}, "takes no beta; add ~optimizer.options.beta"),
        ({"name": "muon", "options": {"betas": [0.9, 0.9]}}, "optimizer muon takes no betas"),
        ({"name": "nothing"}, "there is no optimizer 'nothing'"),
        ({"adamw_lr": 0.0}, r"adamw_lr=0\.0"),
    ):
        with pytest.raises(PartinrError, match=said):
            PerNetwork(**options)


def test_refused_before_training() -> None:
    for options, said in cases(
        ({"options": {"betas": [2.0, 0.9]}}, "refuses its options: .*beta1"),
        ({"name": "muon", "adamw_lr": 1e-3, "options": {"momentum": -1.0}}, "refuses its options: momentum"),
        ({"name": "muon"}, "refuses its options: Muon only supports 2D"),
        ({"name": "adafactor"}, "cannot take the steps of many networks at once"),
    ):
        model = stack()
        with pytest.raises(PartinrError, match=said) as caught:
            PerNetwork(**options).build_stack(model, dict(model.stack))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backbone", [Siren(hidden_features=6, hidden_layers=0), Wire(hidden_features=6)])
def test_muon_wants_hidden_matrices(backbone: Any) -> None:
    model = NetworkStack(backbone, NETWORKS, in_features=2)
    with pytest.raises(PartinrError, match="is for the matrices between hidden layers, and backbone"):
        configured("muon").build_stack(model, dict(model.stack))


def test_not_for_what_belongs_to_no_network(spec: PerNetwork) -> None:
    with pytest.raises(PartinrError, match="regime=meta also learns what belongs to none"):
        spec.build([nn.Parameter(torch.ones(2, 3))])


@pytest.mark.parametrize("name", ["muon", "adafactor"])
def test_an_optimiser_that_would_mix_the_networks_is_refused(name: str) -> None:
    model = stack()
    with pytest.raises(PartinrError, match=f"optimizer.name={name} takes a parameter for one matrix"):
        Optimizer(name=name).build_stack(model, dict(model.stack))
