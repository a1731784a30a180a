"""Gates: weights of networks at samples, the labels by them, and the regions that they begin with."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.partition import Experts, GatedRule, Grid, Partition, SoftCells
from tests.covering import cases, covering

RULES = {"experts": Experts, "soft_cells": SoftCells}


def small(kind: str, **options: object) -> GatedRule:
    more = {"hidden_features": 8, "omega_0": 6.0} if kind == "experts" else {}
    return RULES[kind](**{"regions": 4, "pretrain": None, **more, **options})


@covering(kind=list(RULES), shape=[(17,), (5, 7), (3, 4, 5)])
def test_each_network_has_a_sample_and_weights_follow_the_logits(kind, shape):
    gate: Any = small(kind).fresh(4, shape)
    with torch.no_grad():  # two networks that win nowhere
        (gate.bias[-1] if kind == "experts" else gate.radius)[:2] -= 50
    labels = gate.labels()
    assert labels.shape == shape
    assert Partition(labels).sizes[:2].tolist() == [1, 1]
    rest = labels.reshape(-1) > 1
    assert torch.equal(labels.reshape(-1)[rest], gate.logits(gate.coords).argmax(1)[rest])
    networks = gate.best(3)
    logits = gate.logits(gate.coords, networks)
    assert torch.allclose(logits, gate.logits(gate.coords).gather(1, networks), atol=1e-5)
    assert bool((logits.diff(dim=1) <= 1e-5).all())
    assert torch.allclose(gate.weights(networks).sum(1), torch.ones(len(networks)))


@covering(kind=list(RULES), shape=[(9,), (3, 4), (2, 3, 2)])
def test_logits_have_the_slopes_of_finite_differences(kind, shape):
    gate: Any = small(kind).fresh(3, shape).double()
    generator = torch.Generator().manual_seed(1)
    for value in gate.parameters():
        value.data += 0.1 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
    names, values = zip(*((name, value) for name, value in gate.named_parameters() if value.numel()), strict=True)
    networks, gate.forward = gate.best(2), gate.logits

    def logits(*given):
        return torch.func.functional_call(gate, dict(zip(names, given, strict=True)), (gate.coords, networks))

    assert torch.autograd.gradcheck(logits, [value.detach().requires_grad_() for value in values])


def test_the_metric_of_a_site_has_determinant_1_and_turns_with_its_numbers():
    gate: Any = small("soft_cells").fresh(1, (9, 9))
    with torch.no_grad():
        gate.position.zero_()
        gate.metric.copy_(torch.tensor([[0.0, 1.2]]))  # longer along the second axis
    root = torch.matrix_exp(torch.einsum("rn,nij->rij", gate.metric / 2, gate.basis))
    assert torch.det(root).allclose(torch.ones(1))
    along, across = gate.logits(torch.tensor([[0.5, 0.0], [0.0, 0.5]])).squeeze(1).tolist()
    assert across / along == pytest.approx(math.exp(-1.2), rel=1e-3) or along / across == pytest.approx(
        math.exp(-1.2), rel=1e-3
    )


def test_a_gate_begins_with_the_regions_of_another_rule():
    signal = torch.rand(12, 12, 1, generator=torch.Generator().manual_seed(0))
    grid = Grid(regions=4)(signal).labels
    cells = small("soft_cells", pretrain="grid", pretrain_steps=0)
    assert torch.equal(cells(signal).labels, grid)
    assert torch.equal(cells.gate(cells(signal)).labels(), grid)
    experts = small(
        "experts", pretrain="grid", pretrain_options={"rows": 4, "cols": 1, "regions": None}, pretrain_steps=150
    )
    partition = experts(signal)
    assert partition.regions == 4
    assert not partition.free
    gate = experts.gate(partition)
    assert float((gate.labels() == partition.labels).double().mean()) > 0.9
    assert all(value.grad is None for value in gate.parameters())
    again = experts.gate(partition)
    assert all(torch.equal(one, other) for one, other in zip(gate.parameters(), again.parameters(), strict=True))


def test_a_beginning_that_cannot_be_is_refused_with_what_to_give():
    for options, said in cases(
        ({"pretrain": "none"}, "no rule partition.pretrain=none; choose from .*grid, kmeans, .*, or null"),
        ({"pretrain": "experts"}, "no rule partition.pretrain=experts; choose"),
        ({"pretrain": "random", "pretrain_options": {"rows": 2}}, "rows"),
        ({"pretrain": None, "pretrain_options": {"rows": 2}}, "give its title"),
        ({"top_k": 1}, "top_k"),
    ):
        with pytest.raises(PartinrError, match=said):
            Experts(**options)
    single = Experts(pretrain="random", pretrain_options={"regions": 1})
    with pytest.raises(PartinrError, match="made 1; choose another, or null for none"):
        single.gate(single(torch.zeros(4, 4, 1)))
