"""Learning to learn by several processes: each has a part of every meta-batch, and together they learn the same."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from partinr.regimes.meta import LearnedStart
from partinr.runs.layout import CHECKPOINT, CLOCK_COLUMNS, START
from tests.commands import call
from tests.covering import covering
from tests.read_back import manifest, rows

pytestmark = pytest.mark.slow

WORDS = (
    "regime=meta",
    "data=smooth",
    "data.shape=[12,12]",
    "data.train_items=6",
    "data.val_items=5",
    "partition.regions=4",
    "backbone.hidden_features=8",
    "backbone.hidden_layers=1",
    "engine=batched",
    "trainer.accelerator=cpu",
    "optimizer.lr=1e-3",
    "regime.inner_lr=1e-3",
    "regime.validation_steps=4",
    "regime.evaluate_every=3",
    "max_steps=12",
)

TOLERANCE = 1e-3
"""Relative. The sum over tasks is taken in another order, in single precision; Adam makes of it a step of its own size
where a gradient is nearly 0."""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")


def learn(run: str, devices: int, *words: str) -> Path:
    several = ("trainer=ddp", f"trainer.devices={devices}") if devices > 1 else ()
    accelerator = "trainer.accelerator=cpu"
    code, out, err = call(*WORDS, *several, accelerator, *words, "cache_dir=null", f"hydra.run.dir={run}")
    assert (code, err) == (0, ""), out
    return Path(run)


def same(run: Path, alone: Path) -> None:
    """Curves, images, weights and facts, within :data:`TOLERANCE`."""
    for file in ("curve.csv", "images.csv"):
        ours, theirs = rows(run, file), rows(alone, file)
        assert len(ours) == len(theirs) > 0
        for one, two in zip(ours, theirs, strict=True):
            assert one.keys() == two.keys()
            for name in set(one) - {*CLOCK_COLUMNS, "image"}:
                exactly = name in ("step", "macs", "lr")
                expected = float(two[name])
                assert float(one[name]) == (expected if exactly else pytest.approx(expected, rel=TOLERANCE)), name
            assert one.get("image") == two.get("image")
    here, there = (LearnedStart.load(each / START).state_dict() for each in (run, alone))
    for name, value in here.items():
        torch.testing.assert_close(value, there[name], rtol=TOLERANCE, atol=1e-4)
    said, told = manifest(run), manifest(alone)
    for key in ("status", "stop", "steps", "parameters", "parameters_learned", "regions", "signal", "partition"):
        assert said[key] == told[key], key


CASES: dict[str, Sequence[str]] = {
    "cosine, clipped, drawn context": ("schedule=cosine", "regime.clip_norm=0.05", "regime.context_fraction=0.5"),
    "reptile, workers": ("regime.algorithm=reptile", "regime.inner_lr_kind=static", "regime.workers=1"),
    "cells, plateau": (
        "regime.initialisation=region",
        "schedule=plateau",
        "schedule.patience=0",
        "schedule.threshold=50",
    ),
    "double precision": ("trainer.precision=64-true", "regime.partition_in=test"),
}


# Of three one has two of the four tasks.
@covering(case=list(CASES), devices=[3, 2])
def test_one_process_or_several(case: str, devices: int) -> None:
    alone = learn("one", 1, *CASES[case])
    run = learn("several", devices, *CASES[case])
    same(run, alone)
    assert manifest(run)["hardware"]["devices"] == devices
    assert {path.name for path in run.iterdir()} == {path.name for path in alone.iterdir()}
    assert [row["image"] for row in rows(run, "images.csv")[:5]] == [f"smooth-val-{n}" for n in range(5)]


@pytest.mark.parametrize(("first", "then"), [(3, 2)])
def test_gone_on_with_by_another_number(first: int, then: int) -> None:
    words = ("regime.context_fraction=0.5",)
    whole = learn("whole", 1, *words)
    learn("first", first, *words, "max_steps=6")
    same(learn("rest", then, *words, f"ckpt_path=first/{CHECKPOINT}"), whole)


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.01)


def test_a_polite_signal() -> None:
    run = Path("run").resolve()
    words = ("max_steps=300", "callbacks.checkpoint.every_seconds=1000")

    def stop() -> None:
        wait_until(lambda: len(rows(run)) > 2)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    more = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "cache_dir=null", f"hydra.run.dir={run}")
    code, out, err = call(*WORDS, *words, *more)
    thread.join()
    assert (code, err) == (143, "")
    assert "continue with: partinr resume" in out
    assert 0 < manifest(run)["steps"] < 300
    code, _, err = call("resume", run)
    assert (code, err) == (0, "")
    assert (manifest(run)["status"], manifest(run)["steps"]) == ("completed", 300)
    steps = [int(row["step"]) for row in rows(run)]
    assert steps == list(range(0, 301, 3))


SLOW = """
import time
from lightning import Callback


class Slow(Callback):
    def on_train_batch_end(self, trainer, *rest):
        if trainer.is_global_zero:
            time.sleep(0.2)
"""


def test_what_the_first_one_draws_is_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = learn("run", 2, "+callbacks.slow._target_=slow.Slow")
    assert manifest(run)["seconds"]["training"] < 0.5 * 12 * 0.2


def test_a_failure_is_one_for_all() -> None:
    words = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "optimizer.lr=1e30", "cache_dir=null")
    code, out, err = call(*WORDS, *words, "hydra.run.dir=run")
    assert (code, err) == (1, ""), out
    said = manifest(Path("run"))
    assert (said["status"], said["stop"]) == ("failed", None)
    assert re.match(r"the (PSNR|loss) is nan after . steps; lower optimizer.lr", said["message"])


AGREE = """
import torch
from lightning import Callback


class Agree(Callback):
    def on_train_batch_end(self, trainer, module, *rest):
        own = torch.cat([value.detach().reshape(-1) for value in module.parameters()])
        lr = own.new_tensor([module.lr])
        for value in (own, lr):
            found = [torch.empty_like(value) for _ in range(trainer.world_size)]
            torch.distributed.all_gather(found, value)
            if not all(torch.equal(each, value) for each in found):
                raise ValueError("another process has something else")
"""


@pytest.mark.parametrize(
    "words",
    [
        # Its rate follows from the clock, and each process has its own.
        ("max_steps=null", "max_seconds=0.5", "schedule=cosine"),
        ("max_steps=12", "schedule=plateau", "schedule.patience=0", "schedule.threshold=50"),
    ],
)
def test_all_have_the_same_all_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    (tmp_path / "agree.py").write_text(AGREE)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = learn("run", 2, "+callbacks.agree._target_=agree.Agree", *words)
    assert manifest(run)["steps"] > 0
