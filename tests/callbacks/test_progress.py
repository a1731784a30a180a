"""The progress bar: its figures, and that it is hidden without a terminal."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from partinr.callbacks import Progress
from partinr.callbacks.progress import describe


@pytest.mark.parametrize(
    ("step", "seconds", "max_steps", "max_seconds", "points", "psnr", "done", "figures"),
    [
        (0, 0.0, 100, None, 24, None, 0.0, "step 0/100"),
        (0, 0.0, 100, None, 24, 7.0, 0.0, "step 0/100  7.00 dB"),
        (50, 10.0, 100, None, 4096, 21.456, 0.5, "step 50/100  21.46 dB  20.5k points/s  0:10 left"),
        (1500, 90.0, 12_000, None, 2_000_000, 30.0, 0.125, "step 1,500/12,000  30.00 dB  33.3M points/s  10:30 left"),
        (10, 1.0, 10, None, 24, 30.0, 1.0, "step 10/10  30.00 dB  240 points/s  0:00 left"),
        (10, 15.0, None, 60.0, 24, 30.0, 0.25, "step 10  30.00 dB  16 points/s  0:45 left"),
        (10, 61.0, None, 60.0, 24, 30.0, 1.0, "step 10  30.00 dB  3.93 points/s  0:00 left"),
        (10, 15.0, 100, 60.0, 24, 30.0, 0.25, "step 10/100  30.00 dB  16 points/s  0:45 left"),
        (90, 15.0, 100, 60.0, 24, 30.0, 0.9, "step 90/100  30.00 dB  144 points/s  0:02 left"),
        (1, 1.0, 2, None, 3 * 10**9, 30.0, 0.5, "step 1/2  30.00 dB  3.00G points/s  0:01 left"),
        (1, 1.0, 2, None, 24, float("nan"), 0.5, "step 1/2  nan dB  24 points/s  0:01 left"),
    ],
)
def test_figures(
    make_regime: Callable[..., Any],
    step: int,
    seconds: float,
    max_steps: int | None,
    max_seconds: float | None,
    points: int,
    psnr: float | None,
    done: float,
    figures: str,
) -> None:
    regime = make_regime(
        step=step,
        stop=SimpleNamespace(max_steps=max_steps, max_seconds=max_seconds, target_psnr=None),
        points_per_step=points,
    )
    regime.clock.training = seconds
    if psnr is not None:
        regime.evaluate(psnr)
    fraction, said = describe(regime)
    assert fraction == pytest.approx(done)
    assert said == figures


def go_through(progress: Progress, regime: Any, trainer: Any) -> None:
    progress.on_train_start(trainer, regime)
    for _ in range(3):
        progress.on_train_batch_start(trainer, regime, None, 0)
        regime.step += 20
        regime.clock.training += 1.0
        regime.evaluate()
        progress.on_train_batch_end(trainer, regime, None, None, 0)
    progress.teardown(trainer, regime, "fit")
    progress.on_exception(trainer, regime, RuntimeError())


def test_nothing_where_there_is_no_terminal(make_regime: Any, trainer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    go_through(Progress(), make_regime(), trainer)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("title", ["1 region", "24 images, 1,024 regions"])
def test_one_line_on_a_terminal(
    make_regime: Any,
    trainer: Any,
    title: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    go_through(Progress(), make_regime(title=title), trainer)
    out, err = capsys.readouterr()
    assert out == ""
    shown = [line for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", err).splitlines() if line.strip()]
    assert shown
    assert all(line.startswith(f"  {title} ") and len(line) <= 100 for line in shown)
    assert "step 60/100  20.00 dB  480 points/s  0:02 left" in err
    assert err.endswith("\x1b[2K")  # the line is gone in the end
