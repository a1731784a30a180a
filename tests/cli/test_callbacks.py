"""Callbacks of Lightning and of users, and flags of its Trainer, in runs as a user has them."""

from __future__ import annotations

import csv
import inspect
import json
import re
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from partinr.experiment.flags import REFUSED
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CHECKPOINT
from tests.read_back import manifest

LIGHTNING = "lightning.pytorch.callbacks"
MINE = '''
"""What a user may write."""
import json
import os
import signal
from pathlib import Path

import lightning as L
import torch


class Seen(L.Callback):
    """Keeps what Lightning knows after each evaluation, and logs something of its own."""

    def on_train_start(self, trainer, module):
        self.found = []

    def on_train_batch_end(self, trainer, module, *_):
        known = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if "step" in known and known["step"] == module.step:
            self.found.append({"deterministic": torch.are_deterministic_algorithms_enabled(), **known})

    def on_train_epoch_end(self, trainer, module):
        self.log("twice", 2 * trainer.callback_metrics["psnr"])

    def on_fit_end(self, trainer, module):
        Path("seen.json").write_text(json.dumps(self.found))


class Ends(L.Callback):
    """Ends a run between two evaluations."""

    def on_train_batch_end(self, trainer, module, *_):
        trainer.should_stop = module.step == 1


class Breaks(L.Callback):
    """Raises an error in the middle."""

    def on_train_batch_end(self, trainer, module, *_):
        if module.step == 2:
            raise RuntimeError("no disk\\nfor pictures.")


class Signals(L.Callback):
    """Asks this process to stop."""

    def on_train_batch_end(self, trainer, module, *_):
        if module.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
'''

STEPS = "regime=threshold data=steps data.shape=[16] data.counts=[1,2] data.draws=1 partition=none max_steps=3"
SMOOTH = "regime=meta data=smooth data.shape=[8,8] data.train_items=4 data.val_items=1 partition.regions=4 max_steps=2"
SMALL = "backbone.hidden_features=4 backbone.hidden_layers=1 engine=batched callbacks.pictures=null"
REGIMES = {
    "fit": "data.size=16 partition.regions=4 max_steps=5",
    "meta": f"{SMOOTH} regime.validation_steps=3",
    "threshold": f"{STEPS} regime.points_per_step=8",
}


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's own."""
    Path("mine_for_a_test.py").write_text(MINE)
    monkeypatch.syspath_prepend(Path.cwd())


def given(kind: str, **options: Any) -> list[str]:
    """Words that add a callback with the name ``mine``."""
    target = kind if "." in kind else f"{LIGHTNING}.{kind}"
    return [f"+callbacks.mine._target_={target}", *(f"+callbacks.mine.{key}={each}" for key, each in options.items())]


STOPPING = given("EarlyStopping", monitor="psnr", mode="max", min_delta=1000, patience=3)


def test_early_stopping_ends_a_run_and_says_why(tiny: Any) -> None:
    answer = tiny("max_steps=50", "regime.evaluate_every=2", *STOPPING, "hydra.run.dir=run")
    assert (answer.code, answer.err) == (0, ""), answer.err
    said = manifest("run")
    # The first of four evaluations is the best.
    assert (said["status"], said["stop"], said["steps"]) == ("completed", "callback", 6)
    reason = r"EarlyStopping: Monitored metric psnr did not improve in the last 3 records\. Best score: [\d.]+\."
    assert re.fullmatch(reason, said["message"])
    assert [row["step"] for row in RunDirectory(Path("run")).curve()] == [0, 2, 4, 6]
    # It can be made longer, without the callback.
    longer = (f"ckpt_path=run/{CHECKPOINT}", "max_steps=9", "regime.evaluate_every=2", "hydra.run.dir=longer")
    answer = tiny(*longer)
    assert (answer.code, answer.err) == (0, ""), answer.err
    assert (manifest("longer")["stop"], manifest("longer")["message"]) == ("max_steps", None)


def test_a_resumed_run_stops_where_the_unbroken_one_does(tiny: Any, partinr: Any, mine: None) -> None:
    signals = "+callbacks.signals._target_=mine_for_a_test.Signals"
    answer = tiny("max_steps=50", "regime.evaluate_every=2", *STOPPING, signals, "hydra.run.dir=run")
    assert (answer.code, manifest("run")["status"], manifest("run")["steps"]) == (143, "interrupted", 4)
    assert partinr("resume", "run").code == 0
    assert (manifest("run")["stop"], manifest("run")["steps"]) == ("callback", 6)


def test_a_callback_that_ends_a_run_between_evaluations(tiny: Any, mine: None) -> None:
    answer = tiny("max_steps=50", "regime.evaluate_every=20", *given("mine_for_a_test.Ends"), "hydra.run.dir=run")
    assert (answer.code, answer.err) == (0, ""), answer.err
    said, curve = manifest("run"), RunDirectory(Path("run")).curve()
    assert (said["status"], said["stop"], said["message"]) == ("completed", "callback", "ended by Ends")
    # The last row is that of the weights which the run keeps.
    assert [row["step"] for row in curve] == [0, 1]
    assert said["metrics"]["psnr"] == curve[-1]["psnr"]


def test_a_callback_that_fails_in_the_middle(tiny: Any, partinr: Any, mine: None) -> None:
    words = (*given("mine_for_a_test.Breaks"), "regime.evaluate_every=1", "max_steps=3")
    answer = tiny(*words, "hydra.run.dir=run")
    said = "callbacks.mine (Breaks) raised RuntimeError: no disk for pictures; debug=trace shows where"
    assert (answer.code, answer.err) == (1, "")
    assert f"failed: astronaut grid siren: {said}\n" in answer.out
    assert (manifest("run")["status"], manifest("run")["message"]) == ("failed", said)
    assert [row["step"] for row in RunDirectory(Path("run")).curve()] == [0, 1, 2]
    answer = tiny(*words, "hydra.run.dir=traced", "debug=trace")
    assert answer.code == 1
    assert 'raise RuntimeError("no disk' in answer.err
    # The other runs of a sweep go on.
    answer = tiny("-m", *words[:-1], "max_steps=1,3", "hydra.sweep.dir=sweep")
    assert answer.code == 1
    assert "2 runs: 1 completed, 1 failed" in answer.out


def test_the_best_checkpoints_are_kept_and_continue(tiny: Any) -> None:
    best = given(
        "ModelCheckpoint", monitor="psnr", mode="max", save_top_k=2, filename="{step}-{psnr:.6f}", save_last="true"
    )
    words = ("max_steps=6", "regime.evaluate_every=1", "optimizer.lr=1e-3")
    answer = tiny(*words, *best, "hydra.run.dir=run")
    assert (answer.code, answer.err) == (0, ""), answer.err
    curve = RunDirectory(Path("run")).curve()[1:]
    top = sorted(curve, key=lambda row: row["psnr"])[-2:]
    kept = {path.name: path for path in Path("run/checkpoints/mine").glob("step*.ckpt")}
    assert set(kept) == {f"step={row['step']}-psnr={row['psnr']:.6f}.ckpt" for row in top}
    # Next to partinr's own, which it does not touch.
    assert sorted(path.name for path in Path("run/checkpoints").iterdir()) == ["last.ckpt", "mine"]
    answer = tiny(*words, "max_steps=8", f"ckpt_path={next(iter(kept.values()))}", "hydra.run.dir=longer")
    assert (answer.code, answer.err) == (0, ""), answer.err
    assert manifest("longer")["steps"] == 8


def test_the_learning_rate_monitor_has_a_place_to_log(tiny: Any) -> None:
    monitor = given("LearningRateMonitor")
    answer = tiny("max_steps=4", "regime.evaluate_every=1", "schedule=cosine", *monitor, "hydra.run.dir=run")
    assert (answer.code, answer.err) == (0, ""), answer.err
    run = RunDirectory(Path("run"))
    rates = {row["step"]: row["lr-Adam"] for row in run.logged()}
    assert rates == {row["step"]: row["lr"] for row in run.curve()[:-1]}


def test_lightnings_progress_bar_takes_the_place_of_partinrs(tiny: Any) -> None:
    answer = tiny("max_steps=4", "regime.evaluate_every=1", *given("RichProgressBar"), "hydra.run.dir=run")
    assert (answer.code, answer.err) == (0, ""), answer.err
    assert "psnr" in answer.out
    assert manifest("run")["status"] == "completed"


@pytest.mark.parametrize("regime", REGIMES)
def test_callbacks_of_ones_own_see_the_metrics_of_every_regime(partinr: Any, mine: None, regime: str) -> None:
    words = f"{REGIMES[regime]} {SMALL} trainer.accelerator=cpu trainer.deterministic=true hydra.run.dir=run".split()
    answer = partinr(*words, *given("mine_for_a_test.Seen"))
    assert (answer.code, answer.err) == (0, ""), answer.err
    seen = json.loads(Path("seen.json").read_text())
    with Path("run/curve.csv").open(newline="") as lines:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(lines)]
    assert len(rows) > 2
    assert {"psnr", "ssim", "loss", "lr", "seconds", "cpu_seconds", "macs", "step"} <= rows[0].keys()
    for row, known in zip(rows, seen, strict=True):
        assert {name: repr(known[name]) for name in row} == {name: repr(value) for name, value in row.items()}
        assert known["deterministic"]
    # Once an evaluation, and again at the end of the run.
    assert RunDirectory(Path("run")).logged() == [{"step": row["step"], "twice": 2 * row["psnr"]} for row in rows]
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("kind", ["EarlyStopping", "ModelCheckpoint"])
def test_a_metric_that_nobody_logs_is_refused_with_those_there_are(tiny: Any, kind: str) -> None:
    words = (*given(kind, monitor="val_psnr", mode="max"), "hydra.run.dir=run")
    answer = tiny(*words)
    assert (answer.code, answer.err.count("\n")) == (2, 1), answer.err
    found = re.search(
        rf"callbacks.mine \({kind}\) cannot be used here: it monitors 'val_psnr', and this run logs step, "
        r".*, psnr, .*; give (callbacks\.mine\.monitor=psnr)$",
        answer.err.strip(),
    )
    assert found is not None, answer.err
    assert not list(Path("run").glob("*"))
    assert tiny(*(f"+{found[1]}" if "monitor" in word else word for word in words)).code == 0


def test_a_profile_of_the_run(tiny: Any) -> None:
    answer = tiny("trainer.profiler=simple", "trainer.log_every_n_steps=1", "hydra.run.dir=run")
    assert (answer.code, answer.err) == (0, ""), answer.err
    assert "run_training_batch" in Path("run/fit-profile.txt").read_text()


def test_flags_that_cannot_work_are_refused_with_advice_that_does(tiny: Any) -> None:
    for typed in ("trainer.gradient_clip_val=1", "+trainer.gradient_clip_val=1"):
        answer = tiny(typed)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err == f"partinr: error: trainer.gradient_clip_val: {REFUSED['gradient_clip_val']}\n"
    assert REFUSED.keys() <= inspect.signature(L.Trainer).parameters.keys()
    cures = [re.search(r"; (?:leave it out|give (\S+=[^\s,]+)(?: and (\S+))?)", said) for said in REFUSED.values()]
    assert None not in cures
    followed = {word for cure in cures if cure is not None for word in cure.groups() if word is not None}
    assert len(followed) > 5
    assert tiny("--cfg", "job", *sorted(followed)).code == 0
