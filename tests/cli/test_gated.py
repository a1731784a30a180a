"""Learned regions from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from partinr.model.inr import PiecewiseINR
from partinr.runs.layout import CHECKPOINT
from tests.read_back import curve, manifest

NOISE = ("observe=noise", "observe.sigma=0.3")
GATED = ("partition=soft_cells", "partition.pretrain_steps=3", "partition.every=2", "regime.evaluate_every=4")


def test_a_run_with_learned_regions_counts_its_gate_and_goes_on(tiny: Any, tmp_path: Path) -> None:
    short, longer, whole = (tmp_path / name for name in ("short", "longer", "whole"))
    assert tiny(*GATED, *NOISE, "partition.until=1", "max_steps=4", f"hydra.run.dir={short}").code == 0
    gone_on = ("partition.until=1", "max_steps=8")  # of the noise, the best point and its labels are kept, too
    answer = tiny(*GATED, *NOISE, *gone_on, f"ckpt_path={short / CHECKPOINT}", f"hydra.run.dir={longer}")
    assert answer.code == 0, answer.err
    assert tiny(*GATED, *NOISE, *gone_on, f"hydra.run.dir={whole}").code == 0
    assert curve(longer) == curve(whole)
    assert (longer / "inr.safetensors").read_bytes() == (whole / "inr.safetensors").read_bytes()
    model = PiecewiseINR.load(whole / "inr.safetensors")
    assert (longer / "best.safetensors").read_bytes() == (whole / "best.safetensors").read_bytes()
    assert PiecewiseINR.load(whole / "best.safetensors").partition.regions == 4
    assert manifest(whole)["parameters"] == model.parameter_count + 4 * 6  # place, temperature, radius, metric
    assert manifest(whole)["parameters"] == pytest.approx(500, rel=0.1)


def test_a_step_of_the_gate_has_the_arithmetic_of_two_networks_and_the_gate(partinr: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["partition.until=0.5", "max_steps=8", "data=audio", "data.name=melody", "data.seconds=0.1"]
    words += ["data.rate=4000"]
    answer = partinr(*GATED, *words, "partition.regions=4", "backbone.match_params=500", f"hydra.run.dir={run}")
    assert answer.code == 0, answer.err
    macs = [int(row["macs"]) for row in curve(run)]
    assert macs[1] > 2 * (macs[2] - macs[1])
