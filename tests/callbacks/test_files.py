"""Curve, pictures and checkpoint: when they are written, and what a run that fails leaves of them."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.callbacks import CurveFile, LastCheckpoint, Pictures
from partinr.callbacks.checkpoint import FIRST_SECONDS
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import (
    CHECKPOINT,
    CURVE,
    ERROR,
    IMAGE,
    IMAGE_COLUMNS,
    IMAGE_CURVE,
    PARTITION,
    PREVIOUS,
    RECONSTRUCTION,
)


def batch(callback: Any, trainer: Any, regime: Any) -> None:
    callback.on_train_batch_end(trainer, regime, None, None, 0)


def picture(run: RunDirectory, name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(run.file(name).read_bytes())))


# -- curve --------------------------------------------------------------------------------------------------------


def test_the_curve_is_written_when_there_is_a_new_row(make_regime: Any, trainer: Any, run: RunDirectory) -> None:
    callback, regime = CurveFile(), make_regime()
    callback.bind(run)
    callback.on_train_start(trainer, regime)
    assert run.curve() == []
    regime.evaluate()
    batch(callback, trainer, regime)
    assert run.curve() == regime.curve
    written = run.file(CURVE).stat().st_ino
    batch(callback, trainer, regime)
    assert run.file(CURVE).stat().st_ino == written
    regime.step = 7
    regime.evaluate()
    batch(callback, trainer, regime)
    assert [row["step"] for row in run.curve()] == [0, 7]


def test_the_curve_of_each_image(make_regime: Any, trainer: Any, run: RunDirectory) -> None:
    callback, regime = CurveFile(), make_regime()
    callback.bind(run)
    callback.on_train_start(trainer, regime)
    assert not run.file(IMAGE_CURVE).exists()
    regime.evaluate()
    times, row = {"step": 0, "seconds": 0.5}, {"psnr": 1 / 3, "ssim": float("nan")}
    regime.image_curve += [{**times, "image": name, **row} for name in ("one, two", "three")]
    batch(callback, trainer, regime)
    with run.file(IMAGE_CURVE).open(newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == list(IMAGE_COLUMNS)
    assert [line["image"] for line in read] == ["one, two", "three"]
    assert [float(line["psnr"]) for line in read] == [1 / 3, 1 / 3]


def test_a_resumed_run_brings_its_curve(make_regime: Any, trainer: Any, run: RunDirectory) -> None:
    run.write_curve([{"step": 9, "seconds": 1.0, "macs": 1, "loss": 1.0, "psnr": 1.0, "ssim": 1.0, "lr": 1.0}])
    callback, regime = CurveFile(), make_regime()
    regime.evaluate()
    callback.bind(run)
    callback.on_train_start(trainer, regime)
    assert run.curve() == regime.curve  # the row after the checkpoint is forgotten


# -- pictures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_have_the_size_of_the_image(make_regime: Any, trainer: Any, run: RunDirectory, channels: int) -> None:
    regime = make_regime(signal=torch.rand(6, 4, channels))
    callback = Pictures()
    callback.bind(run)
    callback.on_fit_start(trainer, regime)
    assert not run.file(RECONSTRUCTION).exists()
    callback.on_fit_end(trainer, regime)
    for name in (IMAGE, RECONSTRUCTION, ERROR):
        assert picture(run, name).shape[:2] == (6, 4)
    height, width = picture(run, PARTITION).shape[:2]
    assert (height % 6, width % 4, height / 6) == (0, 0, width / 4)
    grey = regime.signal.expand(-1, -1, 3) if picture(run, IMAGE).ndim == 3 else regime.signal[..., 0]
    assert np.abs(picture(run, IMAGE) / 255 - grey.numpy()).max() <= 0.5 / 255 + 1e-6
    assert np.abs(picture(run, RECONSTRUCTION) / 255 - (3 * grey - 1).clamp(0, 1).numpy()).max() <= 0.5 / 255 + 1e-6


def test_pictures_are_drawn_now_and_then(make_regime: Any, trainer: Any, run: RunDirectory, clock: Any) -> None:
    regime, callback = make_regime(), Pictures(every_seconds=10)
    callback.bind(run)
    callback.on_fit_start(trainer, regime)
    for now, evaluated, drawn in [
        (1009, True, 0),
        (1010, True, 1),
        (1019, True, 1),
        (1025, False, 2),  # evaluated since the last drawing
        (1099, False, 2),  # nothing new
        (1100, True, 3),
    ]:
        clock.now = now
        if evaluated:
            regime.evaluate()
        batch(callback, trainer, regime)
        assert regime.drawn == drawn, now


def test_pictures_that_take_long_are_drawn_less_often(
    make_regime: Any, trainer: Any, run: RunDirectory, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(image: Any) -> bytes:
        clock.now += 1
        return b""

    monkeypatch.setattr("partinr.callbacks.pictures.encode_png", encode)
    regime, callback = make_regime(names=("one", "two")), Pictures(every_seconds=10)
    callback.bind(run)
    callback.on_fit_start(trainer, regime)
    for now, drawn in [(1010, 1), (1014 + 39, 1), (1014 + 40, 2)]:
        clock.now = now
        regime.evaluate()
        batch(callback, trainer, regime)
        assert regime.drawn == drawn, now


def test_pictures_at_the_end_only(make_regime: Any, trainer: Any, run: RunDirectory, clock: Any) -> None:
    regime, callback = make_regime(), Pictures(every_seconds=None)
    callback.bind(run)
    clock.now = 1e9
    regime.evaluate()
    batch(callback, trainer, regime)
    assert regime.drawn == 0
    callback.on_fit_end(trainer, regime)
    assert regime.drawn == 1


def test_a_signal_that_is_no_image_has_no_pictures(make_regime: Any, trainer: Any, run: RunDirectory) -> None:
    regime, callback = make_regime(signal=torch.rand(9, 1)), Pictures()
    callback.bind(run)
    callback.on_fit_start(trainer, regime)
    callback.on_fit_end(trainer, regime)
    assert not list(run.path.glob("*.png"))


def test_each_of_several_images_has_its_pictures(make_regime: Any, trainer: Any, run: RunDirectory) -> None:
    regime, callback = make_regime(names=("one", "two")), Pictures()
    callback.bind(run)
    callback.on_fit_start(trainer, regime)
    callback.on_fit_end(trainer, regime)
    assert not list(run.path.glob("*.png"))
    for name in ("one", "two"):
        assert {path.name for path in run.file(f"images/{name}").iterdir()} == {IMAGE, PARTITION, RECONSTRUCTION, ERROR}
    assert regime.drawn == 1


# -- checkpoint ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_now_and_then_and_at_the_end(
    make_regime: Any, trainer: Any, run: RunDirectory, clock: Any
) -> None:
    regime, callback = make_regime(), LastCheckpoint(every_seconds=10)
    callback.bind(run)
    clock.now = 1100  # the set-up takes its time
    callback.on_train_start(trainer, regime)
    for now, saved in [(1100, 0), (1102, 0), (1103, 1), (1112, 1), (1113, 2)]:
        clock.now = now
        batch(callback, trainer, regime)
        assert len(trainer.saved) == saved, now
    callback.on_train_end(trainer, regime)
    assert run.file(CHECKPOINT).read_bytes() == b"checkpoint 3"
    assert run.file(PREVIOUS).read_bytes() == b"checkpoint 2"
    assert sorted(os.listdir(run.file(CHECKPOINT).parent)) == ["last.ckpt", "previous.ckpt"]


@pytest.mark.parametrize(("every", "first"), [(30, FIRST_SECONDS), (1000, FIRST_SECONDS), (2, 2)])
def test_the_first_checkpoint_comes_soon_and_the_others_at_intervals(
    every: float, first: float, make_regime: Any, trainer: Any, run: RunDirectory, clock: Any
) -> None:
    callback = LastCheckpoint(every_seconds=every)
    callback.bind(run)
    start = clock.now
    callback.on_train_start(trainer, make_regime())
    times: list[float] = []
    for clock.now in [start + 0.5 * half for half in range(round(5 * every))]:
        batch(callback, trainer, make_regime())
        if len(trainer.saved) > len(times):
            times.append(clock.now - start)
    assert first < 5
    assert times == [first, first + every, first + 2 * every][: len(times)]
    assert len(times) > 1

    # A resumed run has one already.
    goes_on = LastCheckpoint(every_seconds=every)
    goes_on.bind(run)
    goes_on.on_train_start(trainer, make_regime())
    saved = len(trainer.saved)
    for elapsed, more in [(0.9, 0), (0.1, 1)]:
        clock.now += elapsed * every
        batch(goes_on, trainer, make_regime())
        assert len(trainer.saved) == saved + more


def test_a_run_that_is_over_keeps_one_checkpoint(make_regime: Any, trainer: Any, run: RunDirectory) -> None:
    regime, callback = make_regime(), LastCheckpoint(every_seconds=0)
    callback.bind(run)
    batch(callback, trainer, regime)
    regime.stop_reason = "max_steps"
    callback.on_train_end(trainer, regime)
    callback.on_fit_end(trainer, regime)
    assert run.file(CHECKPOINT).read_bytes() == b"checkpoint 2"
    assert os.listdir(run.file(CHECKPOINT).parent) == ["last.ckpt"]


def test_a_checkpoint_after_every_chunk(make_regime: Any, trainer: Any, run: RunDirectory, clock: Any) -> None:
    callback = LastCheckpoint(every_seconds=0)
    callback.bind(run)
    callback.on_train_start(trainer, make_regime())
    for _ in range(3):
        batch(callback, trainer, make_regime())
    assert len(trainer.saved) == 3


def test_a_run_that_failed_keeps_the_last_good_one(make_regime: Any, trainer: Any, run: RunDirectory) -> None:
    regime, callback = make_regime(), LastCheckpoint(every_seconds=0)
    callback.bind(run)
    batch(callback, trainer, regime)
    regime.failure = "the loss is not finite"
    batch(callback, trainer, regime)
    callback.on_train_end(trainer, regime)
    assert run.file(CHECKPOINT).read_bytes() == b"checkpoint 1"


@pytest.mark.parametrize("stage", ["save", "fsync", "replace"])
def test_a_checkpoint_that_fails_leaves_the_old_one(
    make_regime: Any, trainer: Any, run: RunDirectory, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback = LastCheckpoint()
    callback.bind(run)
    callback.save(trainer, make_regime())

    def fail(path: Any, *_: Any) -> None:
        if stage == "save":
            Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(
        *{"save": (trainer, "save_checkpoint"), "fsync": (os, "fsync"), "replace": (os, "replace")}[stage], fail
    )
    with pytest.raises(OSError, match="No space"):
        callback.save(trainer, make_regime())
    assert run.file(CHECKPOINT).read_bytes() == b"checkpoint 1"
    assert os.listdir(run.file(CHECKPOINT).parent) == ["last.ckpt"]


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        *[(LastCheckpoint, seconds) for seconds in (-1, float("nan"), None, "soon", True)],
        *[(Pictures, seconds) for seconds in (0, -1, float("nan"), "soon", True)],
    ],
)
def test_seconds_out_of_range_are_refused(kind: Any, seconds: Any) -> None:
    with pytest.raises(PartinrError, match=r"every_seconds=.*; give "):
        kind(every_seconds=seconds)


def test_a_callback_without_a_run_says_so() -> None:
    with pytest.raises(AssertionError, match="bind"):
        SimpleNamespace(run=CurveFile().run)


# -- several processes --------------------------------------------------------------------------------------------


def test_a_second_process_writes_nothing(make_regime: Any, second: Any, run: RunDirectory) -> None:
    regime, before = make_regime(), sorted(run.path.rglob("*"))
    for callback in (CurveFile(), Pictures(every_seconds=1e-9), LastCheckpoint(every_seconds=0)):
        callback.bind(run)
        callback.on_fit_start(second, regime)
        callback.on_train_start(second, regime)
        regime.evaluate()
        batch(callback, second, regime)
        callback.on_train_end(second, regime)
        callback.on_fit_end(second, regime)
    assert sorted(run.path.rglob("*")) == before
    # Yet it did what only all of them can do together.
    assert regime.drawn == 1
    assert len(second.saved) == 1


def test_the_clock_of_the_first_process_counts(make_regime: Any, second: Any, run: RunDirectory, clock: Any) -> None:
    regime, pictures, checkpoint = make_regime(), Pictures(every_seconds=10), LastCheckpoint(every_seconds=10)
    for second.agreed, elapsed, times in ((False, 1000, 0), (True, 0, 1)):
        clock.now += elapsed
        regime.evaluate()
        for callback in (pictures, checkpoint):
            callback.bind(run)
            batch(callback, second, regime)
        assert (regime.drawn, len(second.saved)) == (times, times)
