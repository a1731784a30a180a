"""Live partitions: new regions begin as their parents, and everything else goes on."""

from __future__ import annotations

from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

import partinr
from partinr.backbones import ReluPE, Siren
from partinr.base.errors import PartinrError
from partinr.model.album import Album
from partinr.model.inherit import begin_fine
from partinr.partition import Grid, Partition
from partinr.regimes import Cosine, FitModule, FitResult, FitSettings, Optimizer, PerNetwork, StopRule
from partinr.runs.layout import CLOCK_COLUMNS
from partinr.signals.observations import Noise
from partinr.training.checkpoint import read_partitions
from partinr.training.trainer import make_trainer, run_fit
from tests.live_rules import Halving

SIREN = Siren(hidden_features=6, hidden_layers=1, first_omega_0=8.0)


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(12, 12, 3, generator=torch.Generator().manual_seed(0))


def _module(image: Tensor, partition: Partition | None = None, **options: Any) -> FitModule:
    partition = Grid(regions=2)(image) if partition is None else partition
    settings = {"evaluate_every": 4, "collapse_db": None, **options.pop("settings", {})}
    return FitModule(
        options.pop("model", None) or partinr.PiecewiseINR(partition, SIREN, frame="local"),
        options.pop("signals", image),
        optimizer=options.pop("optimizer", Optimizer(lr=1e-2)),
        schedule=Cosine(),
        stop=StopRule(max_steps=options.pop("steps", 20)),
        settings=FitSettings(**settings),
        lives=options.pop("lives", [Halving(5)]),
        **options,
    )


def _fit(module: FitModule, *callbacks: L.Callback, **options: Any) -> FitResult:
    return run_fit(module, make_trainer(accelerator="cpu", callbacks=callbacks, **options.pop("flags", {})), **options)


def _state(module: FitModule) -> list[Tensor]:
    """The tensors of the optimiser's state."""
    states = module.own_optimizer().state.values()
    return [value for state in states for value in state.values() if isinstance(value, Tensor)]


class AtChange(L.Callback):
    """Compares the module before and after its partition changes."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        module: Any = pl_module
        follow = module._follow

        def watched(changes: Any) -> None:
            (change,) = changes
            module.gather()
            before, step = module.model.render(), module.schedule
            kept = [value.clone() for value in _state(module)]
            follow(changes)
            torch.testing.assert_close(module.model.render(), before, atol=1e-5, rtol=0)
            assert module.schedule is step
            params = module.own_optimizer().param_groups[0]["params"]
            assert all(one is other for one, other in zip(params, module.model.stack.values(), strict=True))
            found = _state(module)
            assert len(found) == len(kept) > 0
            for old, new in zip(kept, found, strict=True):
                torch.testing.assert_close(new, old if old.ndim == 0 else old[change.parents], atol=0, rtol=0)

        module._follow = watched


@pytest.mark.parametrize(
    "optimizer",
    [Optimizer(lr=1e-2), Optimizer(name="sgd", lr=1e-2, options={"momentum": 0.9}), PerNetwork(lr=3e-3)],
    ids=lambda each: each.name,
)
def test_children_begin_with_values_and_optimiser_of_their_parents(image, optimizer):
    module = _module(image, optimizer=optimizer, settings={"points_per_step": 100, "sampling": "error"})
    result = _fit(module, AtChange())
    assert module.changes == [[0, 2], [4, 3], [8, 4], [12, 5]]
    assert result.model.regions == 5
    assert module.facts()["regions"] == 5
    assert module.facts()["partition"]["smallest"] == int(result.model.partitions[0].sizes.min())
    assert result.curve[-1]["psnr"] > result.curve[0]["psnr"]
    assert result.curve[-1]["lr"] < 1e-4, "the schedule goes on"


@pytest.mark.parametrize("settings", [{}, {"points_per_step": 30, "sampling": "error"}, {"coarse_until": 0.5}])
def test_a_resumed_run_is_the_unbroken_one(image, settings, tmp_path, monkeypatch):
    monkeypatch.setattr("partinr.training.loop.CHUNK_SECONDS", 0.0)

    class Save(L.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
            if module.step in (8, 10):
                trainer.save_checkpoint(tmp_path / f"{module.step}.ckpt")

    unbroken = _fit(_module(image, settings=settings), Save())
    for step in (8, 10):
        path = tmp_path / f"{step}.ckpt"
        module = _module(image, read_partitions(path)[""], settings=settings)
        assert module.model.regions == 4
        resumed = _fit(module, ckpt_path=path)
        rows = [[{**row, **dict.fromkeys(CLOCK_COLUMNS)} for row in each.curve] for each in (unbroken, resumed)]
        assert str(rows[0]) == str(rows[1])
        assert module.changes == [[0, 2], [4, 3], [8, 4], [12, 5]]
        for name, value in unbroken.model.stack.items():
            assert torch.equal(value, resumed.model.stack[name])


def test_fresh_networks_of_large_regions_vary_as_fast_as_those_of_small_ones(image):
    for frame in ("local", "global"):
        large = partinr.PiecewiseINR(Grid(regions=1)(image), SIREN, frame=frame)
        before = {name: value.clone() for name, value in large.stack.items()}
        begin_fine(large, 9)
        factor = {"weight_0": 3.0 if frame == "local" else 1.0}
        for name, value in large.stack.items():
            torch.testing.assert_close(value, before[name] * factor.get(name, 1.0))


def test_finished_regions_stay_finished_and_are_left_alone(image):
    flat = image.clone()
    flat[:, :6] = 0.5
    partition = Grid(rows=1, cols=2)(flat)
    module = _module(flat, partition, steps=60, settings={"freeze_at_psnr": 30.0, "begin_at_mean": True})
    _fit(module)
    assert module.model.regions == 5
    assert bool(module.finished[0])
    assert not bool(module.finished[1:].all())


def test_an_album_in_double_precision(image):
    members = {name: partinr.PiecewiseINR(Grid(regions=2)(image), SIREN) for name in "ab"}
    lives = [Halving(4), None]
    module = _module(image, model=Album(members), signals=[image, image.flip(0)], lives=lives)
    result = _fit(module, flags={"precision": "64-true"})
    assert [each.regions for each in result.model.partitions] == [4, 2]
    assert {value.dtype for value in result.model.stack.values()} == {torch.float64}


def test_what_cannot_go_on_with_other_labels_is_refused(image):
    grid = Grid(regions=2)(image)
    for options, cure in (
        ({"model": partinr.PiecewiseINR(grid, SIREN, widths=[4, 6])}, "capacity=equal"),
        ({"model": partinr.PiecewiseINR(grid, SIREN, global_network=True)}, "global_network=false"),
        ({"model": partinr.PiecewiseINR(grid, ReluPE(hidden_features=4), frame="local")}, "coords.frame=global"),
        ({"observe": Noise()}, "observe=identity"),
    ):
        with pytest.raises(PartinrError, match=cure):
            _module(image, **options)
