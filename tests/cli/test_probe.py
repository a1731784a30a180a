"""Parameters by the error of a short fit: hard regions get more of them, and the run pays for the fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.api import load
from partinr.model.capacity import shares
from partinr.partition import Grid
from tests.read_back import curve, manifest, rows

RUN = (
    "data.path=half.png",
    "partition.regions=2",
    "capacity=error",
    "coords.frame=local",
    "backbone.match_params=600",
    "optimizer.lr=1e-2",
    "max_steps=40",
    "regime.evaluate_every=10",
)


@pytest.fixture(autouse=True)
def _image() -> None:
    """Flat on the left, noise on the right."""
    image = np.full((16, 16, 3), 120, dtype=np.uint8)
    image[:, 8:] = np.random.default_rng(0).integers(0, 256, (16, 8, 3))
    Image.fromarray(image).save("half.png")


def test_hard_regions_get_more_and_the_run_pays(partinr: Any) -> None:
    assert partinr(*RUN, "hydra.run.dir=run").code == 0
    run = manifest(Path("run"))
    model = load("run")
    assert model.widths is not None
    assert model.widths[1] > model.widths[0]
    assert abs(run["parameters"] - 600) < 60
    first = rows(Path("run"))[0]
    assert float(first["seconds"]) == run["seconds"]["probe"] > 0
    # 2 of 40 steps, with networks of about the same cost.
    assert int(first["macs"]) == pytest.approx(
        2 / 40 * (int(rows(Path("run"))[-1]["macs"]) - int(first["macs"])), rel=0.2
    )


def test_a_run_goes_on_with_the_widths_of_its_checkpoint(partinr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert partinr(*RUN, "hydra.run.dir=unbroken").code == 0
    level = float(rows(Path("unbroken"))[2]["psnr"]) - 1e-6
    assert partinr(*RUN, f"target_psnr={level}", "hydra.run.dir=broken").code == 0
    monkeypatch.setattr("partinr.regimes.fit.probe.run_fit", None)
    assert partinr(*RUN, "ckpt_path=broken/checkpoints/last.ckpt", "hydra.run.dir=resumed").code == 0
    assert curve(Path("resumed")) == curve(Path("unbroken"))
    assert Path("resumed/inr.safetensors").read_bytes() == Path("unbroken/inr.safetensors").read_bytes()


def test_what_it_does_not_go_with_is_refused(partinr: Any) -> None:
    for override in ("regime=meta", "observe=noise"):
        answer = partinr(*RUN, override)
        assert (answer.code, answer.out) == (2, "")
        assert "choose capacity=balanced" in answer.err


def test_shares_rise_with_the_error_and_stay_above_zero() -> None:
    signal = torch.zeros(4, 6, 3)
    error = torch.zeros(4, 6, dtype=torch.float64)
    error[:, 4:] = 1.0
    error[:, 2:4] = 0.1
    none, some, much = shares("error", Grid(rows=1, cols=3)(signal), signal, error).tolist()
    assert 0 < none < some < much < 0.7
