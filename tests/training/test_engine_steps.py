"""Steps of Adam that the engine takes itself are those of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from partinr.api import fit
from partinr.backbones import Siren
from partinr.engines import _numba
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Partition
from partinr.regimes import Cosine, FitSettings, Optimizer
from partinr.runs.layout import CLOCK_COLUMNS
from partinr.training.steps import EngineSteps, PlainSteps

ADAM = Optimizer(lr=3e-3, options={"betas": [0.8, 0.9], "eps": 1e-12})
DECAYED = Optimizer(name="adamw", lr=3e-3, options={"weight_decay": 0.1})


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """The kinds of steps that runs take."""
    kinds: list[type] = []
    for kind in (EngineSteps, PlainSteps):
        run: Any = kind.run

        def watched(self: Any, *given: Any, run: Callable[..., Any] = run) -> Any:
            kinds.append(type(self))
            return run(self, *given)

        monkeypatch.setattr(kind, "run", watched)
    return kinds


def _image(height: int = 20, width: int = 30) -> Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(0))


def _fitted(partition: Partition, engine: str, optimizer: Optimizer, **given: Any) -> tuple[PiecewiseINR, Any]:
    backbone = Siren(hidden_features=5, hidden_layers=2, first_omega_0=5.0, omega_0=3.0)
    model = PiecewiseINR(partition, backbone, engine=engine, frame="local")  # type: ignore[arg-type]
    settings = FitSettings(evaluate_every=7, **given)
    return model, fit(model, _image(), steps=25, optimizer=optimizer, schedule=Cosine(), settings=settings)


@pytest.mark.parametrize("engine", ["fused", "tiled"])
@pytest.mark.parametrize(
    ("optimizer", "settings"), [(ADAM, {}), (ADAM, {"coarse_until": 0.5}), (DECAYED, {"loss": "region"})]
)
def test_they_are_those_of_torch(
    taken: list[type], engine: str, optimizer: Optimizer, settings: dict[str, Any]
) -> None:
    partition = Grid(rows=4, cols=5)(_image())
    models, curves = [], []
    for each in (engine, "batched"):
        model, result = _fitted(partition, each, optimizer, **settings)
        models.append(model)
        curves.append(result.curve)
    assert set(taken) == {EngineSteps, PlainSteps}
    for name, value in models[0].stack.items():
        torch.testing.assert_close(value, models[1].stack[name], rtol=1e-3, atol=1e-4)
    for own, other in zip(*curves, strict=True):
        assert own["psnr"] == pytest.approx(other["psnr"], abs=1e-3)
        assert own["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert own["lr"] == other["lr"]


def test_results_depend_neither_on_threads_nor_on_how_they_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    # One region is large, so that the threads share its tiles.
    labels = torch.zeros(20, 30, dtype=torch.int64)
    labels[:6, :10] = torch.arange(60).reshape(6, 10) // 6 + 1
    monkeypatch.setattr(_numba, "TILE", 64)
    found, threads = [], torch.get_num_threads()
    try:
        for count, pieces in ((1, 0), (2, 0), (2, 1000)):
            torch.set_num_threads(count)
            monkeypatch.setattr(_numba, "PIECES", pieces)
            model, result = _fitted(Partition(labels), "fused", ADAM, coarse_until=0.5)
            rows = [
                {name: repr(each) for name, each in row.items() if name not in CLOCK_COLUMNS} for row in result.curve
            ]
            found.append((rows, {name: value.detach().clone() for name, value in model.stack.items()}))
    finally:
        torch.set_num_threads(threads)
    for rows, stack in found[1:]:
        assert rows == found[0][0]
        assert all(torch.equal(value, found[0][1][name]) for name, value in stack.items())


def test_plain_steps_where_the_engine_has_none(taken: list[type]) -> None:
    partition = Grid(rows=2, cols=2)(_image())
    for optimizer in (
        Optimizer(name="sgd"),
        Optimizer(options={"amsgrad": True}),
        Optimizer(options={"weight_decay": 1}),
        Optimizer(clip_norm=0.1),
    ):
        _fitted(partition, "fused", optimizer)
    _fitted(partition, "fused", ADAM, points_per_step=50)
    assert set(taken) == {PlainSteps}
