"""A run on a sound: its metrics, files and pages."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import pytest

from tests.read_back import manifest, rows


def test_a_run_keeps_plays_and_renders_a_sound(partinr: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("data=audio", "data.seconds=0.1", "data.rate=8000", "partition.regions=2", "backbone.match_params=200")
    assert partinr(*words, "max_steps=2", f"hydra.run.dir={run}").code == 0
    assert {"snr", "si_snr", "lsd"} < set(rows(run)[-1])
    assert manifest(run)["signal"]["kind"] == {"name": "audio", **manifest(run)["signal"]["kind"]}
    assert float(rows(run)[-1]["snr"]) == manifest(run)["metrics"]["snr"]
    answer = partinr("render", run, "--rate", "16000", "-o", tmp_path / "x.wav")
    assert answer.out == f"{tmp_path / 'x.wav'}  0.10 s at 16,000 Hz\n"
    with wave.open(str(tmp_path / "x.wav")) as sound:
        assert (sound.getframerate(), sound.getnframes()) == (16000, 1600)
    assert partinr("report", run, "-o", tmp_path / "report.html").code == 0
    page = (tmp_path / "report.html").read_text()
    assert page.count("<audio controls") == 2
    assert "SI-SNR" in page
    assert partinr("view", run).code == 0
    assert (run / "view.html").read_text().count("<audio controls") == 2
    assert partinr("export", run, "-o", tmp_path / "small.safetensors").code == 0
    assert partinr("render", tmp_path / "small.safetensors", "-o", tmp_path / "y.wav").code == 0


@pytest.mark.slow
def test_a_start_is_learned_from_sounds_and_begins_a_fit(partinr: Any, tmp_path: Path) -> None:
    small = ("data.seconds=0.02", "data.rate=2000", "partition=grid", "partition.regions=2", "max_steps=1")
    sets = ("regime=meta", "data=melodies", "data.train_items=4", "data.val_items=1", "regime.inner_lr=1e-3")
    start = tmp_path / "start"
    assert partinr(*sets, *small, "backbone.hidden_features=4", f"hydra.run.dir={start}").code == 0
    assert (start / "adaptation.png").exists()
    snr, (held_out,) = rows(start)[-1]["snr"], rows(start, "images.csv")[-1:]
    assert float(snr) == float(held_out["snr"]) == manifest(start)["metrics"]["snr"]
    assert "SI-SNR" in partinr("table", start).out
    assert partinr("report", start, "-o", tmp_path / "report.html").code == 0
    page = (tmp_path / "report.html").read_text()
    assert "SI-SNR" in page
    assert "SSIM" not in page.partition("<footer")[0]
    run = tmp_path / "run"
    assert partinr("data=audio", *small, f"init={start}", f"hydra.run.dir={run}").code == 0
    assert manifest(run)["signal"]["kind"]["name"] == "audio"
