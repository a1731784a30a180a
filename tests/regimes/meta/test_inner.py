"""The inner loop by itself, on objectives whose derivatives can be written down."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor

from partinr.regimes.meta import adapt
from tests.covering import covering

CURVES = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)
STEPS = 3
RATE = 0.1
ORDERS = [("second", False), ("second", True), ("first", False), ("none", False)]


def quadratic(params, twice: bool) -> Tensor:
    """Its gradient is CURVES · p and its Hessian diag(CURVES)."""
    return (CURVES * params["p"].square()).sum() / 2


def ends(objective, params, rate, steps=STEPS, **options) -> list[dict[str, Tensor]]:
    return list(adapt(objective, params, lambda step: {"p": rate}, steps, **options))


@pytest.fixture
def p() -> Tensor:
    return torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("order", "recompute"), ORDERS)
def test_a_step_goes_down_the_gradient(p, order, recompute):
    for step, params in enumerate(ends(quadratic, {"p": p}, RATE, order=order, recompute=recompute), 1):
        torch.testing.assert_close(params["p"].detach(), p.detach() * (1 - RATE * CURVES) ** step)


@pytest.mark.parametrize("recompute", [False, True])
def test_second_order_is_the_true_derivative(p, recompute):
    rate = torch.tensor(RATE, dtype=torch.float64, requires_grad=True)
    *_, last = ends(quadratic, {"p": p}, rate, recompute=recompute)
    by_p, by_rate = torch.autograd.grad(last["p"].sum(), [p, rate])
    shrink = 1 - RATE * CURVES
    torch.testing.assert_close(by_p, shrink**STEPS)
    torch.testing.assert_close(by_rate, -(STEPS * CURVES * shrink ** (STEPS - 1) * p).sum())


def test_first_order_takes_gradients_for_constants(p):
    rate = torch.tensor(RATE, dtype=torch.float64, requires_grad=True)
    *_, last = ends(quadratic, {"p": p}, rate, order="first")
    by_p, by_rate = torch.autograd.grad(last["p"].sum(), [p, rate])
    shrink = 1 - RATE * CURVES
    torch.testing.assert_close(by_p, torch.ones_like(p))
    torch.testing.assert_close(by_rate, -sum((CURVES * shrink**step * p).sum() for step in range(STEPS)))


def test_without_an_order_there_is_no_history(p):
    rate = torch.tensor(RATE, dtype=torch.float64, requires_grad=True)
    both = {"p": p, "not adapted": torch.ones(2, requires_grad=True)}
    for params in ends(quadratic, both, rate, order="none"):
        assert not any(each.requires_grad for each in params.values())


@pytest.mark.parametrize(("order", "recompute"), ORDERS)
def test_the_memory_of_a_step_is_free_after_it_unless_a_graph_needs_it(p, order, recompute):
    inner: list[weakref.ref] = []

    def objective(params, twice: bool) -> Tensor:
        # Its gradient needs the square, so that this lives as long as the graph does.
        square = params["p"].square()
        inner.append(weakref.ref(square))
        return (CURVES * square.sin()).sum()

    kept = ends(objective, {"p": p}, 1e-3, order=order, recompute=recompute)
    assert len(inner) == STEPS
    del kept[:-1]
    alive = [each() is not None for each in inner]
    assert alive == [order == "second" and not recompute] * STEPS


@pytest.mark.parametrize("order", ["first", "none"])
def test_a_gradient_is_not_differentiated_where_nobody_asks(p, order):
    asked = []

    def objective(params, twice: bool) -> Tensor:
        asked.append(twice)
        return quadratic(params, twice)

    ends(objective, {"p": p}, RATE, order=order)
    assert asked == [False] * STEPS


@pytest.mark.parametrize("recompute", [False, True])
def test_what_is_not_adapted_stays_and_has_its_part_in_the_derivative(recompute):
    # p' = p - r q p, so the sum of p' has the derivative -r p by q, and 1 - r q by p.
    p = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    q = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)

    def objective(params, twice: bool) -> Tensor:
        return (params["q"] * params["p"].square()).sum() / 2

    (moved,) = ends(objective, {"p": p, "q": q}, RATE, steps=1, recompute=recompute)
    assert torch.equal(moved["q"], q)
    by_p, by_q = torch.autograd.grad(moved["p"].sum(), [p, q])
    torch.testing.assert_close(by_p, 1 - RATE * q)
    torch.testing.assert_close(by_q, -RATE * p)


@pytest.mark.parametrize("recompute", [False, True])
def test_what_was_not_to_be_differentiated_may_go_in(recompute):
    given = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    rate = torch.tensor(RATE, dtype=torch.float64, requires_grad=True)
    *_, last = ends(quadratic, {"p": given}, rate, recompute=recompute)
    (by_rate,) = torch.autograd.grad(last["p"].sum(), [rate])
    torch.testing.assert_close(by_rate, -(STEPS * CURVES * (1 - RATE * CURVES) ** (STEPS - 1) * given).sum())
    assert not given.requires_grad


def test_a_step_that_is_computed_again_has_no_third_order(p):
    # Better a loud refusal than a derivative with a part missing.
    *_, last = ends(quadratic, {"p": p}, RATE, recompute=True)
    (by_p,) = torch.autograd.grad(last["p"].square().sum(), p, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        by_p.sum().backward()


@covering(recompute=[False, True], shape=[(), (3,), (2, 3), (1, 3)])
def test_a_rate_broadcasts_and_its_derivative_has_its_shape(shape, recompute):
    p = torch.arange(6, dtype=torch.float64).reshape(2, 3).requires_grad_()
    rate = torch.full(shape, RATE, dtype=torch.float64, requires_grad=True)
    *_, last = ends(quadratic, {"p": p}, rate, recompute=recompute)
    (by_rate,) = torch.autograd.grad(last["p"].sum(), [rate])
    expected = -STEPS * CURVES * (1 - RATE * CURVES) ** (STEPS - 1) * p.detach()
    torch.testing.assert_close(by_rate, expected.sum_to_size(shape))
