"""Runs with a frequency that follows from the signal: what they say, and that they go on and repeat with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from partinr.model.inr import PiecewiseINR
from tests.read_back import manifest, rows

SOUND = ("data=audio", "backbone.match_params=300", "callbacks.pictures=null", "engine=batched")
AUTO = "backbone.first_omega_0=auto"


def test_a_run_settles_its_frequency_once(partinr: Any, tmp_path: Path) -> None:
    words = (
        *SOUND,
        "data.seconds=0.1",
        "data.rate=4000",
        "partition.regions=2",
        "coords.frame=local",
        AUTO,
        "regime.evaluate_every=1",
    )
    whole, part = tmp_path / "whole", tmp_path / "part"
    answer = partinr(*words, "max_steps=4", f"hydra.run.dir={whole}")
    assert answer.code == 0, answer.err
    settled = manifest(whole)["settled"]["backbone.first_omega_0"]
    assert f"melody: backbone.first_omega_0=auto is {settled:g}" in answer.err
    assert PiecewiseINR.load(whole / "inr.safetensors").backbone.first_omega_0 == settled  # type: ignore[attr-defined]
    assert partinr("rerun", whole, "-o", tmp_path / "again").code == 0
    assert partinr(*words, "max_steps=2", f"hydra.run.dir={part}").code == 0
    longer = partinr(*words, "max_steps=4", f"ckpt_path={part}", f"hydra.run.dir={tmp_path / 'longer'}")
    assert longer.code == 0, longer.err
    assert [row["psnr"] for row in rows(tmp_path / "longer")] == [row["psnr"] for row in rows(whole)]
    assert manifest(tmp_path / "longer")["settled"] == manifest(whole)["settled"]


def test_a_sound_with_the_frequency_of_images_gets_advice(partinr: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    answer = partinr(*SOUND, "data.rate=4000", "partition=none", "max_steps=1", f"hydra.run.dir={run}")
    assert answer.code == 0, answer.err
    assert "give backbone.first_omega_0=auto, or more than 60" in answer.err
    assert "settled" not in manifest(run)


@pytest.mark.parametrize("data", ["builtins", "text"])
def test_only_a_fit_settles_a_frequency(partinr: Any, tmp_path: Path, data: str) -> None:
    if data == "builtins":
        words = ("data=builtins", "data.crops=2", "data.size=16", "partition.regions=4", "max_steps=1")
        answer = partinr(
            *words, AUTO, "backbone.match_params=500", "engine=batched", f"hydra.run.dir={tmp_path / 'run'}"
        )
        assert answer.code == 0, answer.err
        assert manifest(tmp_path / "run")["settled"]["backbone.first_omega_0"] > 0
    else:
        answer = partinr("regime=meta", "data=smooth", AUTO, f"hydra.run.dir={tmp_path / 'run'}")
        assert answer.code == 2
        assert "follows from the signal of a fit (regime=fit); give a number" in answer.err
