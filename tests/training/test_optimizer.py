"""Optimisers by name."""

from __future__ import annotations

import math

import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.regimes import Optimizer
from tests.covering import cases


class Own(torch.optim.SGD):
    def __init__(self, params, lr=0.1, strength=1.0):
        super().__init__(params, lr=lr * strength)


def _parameters():
    return [torch.nn.Parameter(torch.ones(2, 3, 4))]


def test_torchs_optimisers_by_name():
    for name, kind in [
        ("adam", "Adam"),
        ("adamw", "AdamW"),
        ("sgd", "SGD"),
        ("nadam", "NAdam"),
        ("rmsprop", "RMSprop"),
    ]:
        made = Optimizer(name=name, lr=0.125).build(_parameters())
        assert type(made) is getattr(torch.optim, kind)
        assert made.param_groups[0]["lr"] == 0.125


def test_options_reach_the_optimiser():
    made = Optimizer(name="adam", options={"betas": [0.5, 0.75], "eps": 1e-3, "weight_decay": 0.25}).build(
        _parameters()
    )
    group = made.param_groups[0]
    assert tuple(group["betas"]) == (0.5, 0.75)
    assert (group["eps"], group["weight_decay"]) == (1e-3, 0.25)
    momentum = Optimizer(name="sgd", options={"momentum": 0.9, "nesterov": True}).build(_parameters())
    assert momentum.param_groups[0]["nesterov"] is True


@pytest.mark.parametrize("options", [{}, {"fused": False}, {"foreach": True}])
def test_adam_fused_or_not_is_adam(options):
    """One step against the formula (Kingma & Ba 2015, algorithm 1): the first step of Adam is lr · sign(g)."""
    (parameter,) = _parameters()
    made = Optimizer(lr=0.01, options=options).build([parameter])
    parameter.grad = torch.linspace(-3, 3, 24).reshape(2, 3, 4)
    made.step()
    torch.testing.assert_close(parameter.detach(), 1 - 0.01 * parameter.grad.sign(), rtol=0, atol=1e-6)


def test_a_class_of_ones_own(monkeypatch):
    monkeypatch.setattr(torch.optim, "_own_for_a_test", Own, raising=False)
    spec = Optimizer(name="torch.optim._own_for_a_test", lr=0.5, options={"strength": 2.0})
    assert spec.build(_parameters()).param_groups[0]["lr"] == 1.0
    with pytest.raises(PartinrError, match="takes no strenght"):
        Optimizer(name="torch.optim._own_for_a_test", options={"strenght": 2.0})


def test_refused_when_it_is_made():
    for options, said in cases(
        ({"name": "adan"}, "did you mean adam"),
        ({"name": "Adam"}, "did you mean adam"),
        ({"name": "qqqqqq"}, "choose from .*adam, "),
        ({"name": ""}, "choose from"),
        ({"name": "lbfgs"}, "there is no optimizer 'lbfgs'"),
        ({"name": "sparseadam"}, "there is no optimizer"),
        ({"name": "optimizer"}, "there is no optimizer"),
        ({"name": "no.such.thing"}, "cannot be imported"),
        ({"name": "torch.optim.Nothing"}, "cannot be imported"),
        ({"name": "torch.nn.Linear"}, "is no torch optimiser class"),
        ({"name": "math.pi"}, "is no torch optimiser class"),
        ({"lr": 0.0}, r"lr=0\.0"),
        ({"lr": -1.0}, r"lr=-1\.0"),
        ({"lr": math.nan}, r"lr=nan"),
        ({"lr": math.inf}, r"lr=inf"),
        ({"lr": "1e-3"}, r"lr='1e-3'"),
        ({"options": {"momentum": 0.9}}, "optimizer adam takes no momentum"),
        ({"options": {"lr": 0.9}}, "optimizer adam takes no lr"),
        ({"options": {"params": 0.9}}, "optimizer adam takes no params"),
        ({"options": [1]}, r"Optimizer\.options=\[1\]"),
    ):
        with pytest.raises(PartinrError, match=said) as caught:
            Optimizer(**options)
        assert "\n" not in str(caught.value)


def test_refused_when_it_is_built():
    for name, options in cases(
        ("adam", {"betas": [2, 3]}),
        ("adam", {"betas": 3}),
        ("adam", {"eps": "x"}),
        ("sgd", {"nesterov": True}),
        ("muon", {}),
    ):
        with pytest.raises(PartinrError, match=f"optimizer {name} refuses its options") as caught:
            Optimizer(name=name, options=options).build(_parameters())
        assert "\n" not in str(caught.value)
