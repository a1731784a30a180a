"""When a run stops, when it is looked at, and what its clock counts."""

from __future__ import annotations

import itertools
import math
import time
from typing import Literal

import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.regimes import StopRule
from partinr.training.clock import Clock, next_evaluation
from partinr.training.schedule import Cosine
from tests.covering import cases


def test_a_run_that_ends():
    for options in cases(
        {"max_steps": 1}, {"max_seconds": 0.5}, {"max_seconds": 30}, {"max_steps": 5, "target_psnr": 40.0}
    ):
        rule = StopRule(**options)
        assert {name: getattr(rule, name) for name in options} == options


def test_a_run_that_does_not_end_is_refused():
    for options, said in cases(
        ({}, "no certain end"),
        ({"target_psnr": 30.0}, "no certain end"),
        ({"max_steps": 0}, r"max_steps=0"),
        ({"max_steps": -5}, r"max_steps=-5"),
        ({"max_steps": 1.5}, r"max_steps=1\.5"),
        ({"max_steps": "10"}, r"max_steps='10'"),
        ({"max_seconds": 0.0}, r"max_seconds=0"),
        ({"max_seconds": -1.0}, r"max_seconds=-1"),
        ({"max_seconds": math.nan}, r"max_seconds=nan"),
        ({"max_seconds": math.inf}, r"max_seconds=inf"),
        ({"max_steps": 1, "target_psnr": math.inf}, r"target_psnr=inf"),
        ({"max_steps": 1, "target_psnr": math.nan}, r"target_psnr=nan"),
    ):
        with pytest.raises(PartinrError, match=said):
            StopRule(**options)


def _sequence(until: int, every=None, per_decade=20, also_at=()) -> list[int]:
    steps = [0]
    while steps[-1] < until:
        steps.append(next_evaluation(steps[-1], every, per_decade, also_at))
    return steps[1:]


def test_the_geometric_sequence_holds_the_round_steps():
    steps = _sequence(1_000_000)
    assert {1, 2, 5, 10, 20, 50, 100, 250, 500, 1000, 10_000, 100_000, 1_000_000} <= set(steps)
    assert all(a < b for a, b in itertools.pairwise(steps))
    for decade in (100, 1000, 10_000):
        assert sum(decade < step <= 10 * decade for step in steps) == 20


def test_the_geometric_sequence_rises_and_does_not_depend_on_where_it_is_asked():
    for per_decade in [1, 2, 3, 7, 20, 50, 100]:
        steps = _sequence(30_000, per_decade=per_decade)
        assert all(a < b for a, b in itertools.pairwise(steps))
        assert {1, 10, 100, 1000, 10_000} <= set(steps)
        factor = 10 ** (1 / per_decade)
        for a, b in itertools.pairwise(step for step in steps if step >= 100):
            assert b / a < factor * 1.1
        for step in range(0, 600, 7):
            # A run that is resumed between two evaluations comes to the same next one.
            assert next_evaluation(step, None, per_decade, ()) == next(s for s in steps if s > step)


def test_steps_that_are_too_early_are_left_out():
    usual = _sequence(3000)
    for step, not_before in [(0, 2), (0, 44), (7, 7), (100, 50), (100, 1234)]:
        after = next(each for each in usual if each > step and each >= not_before)
        assert next_evaluation(step, None, 20, (), not_before) == after
    # Only the default sequence depends on the clock.
    assert next_evaluation(3, 5, 20, (), 44) == 5
    assert next_evaluation(3, None, 20, (6,), 44) == 6


def test_an_even_sequence():
    for every in [1, 3, 100]:
        assert _sequence(5 * every, every=every) == [every * k for k in range(1, 6)]
        assert next_evaluation(every - 1, every, 20, ()) == every
        assert next_evaluation(every, every, 20, ()) == 2 * every


def test_further_steps_are_put_in():
    assert _sequence(30, every=10, also_at=(7, 23, 20)) == [7, 10, 20, 23, 30]
    assert 777 in _sequence(1000, also_at=(777,))
    assert set(_sequence(1000)) < set(_sequence(1000, also_at=(777,)))


def test_a_clock_of_cpu_seconds_counts_no_waiting():
    counted, alone = Clock("cpu"), torch.device("cpu")
    with counted.run("training", alone):
        time.sleep(0.2)
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
        assert 0.02 <= counted.elapsed() < 0.15
    assert 0.02 <= counted.spent < 0.15
    assert counted.training >= 0.2
    with pytest.raises(PartinrError, match="give clock=wall"):
        StopRule(max_seconds=1, clock="cpu").check(torch.device("cuda"))


def test_a_run_ends_by_its_cpu_seconds(small_fit):
    result = small_fit(torch.rand(12, 12, 3), steps=None, seconds=0.05, clock="cpu", schedule=Cosine())
    row = result.curve[-1]
    assert row["cpu_seconds"] >= 0.05
    assert row["lr"] < 1e-6


def test_the_clock_keeps_training_and_evaluation_apart(clock):
    counted = Clock()
    turns: list[tuple[float, Literal["training", "evaluation"]]] = [
        (1.0, "training"),
        (50.0, "evaluation"),
        (2.0, "training"),
        (7.0, "evaluation"),
    ]
    for seconds, kind in turns:
        clock.now += 1000  # what happens between counts nowhere
        with counted.run(kind, torch.device("cpu")):
            clock.now += seconds
    assert counted.training == pytest.approx(3.0, abs=0.1)
    assert counted.evaluation == pytest.approx(57.0, abs=0.1)
