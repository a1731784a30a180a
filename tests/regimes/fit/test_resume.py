"""A run that is continued from a checkpoint is the run that was never broken."""

from __future__ import annotations

import math
from pathlib import Path

import lightning as L
import pytest
import torch

from partinr.backbones import ReluPE, Siren
from partinr.base.errors import PartinrError
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid
from partinr.regimes import Cosine, Optimizer, PerNetwork, Plateau, WarmUp
from partinr.runs.layout import CLOCK_COLUMNS
from tests.covering import covering


class SaveAt(L.Callback):
    """Saves a checkpoint after a number of steps, and may then abort the run."""

    def __init__(self, step: int, path: Path, stop: bool = False) -> None:
        self.step, self.path, self.stop = step, path, stop
        self.saved_at: int | None = None

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.saved_at is None and pl_module.step >= self.step:
            self.saved_at = pl_module.step
            trainer.save_checkpoint(self.path)
            trainer.should_stop = trainer.should_stop or self.stop


@pytest.fixture
def step_by_step(monkeypatch):
    """A turn of Lightning's loop for every step, so that a checkpoint falls exactly where a test wants it."""
    monkeypatch.setattr("partinr.training.loop.CHUNK_SECONDS", 0.0)


def _rows(curve):
    return [{name: repr(value) for name, value in row.items() if name not in CLOCK_COLUMNS} for row in curve]


SETUPS = {
    "plain": {},
    "cosine after a warm-up": {"schedule": Cosine(warmup_steps=6, final=0.1)},
    # Nothing is enough of a rise: every second evaluation the rate falls, and one is counted when the run breaks off.
    "plateau": {"schedule": Plateau(patience=1, threshold=50.0, factor=0.7)},
    "points, bf16": {"settings": {"points_per_step": 10}, "precision": "bf16-mixed"},
    "points by error": {"settings": {"points_per_step": 10, "sampling": "error", "evaluate_every": 4}},
    "muon": {"optimizer": PerNetwork(name="muon", lr=1e-2, adamw_lr=1e-2), "schedule": Cosine()},
    "soap": {"optimizer": PerNetwork(lr=1e-2, options={"precondition_frequency": 4})},
    "begins at the mean, double": {"settings": {"begin_at_mean": True}, "precision": "64-true"},
    "points by region, momentum": {
        "settings": {"points_per_step": 13, "loss": "region", "evaluate_every": 4},
        "optimizer": Optimizer(name="sgd", lr=0.02, options={"momentum": 0.9}),
    },
}


@covering(setup=SETUPS, at=[7, 10])
def test_resumed_equals_unbroken(small_fit, signal, tmp_path, step_by_step, setup, at):
    options = {"steps": 25, "lr": 1e-2, "settings": {"evaluate_every": 5}, **setup}
    saver = SaveAt(at, tmp_path / "last.ckpt")
    unbroken = small_fit(signal, callbacks=(saver,), **options)
    assert saver.saved_at == at
    resumed = small_fit(signal, ckpt_path=tmp_path / "last.ckpt", **options)
    assert _rows(resumed.curve) == _rows(unbroken.curve)
    assert (resumed.steps, resumed.stop, resumed.psnr_best) == (25, "max_steps", unbroken.psnr_best)
    for name, value in unbroken.model.stack.items():
        assert torch.equal(value, resumed.model.stack[name])
    if "schedule" in setup:
        assert len({row["lr"] for row in unbroken.curve}) > 2


def test_broken_off_and_resumed_twice(small_fit, signal, tmp_path, step_by_step):
    unbroken = small_fit(signal, steps=30, lr=1e-2)
    first, second = tmp_path / "first.ckpt", tmp_path / "second.ckpt"
    broken = small_fit(signal, steps=30, lr=1e-2, callbacks=(SaveAt(8, first, stop=True),))
    assert (broken.steps, broken.stop, broken.failure) == (8, "callback", None)
    broken = small_fit(signal, steps=30, lr=1e-2, callbacks=(SaveAt(19, second, stop=True),), ckpt_path=first)
    assert broken.steps == 19
    assert _rows(small_fit(signal, steps=30, lr=1e-2, ckpt_path=second).curve) == _rows(unbroken.curve)


def test_the_clocks_go_on_where_they_were(small_fit, signal, tmp_path, step_by_step, clock):
    path = tmp_path / "last.ckpt"
    unbroken = small_fit(signal, steps=20, callbacks=(SaveAt(12, path),))
    resumed = small_fit(signal, steps=20, ckpt_path=path)
    assert [row["seconds"] for row in resumed.curve] == pytest.approx([row["seconds"] for row in unbroken.curve])
    assert resumed.seconds == pytest.approx(0.20)


def test_a_time_limit_counts_what_was_there_before(small_fit, signal, tmp_path, step_by_step, clock):
    path = tmp_path / "last.ckpt"
    small_fit(signal, steps=None, seconds=1.0, callbacks=(SaveAt(12, path, stop=True),))
    resumed = small_fit(signal, steps=None, seconds=0.205, ckpt_path=path)
    assert (resumed.stop, resumed.steps) == ("max_seconds", 21)


class SaveAtTheEnd(L.Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_end(self, trainer, pl_module):
        trainer.save_checkpoint(self.path)


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 9},
        {"steps": None, "seconds": 0.095},
        {"steps": 100, "target_psnr": 5.0},
        {"steps": 100, "target_psnr": -100.0},
    ],
    ids=str,
)
def test_a_run_that_is_over_is_over(small_fit, signal, tmp_path, clock, options):
    path = tmp_path / "last.ckpt"
    done = small_fit(signal, lr=1e-2, callbacks=(SaveAtTheEnd(path),), **options)
    again = small_fit(signal, lr=1e-2, ckpt_path=path, **options)
    assert _rows(again.curve) == _rows(done.curve)
    assert (again.steps, again.stop, again.seconds) == (done.steps, done.stop, done.seconds)


def test_a_run_that_is_over_can_be_made_longer(small_fit, signal, tmp_path, step_by_step):
    path = tmp_path / "last.ckpt"
    settings = {"evaluate_every": 5}
    small_fit(signal, steps=10, lr=1e-2, callbacks=(SaveAt(10, path),), settings=settings)
    longer = small_fit(signal, steps=25, lr=1e-2, ckpt_path=path, settings=settings)
    assert _rows(longer.curve) == _rows(small_fit(signal, steps=25, lr=1e-2, settings=settings).curve)


def test_a_collapse_that_began_before_the_break_is_remembered(small_fit, signal, tmp_path, step_by_step, monkeypatch):
    told = iter([30.0, 35.0, 3.0, 3.0, 3.0, 3.0])
    monkeypatch.setattr("partinr.regimes.fit.evaluated.psnr", lambda *_: next(told))
    path = tmp_path / "last.ckpt"
    settings = {"evaluate_every": 1}
    small_fit(signal, steps=50, callbacks=(SaveAt(3, path, stop=True),), settings=settings)
    best = torch.load(path, weights_only=True)["partinr"]["best_weights"]
    resumed = small_fit(signal, steps=50, ckpt_path=path, settings=settings)
    assert resumed.failure is not None
    assert resumed.steps == 4
    for name, value in best.items():
        assert torch.equal(resumed.model.stack[name], value)


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints that do not fit


@pytest.fixture(scope="module")
def checkpoint(small_fit, signal, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "last.ckpt"
    small_fit(signal, steps=10, callbacks=(SaveAt(3, path),), settings={"points_per_step": 10})
    return path


OTHER = {
    "backbone": ({"backbone": ReluPE(hidden_features=6, hidden_layers=1)}, "its backbone is"),
    "width": (
        {"backbone": Siren(hidden_features=7, hidden_layers=1, first_omega_0=8.0)},
        r"options\.hidden_features is 6, here it is 7",
    ),
    "frequency": (
        {"backbone": Siren(hidden_features=6, hidden_layers=1, first_omega_0=9.0)},
        r"options\.first_omega_0 is 8\.0, here it is 9\.0",
    ),
    "regions": ({"partition": Grid(regions=6)(torch.zeros(6, 9, 3))}, "its regions is 4, here it is 6"),
    "labels": ({"partition": Grid(rows=4, cols=1)(torch.zeros(6, 9, 3))}, "its labels are not those here"),
    "optimizer": ({"optimizer": "sgd"}, r"its optimizer\.name is adam, here it is sgd"),
    "learning rate": ({"lr": 0.5}, r"its optimizer\.lr is 0\.0001, here it is 0\.5"),
    "optimizer's options": (
        {"optimizer": Optimizer(lr=1e-4, options={"betas": [0.5, 0.9]})},
        r"its optimizer\.options\.betas is",
    ),
    "schedule": ({"schedule": WarmUp(warmup_steps=2)}, r"its schedule\.name is Constant, here it is WarmUp"),
    "loss": ({"settings": {"points_per_step": 10, "loss": "region"}}, "its regime.loss is image, here it is region"),
    "border": (
        {"settings": {"points_per_step": 10, "border_weight": 2.0}},
        r"its regime.border_weight is 1.0, here it is 2.0",
    ),
    "points": ({"settings": {"points_per_step": 9}}, "its regime.points_per_step is 10, here it is 9"),
    "drawing": (
        {"settings": {"points_per_step": 10, "sampling": "error"}},
        "its regime.sampling is uniform, here it is error",
    ),
    "beginning": ({"settings": {"points_per_step": 10, "begin_at_mean": True}}, "its regime.begin_at_mean is"),
    "seed": ({"seed": 1}, "its seed is 0, here it is 1"),
}


@pytest.mark.parametrize(("options", "said"), OTHER.values(), ids=OTHER)
def test_a_checkpoint_of_another_run_is_refused_before_training(small_fit, signal, checkpoint, options, said):
    options = {"steps": 10, "settings": {"points_per_step": 10}, **options}
    backbone = options.pop("backbone", Siren(hidden_features=6, hidden_layers=1, first_omega_0=8.0))
    model = PiecewiseINR(options.pop("partition", Grid(regions=4)(signal)), backbone)
    start = {name: value.detach().clone() for name, value in model.stack.items()}
    seen = []

    class Watch(L.Callback):
        def setup(self, trainer, pl_module, stage):
            seen.append(stage)

    with pytest.raises(PartinrError, match=said) as caught:
        small_fit(signal, model=model, ckpt_path=checkpoint, callbacks=(Watch(),), **options)
    assert "\n" not in str(caught.value)
    assert seen == []
    assert all(torch.equal(value, start[name]) for name, value in model.stack.items())


def test_a_checkpoint_of_another_signal_is_refused(small_fit, signal, checkpoint):
    with pytest.raises(PartinrError, match="it was fitted to another signal; give the signal of that run"):
        small_fit(signal.flip(0), steps=10, ckpt_path=checkpoint, settings={"points_per_step": 10})


def test_a_checkpoint_beyond_the_end_is_refused(small_fit, signal, tmp_path):
    path = tmp_path / "last.ckpt"
    small_fit(signal, steps=10, callbacks=(SaveAt(10, path),))
    with pytest.raises(PartinrError, match="has 10 steps behind it, max_steps is 9; give a larger one"):
        small_fit(signal, steps=9, ckpt_path=path)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_checkpoint_cut_short_is_refused(small_fit, signal, checkpoint, tmp_path, keep):
    data = checkpoint.read_bytes()
    short = tmp_path / "last.ckpt"
    short.write_bytes(data[: keep if keep > 1 else int(keep * len(data))])
    with pytest.raises(PartinrError, match="is no partinr checkpoint, or it is damaged") as caught:
        small_fit(signal, steps=10, ckpt_path=short, settings={"points_per_step": 10})
    assert "\n" not in str(caught.value)


def test_somebody_elses_checkpoint_is_refused(small_fit, signal, tmp_path):
    for content in [{"state_dict": {}}, {"partinr": {}}, {"partinr": None}, [1, 2], torch.zeros(3)]:
        torch.save(content, tmp_path / "other.ckpt")
        with pytest.raises(PartinrError, match="is no partinr checkpoint"):
            small_fit(signal, steps=10, ckpt_path=tmp_path / "other.ckpt")


def test_a_checkpoint_that_would_run_code_is_refused(small_fit, signal, tmp_path):
    torch.save({"partinr": {"fingerprint": Path("x")}}, tmp_path / "other.ckpt")
    with pytest.raises(PartinrError, match="is no partinr checkpoint"):
        small_fit(signal, steps=10, ckpt_path=tmp_path / "other.ckpt")


def test_a_missing_checkpoint_is_refused(small_fit, signal, tmp_path):
    for path in (tmp_path / "none.ckpt", tmp_path, str(tmp_path / "none.ckpt")):
        with pytest.raises(PartinrError, match=r"give the checkpoints/last\.ckpt of a run directory"):
            small_fit(signal, steps=10, ckpt_path=path)


def test_a_checkpoint_holds_plain_values_only(checkpoint):
    state = torch.load(checkpoint, weights_only=True)["partinr"]
    assert state["step"] >= 3
    assert math.isfinite(state["best_psnr"])
    assert state["curve"][0]["step"] == 0
