"""Values from a batch's sizes are cached up to a bound, and held while in use."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from partinr.backbones import ReluPE
from partinr.engines import cache
from partinr.engines.batched import Tiling, tiling_of
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid
from partinr.regimes import Constant, FitModule, FitSettings, Optimizer
from partinr.training.clock import StopRule


@pytest.fixture(autouse=True)
def _empty() -> Iterator[None]:
    tiling_of.cache_clear()
    yield
    tiling_of.cache_clear()


def _kept_of(numbers: list[int]) -> cache.Kept[list[int]]:
    def function(size: int) -> list[int]:
        numbers.append(size)
        return [size]

    return cache.Kept(function, lambda value: value[0])


def test_a_value_is_made_once() -> None:
    made: list[int] = []
    function = _kept_of(made)
    assert function(3) is function(3)
    assert function(4) == [4]
    assert made == [3, 4]
    function.cache_clear()
    function(3)
    assert made == [3, 4, 3]


def test_the_least_recently_used_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "KEPT_BYTES", 10)
    made: list[int] = []
    function = _kept_of(made)
    for size in (4, 5, 4, 6, 4):  # 4 and 5 fit, 6 drives out 5
        function(size)
    assert made == [4, 5, 6]
    function(5)
    assert made == [4, 5, 6, 5]
    # What is too large by itself is kept all the same, alone.
    function(100)
    function(100)
    function(4)
    assert made == [4, 5, 6, 5, 100, 4]


def test_what_is_held_is_what_was_given() -> None:
    function = _kept_of([])
    first = function(1)
    with cache.holding() as outer:
        function(1)
        with cache.holding() as inner:
            second = function(2)
    function(3)
    assert outer[0] is first
    assert outer[1] is inner[0] is second
    assert (len(outer), len(inner)) == (2, 1)


def test_drawn_batches_leave_a_bounded_number_of_indices(monkeypatch: pytest.MonkeyPatch) -> None:
    signal = torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(0))
    model = PiecewiseINR(Grid(regions=16)(signal), ReluPE(hidden_features=2, hidden_layers=0, frequencies=1))
    module = FitModule(
        model,
        signal,
        optimizer=Optimizer(),
        schedule=Constant(),
        stop=StopRule(max_steps=60),
        settings=FitSettings(points_per_step=300),
    )
    alive: list[weakref.ref[Tiling]] = []

    class Watched(Tiling):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            alive.append(weakref.ref(self))

    monkeypatch.setattr("partinr.engines.batched.Tiling", Watched)
    monkeypatch.setattr(cache, "KEPT_BYTES", 100_000)
    for step in range(60):
        module.loss(step).backward()
    gc.collect()
    assert len(alive) == 60
    left = [tiling for each in alive if (tiling := each()) is not None]
    bytes_left = sum(tiling.nbytes for tiling in left)
    assert 5 < len(left) < 50
    assert bytes_left <= 100_000
