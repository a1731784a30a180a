"""Points drawn by their error have the right frequency and keep the expectation of the loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Partition
from partinr.regimes import Constant, FitModule, FitSettings, Optimizer, StopRule
from partinr.samplers import Error, Pool, Sampler, Weighted
from partinr.samplers.weighted import FLOOR

SAMPLES = 40
NETWORK = torch.arange(SAMPLES) // 16
SIZES = torch.bincount(NETWORK).tolist()


def draw(module: Any, step: int) -> Tensor:
    drawn: Tensor = module.sampler.draws.draw(step)
    return drawn


def drawing(points: int, seed: int = 0) -> Weighted:
    return Weighted(Pool([torch.zeros(SAMPLES, 1)], torch.arange(SAMPLES), tuple(SIZES), points, seed))


def sampler_of(points: int, seed: int = 5) -> Weighted:
    sampler = drawing(points, seed)
    sampler.prefer(torch.rand(SAMPLES, generator=torch.Generator().manual_seed(1)) ** 4)
    return sampler


@pytest.fixture
def sampler() -> Weighted:
    return sampler_of(9)


def probability(sampler: Weighted) -> Tensor:
    """As the docstring has it."""
    assert sampler.liking is not None
    errors = sampler.liking.double()
    return (1 - FLOOR) * errors / errors.sum() + FLOOR / SAMPLES


@pytest.mark.parametrize("points", [1, 7, 40, 100])
def test_a_point_from_each_part_of_the_probability(points: int) -> None:
    """How many of the points are among the first i samples is never one off what is expected."""
    sampler = sampler_of(points)
    expected = points * probability(sampler).cumsum(0)
    for step in range(50):
        drawn = sampler.draw(step)
        assert drawn.shape == (points,)
        assert (drawn.diff() >= 0).all()
        counted = torch.bincount(drawn, minlength=SAMPLES).cumsum(0)
        assert float((counted - expected).abs().max()) < 1 + 1e-9


def test_every_sample_as_often_as_its_probability_says() -> None:
    draws, points = 3000, 8
    sampler = sampler_of(points)
    counted = torch.zeros(SAMPLES, dtype=torch.float64)
    for step in range(draws):
        counted += torch.bincount(sampler.draw(step), minlength=SAMPLES)
    expected = draws * points * probability(sampler)
    # Five standard deviations of a Poisson variable, which varies more.
    assert ((counted - expected).abs() <= 5 * expected.sqrt()).all()


def test_weights_make_up_for_it(sampler: Weighted) -> None:
    values = torch.rand(SAMPLES, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weights = sampler.weights
    assert weights is not None
    assert weights.shape == (SAMPLES, 1)
    assert float(weights.max()) <= 1 / FLOOR
    expectation = (probability(sampler) * weights.squeeze(1) * values).sum()
    torch.testing.assert_close(expectation, values.mean(), rtol=1e-6, atol=0)


def test_the_shares_of_the_networks(sampler: Weighted) -> None:
    for network in range(3):
        torch.testing.assert_close(sampler.shares[network], 9 * probability(sampler)[network == NETWORK].sum())


def test_without_errors_all_alike() -> None:
    for errors in [None, torch.zeros(SAMPLES), torch.full((SAMPLES,), float("nan"))]:
        sampler = drawing(SAMPLES)
        sampler.prefer(errors)
        torch.testing.assert_close(sampler.weights, torch.ones(SAMPLES, 1))
        assert sampler.draw(3).tolist() == list(range(SAMPLES))


def test_what_is_drawn_follows_from_seed_step_and_errors(sampler: Weighted) -> None:
    other = sampler_of(9)
    state = torch.random.get_rng_state()
    drawn = [sampler.draw(step).tolist() for step in range(20)]
    assert drawn == [other.draw(step).tolist() for step in range(20)]
    assert len(set(map(tuple, drawn))) > 10
    third = sampler_of(9, seed=6)
    assert drawn != [third.draw(step).tolist() for step in range(20)]
    assert torch.equal(state, torch.random.get_rng_state())


# -- in a fit -----------------------------------------------------------------------------------------------------

UNEQUAL = Partition(torch.tensor([[0] * 9] * 4 + [[0, 0, 1, 1, 1, 1, 1, 2, 2]] * 2))


def module(
    signal: Tensor, partition: Partition = UNEQUAL, sampler: Sampler | None = None, **settings: Any
) -> FitModule:
    return FitModule(
        PiecewiseINR(partition, Siren(hidden_features=4, hidden_layers=0, first_omega_0=5.0)),
        signal,
        optimizer=Optimizer(),
        schedule=Constant(),
        stop=StopRule(max_steps=10),
        settings=FitSettings(**settings),
        sampler=sampler,
    )


@pytest.mark.parametrize("loss", ["image", "region"])
def test_loss_and_gradient_are_unbiased(signal: Tensor, loss: str) -> None:
    whole = module(signal, loss=loss)
    drawn = module(signal, loss=loss, points_per_step=20, sampler=Error())
    drawn.sampler.refresh(drawn._error_by_sample(drawn.values()))
    steps = 1500
    losses = []
    whole_loss = whole.loss(0)
    whole_loss.backward()
    for step in range(steps):
        one = drawn.loss(step)
        (one / steps).backward()
        losses.append(one.detach())
    spread = float(torch.stack(losses).std() / steps**0.5)
    assert abs(float(torch.stack(losses).mean() - whole_loss.detach())) <= 5 * spread + 1e-7
    for name, value in whole.model.stack.items():
        found = drawn.model.stack[name].grad
        assert value.grad is not None
        assert found is not None
        assert float((found - value.grad).norm() / value.grad.norm()) < 0.03


def test_points_go_where_the_error_is(signal: Tensor) -> None:
    seen = torch.zeros(2)
    one = module(signal, Grid(rows=1, cols=2)(signal), points_per_step=20, sampler=Error())
    errors = torch.zeros(54)
    errors[one.batch.network == 1] = 0.2
    one.sampler.refresh(errors)
    for step in range(50):
        seen += torch.tensor(one.batch.count(draw(one, step)))
    assert seen[1] > 5 * seen[0] > 0


def test_frozen_regions_cost_nothing(signal: Tensor) -> None:
    one = module(signal, points_per_step=20, sampler=Error())
    whole = one.macs_a_step()
    assert whole == 20 * one.model.macs_per_sample
    errors = torch.zeros(54)
    errors[one.batch.network == 1] = 0.2
    one.sampler.refresh(errors)
    one.finished[1] = True
    # What is left is the floor's.
    assert one.macs_a_step() == round(whole * FLOOR * int((UNEQUAL.labels != 1).sum()) / 54)


def test_refused_where_no_points_are_drawn(signal: Tensor) -> None:
    with pytest.raises(PartinrError, match=r"give regime\.points_per_step or sampler\.fraction, or leave") as caught:
        module(signal, sampler=Error())
    assert "\n" not in str(caught.value)


def test_it_learns(small_fit: Any, signal: Tensor) -> None:
    settings = {"points_per_step": 20, "sampling": "error"}
    first, second = (small_fit(signal, steps=60, lr=1e-2, settings=settings) for _ in range(2))
    assert first.psnr > first.curve[0]["psnr"] + 3
    assert [row["psnr"] for row in first.curve] == [row["psnr"] for row in second.curve]
