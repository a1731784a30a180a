"""Learning rates, step by step, against formulas."""

from __future__ import annotations

import math

import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.regimes import Constant, Cosine, Plateau, Schedule, WarmUp
from partinr.training.clock import StopRule
from tests.covering import cases, covering

LR = 0.5


def _no_clock() -> float:
    raise AssertionError("a run of so many steps must not depend on the clock")


def _rates(schedule: Schedule, steps: int) -> list[float]:
    """The rate at each step of a run of this length."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = schedule.build(optimizer, StopRule(max_steps=steps), _no_clock)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_constant():
    assert _rates(Constant(), 7) == [LR] * 7


@pytest.mark.parametrize("schedule", [Constant(warmup_steps=4), WarmUp(warmup_steps=4)])
def test_warm_up_rises_linearly_and_stays(schedule):
    assert _rates(schedule, 8) == pytest.approx([LR * k / 5 for k in (1, 2, 3, 4, 5, 5, 5, 5)])


def test_warm_up_is_a_hundred_steps_unless_told():
    assert WarmUp().warmup_steps == 100
    assert Constant().warmup_steps == Cosine().warmup_steps == 0


@covering(final=[0.0, 0.1, 1.0], warmup=[0, 5])
def test_cosine(final, warmup):
    steps = 20
    expected = []
    for step in range(steps):
        progress = max(0, step - warmup) / (steps - warmup)
        rise = min(1, (step + 1) / (warmup + 1))
        expected.append(LR * rise * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))))
    rates = _rates(Cosine(final=final, warmup_steps=warmup), steps)
    assert rates == pytest.approx(expected)
    assert max(rates) == pytest.approx(LR)


def test_a_longer_run_has_a_lower_rate():
    short, long = (_rates(Cosine(full_rate_steps=5), steps) for steps in (5, 20))
    assert (max(short), max(long)) == pytest.approx((LR, LR / 2))
    clock = [0.0]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = Cosine(final=1.0, full_rate_steps=5).build(optimizer, StopRule(max_seconds=8), lambda: clock[0])
    assert optimizer.param_groups[0]["lr"] == LR  # nothing is known of the pace yet
    for step in range(1, 4):
        clock[0] = 0.4 * step  # a pace of 20 steps in 8 seconds
        optimizer.step()
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(LR / 2)


def test_cosine_is_at_its_end_where_the_run_ends_and_stays_there():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = Cosine(final=0.25).build(optimizer, StopRule(max_steps=10), _no_clock)
    for _ in range(10):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(LR / 4)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(LR / 4)


def test_cosine_over_seconds_where_the_run_ends_by_the_clock():
    clock = [0.0]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = Cosine(warmup_steps=1, final=0.2).build(optimizer, StopRule(max_seconds=8), lambda: clock[-1])
    rates = []
    for seconds in (0.0, 2.0, 4.0, 8.0, 9.0):
        clock.append(seconds)
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"] / LR)
    assert rates == pytest.approx([0.2 + 0.4 * (1 + math.cos(math.pi * s / 8)) for s in (0, 2, 4, 8, 8)])


def test_plateau():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    schedule = Plateau(factor=0.5, patience=1, min_lr=0.1, threshold=0.5)
    scheduler = schedule.build(optimizer, StopRule(max_seconds=1), _no_clock)
    assert isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
    rates = []
    # A rise of half a decibel or less is none; two evaluations without one halve the rate, down to the least.
    for psnr in [10.0, 11.0, 11.4, 11.5, 14.0, 14.0, 13.0, 1.0, 1.0, 1.0, 1.0]:
        scheduler.step(psnr)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.1, 0.1, 0.1])


def test_a_run_that_a_schedule_does_not_fit_is_refused():
    for schedule, max_steps, said in [
        (Cosine(warmup_steps=10), 10, "leaves nothing of max_steps=10"),
        (WarmUp(), 50, "leaves nothing of max_steps=50"),
        (Constant(warmup_steps=1), 1, "leaves nothing"),
        (Plateau(warmup_steps=3), 100, "has no warm-up"),
    ]:
        with pytest.raises(PartinrError, match=said):
            schedule.check(StopRule(max_steps=max_steps, max_seconds=1))


def test_a_run_that_a_schedule_fits():
    for schedule, max_steps in [
        (Constant(), None),
        (Constant(warmup_steps=9), 10),
        (WarmUp(), None),
        (Cosine(), None),
        (Cosine(), 1),
        (Plateau(), None),
    ]:
        schedule.check(StopRule(max_steps=max_steps, max_seconds=1))


def test_options_out_of_range_are_refused():
    for kind, options in cases(
        (Constant, {"warmup_steps": -1}),
        (Constant, {"warmup_steps": 1.5}),
        (Cosine, {"final": -0.1}),
        (Cosine, {"final": 1.1}),
        (Cosine, {"final": math.nan}),
        (Plateau, {"factor": 0.0}),
        (Plateau, {"factor": 1.0}),
        (Plateau, {"patience": -1}),
        (Plateau, {"min_lr": -1e-6}),
        (Plateau, {"threshold": -1.0}),
        (Constant, {"final": 0.0}),
    ):
        with pytest.raises(PartinrError, match=f"{kind.__name__}.{next(iter(options))}"):
            kind(**options)
