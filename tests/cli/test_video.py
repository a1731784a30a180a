"""A run on a film: its metrics, files and pages, and its way through a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from partinr.signals.video import read_video
from tests.read_back import curve, manifest, rows

TINY = (
    "data=film",
    "data.frames=6",
    "data.height=10",
    "data.width=12",
    "data.shots=2",
    "data.rate=12",
    "partition.regions=4",
    "backbone.match_params=400",
    "regime.points_per_step=100",
    "regime.evaluate_every=2",
)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_run_keeps_plays_and_renders_a_film(partinr: Any, tmp_path: Path, channels: int) -> None:
    run, words = tmp_path / "run", (*TINY, f"data.channels={channels}")
    assert partinr(*words, "max_steps=4", f"hydra.run.dir={run}").code == 0
    found = manifest(run)
    assert found["signal"]["kind"] == {"name": "video", "rate": 12.0}
    assert float(rows(run)[-1]["psnr_worst_frame"]) == found["metrics"]["psnr_worst_frame"]
    assert len(found["metrics"]["psnr_of_frames"]) == 6
    answer = partinr("render", run, "--rate", "18", "--size", "16,20", "-o", tmp_path / "x.mp4")
    assert answer.out == f"{tmp_path / 'x.mp4'}  9 frames of 16×20 pixels, 18 a second\n"
    drawn = read_video(tmp_path / "x.mp4")
    assert (drawn.rate, drawn.values.shape) == (18, (9, 16, 20, 3))
    assert partinr("report", run, "-o", tmp_path / "report.html").code == 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("<video controls") == 2
    assert "worst frame" in page
    assert partinr("view", run).code == 0
    assert (run / "view.html").read_text().count("<video controls") == 2
    assert partinr("export", run, "-o", tmp_path / "small.safetensors").code == 0
    assert partinr("render", tmp_path / "small.safetensors", "-o", tmp_path / "y.mp4").code == 0
    assert read_video(tmp_path / "y.mp4").rate == 12


def test_a_continued_run_is_the_same(partinr: Any, tmp_path: Path) -> None:
    unbroken, first, second = (tmp_path / name for name in ("unbroken", "first", "second"))
    assert partinr(*TINY, "max_steps=8", f"hydra.run.dir={unbroken}").code == 0
    assert partinr(*TINY, "max_steps=4", f"hydra.run.dir={first}").code == 0
    assert partinr(*TINY, "max_steps=8", f"ckpt_path={first}", f"hydra.run.dir={second}").code == 0
    assert curve(second) == curve(unbroken)
    assert (second / "inr.safetensors").read_bytes() == (unbroken / "inr.safetensors").read_bytes()
