"""Adaptive partitions on the command line: run, resume, refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from partinr.training.stack_loop import StackLoop
from tests.read_back import curve, manifest

RUN = (
    "data.size=16",
    "partition=adaptive",
    "partition.regions=8",
    "partition.begin=2",
    "partition.until=0.5",
    "coords.frame=local",
    "backbone.match_params=900",
    "optimizer.lr=1e-2",
    "max_steps=40",
    "regime.evaluate_every=4",
)


def test_a_run_goes_on_with_the_regions_of_its_checkpoint(partinr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert partinr(*RUN, "hydra.run.dir=unbroken").code == 0
    unbroken = manifest(Path("unbroken"))
    steps, regions = zip(*unbroken["changes"], strict=True)
    assert (steps[0], regions[0], regions[-1]) == (0, 2, unbroken["regions"]) == (0, 2, 8)
    assert 4 < steps[-1] <= 20
    assert abs(unbroken["parameters"] - 900) < 100
    steps_of = StackLoop.take_steps

    def broken(self: StackLoop, steps: int, batch: Any) -> None:
        if self.step >= 10:
            raise KeyboardInterrupt
        steps_of(self, steps, batch)

    with monkeypatch.context() as patch:
        patch.setattr(StackLoop, "take_steps", broken)
        patch.setattr("partinr.training.loop.CHUNK_SECONDS", 0.0)
        assert partinr(*RUN, "callbacks.checkpoint.every_seconds=0", "hydra.run.dir=run").code != 0
    assert 2 < manifest(Path("run"))["regions"] < 8
    other = partinr(*RUN, "partition.merge=2", "ckpt_path=run/checkpoints/last.ckpt")
    assert other.code == 2
    assert "partition.merge" in other.err
    drawn = Path("run/partition.png").read_bytes()
    answer = partinr("resume", "run")
    assert answer.code == 0, answer.err
    assert curve(Path("run")) == curve(Path("unbroken"))
    assert manifest(Path("run"))["changes"] == unbroken["changes"]
    for file in ("inr.safetensors", "partition.png"):
        assert Path("run", file).read_bytes() == Path("unbroken", file).read_bytes()
    assert Path("run/partition.png").read_bytes() != drawn


def test_what_does_not_go_with_it_is_refused_before_the_run(partinr: Any) -> None:
    for override, cure in (
        ("capacity=balanced", "leave capacity=equal"),
        ("backbone.first_omega_0=auto", "give a number"),
        ("regime=meta", "choose partition=grid"),
        ("backbone=fourier", "coords.frame=global"),
    ):
        answer = partinr(*RUN, override)
        assert (answer.code, answer.out) == (2, "")
        assert cure in answer.err


def test_sounds(partinr: Any) -> None:
    sound = ("data=melodies", "data.seconds=0.05", "data.train_items=1", "data.val_items=0")
    answer = partinr(*sound, *RUN[1:], "hydra.run.dir=sound")
    assert answer.code == 0, answer.err
    assert manifest(Path("sound"))["regions"] == 8
