"""Runs with an observation, from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.model.inr import PiecewiseINR
from tests.commands import Partinr
from tests.read_back import manifest, rows


@pytest.mark.slow
def test_a_run_keeps_what_it_saw_and_its_best_point(tiny: Partinr, partinr: Partinr, tmp_path: Path) -> None:
    run = tmp_path / "run"
    answer = tiny("observe=noise", "observe.sigma=0.3", "partition=superpixel", f"hydra.run.dir={run}", "max_steps=20")
    assert answer.code == 0, answer.err
    assert "best dB" in answer.out
    said, curve = manifest(run), rows(run)
    best = max(curve, key=lambda row: float(row["psnr"]))
    assert said["name"].startswith("astronaut noise superpixel")
    assert said["metrics"]["step_best"] == int(best["step"])
    assert said["metrics"]["psnr_observed"] == float(curve[-1]["psnr_observed"])
    assert (run / "observation.png").exists()
    model = PiecewiseINR.load(run / "best.safetensors")
    last = PiecewiseINR.load(run / "inr.safetensors")
    assert torch.equal(model.render(), last.render()) == (said["metrics"]["step_best"] == 20)
    with Image.open(run / "reconstruction_best.png") as picture:
        assert np.allclose(np.asarray(picture) / 255, model.render().clamp(0, 1), atol=0.51 / 255)
    # The regions are those of what is seen, not of the signal.
    plain = tmp_path / "plain"
    assert tiny("partition=superpixel", f"hydra.run.dir={plain}", "max_steps=20").code == 0
    assert not torch.equal(PiecewiseINR.load(plain / "inr.safetensors").partition.labels, last.partition.labels)
    answer = partinr("report", run, "-o", tmp_path / "report.html")
    assert answer.code == 0, answer.err
    page = (tmp_path / "report.html").read_text()
    assert "what the loss sees" in page
    assert "best reconstruction" in page
    assert ">Observed<" in page  # above a column of the table


def test_an_observation_is_for_fits_and_one_of_a_third_party_is_chosen_by_name(
    tiny: Partinr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = tiny("regime=threshold", "observe=mask", "max_steps=3")
    assert refused.code == 2
    assert "observe=mask is for regime=fit; leave it out" in refused.err
    (tmp_path / "rows_seen.py").write_text(
        "import torch\n"
        "from partinr.signals.observations import Observation, Pointwise\n"
        "from partinr.spec import spec\n"
        "@spec\n"
        "class Rows(Observation):\n"
        "    every: int = 2\n"
        "    def observe(self, signal, number):\n"
        "        weights = torch.zeros(*signal.shape[:-1], 1)\n"
        "        weights[:: self.every] = 1\n"
        "        return Pointwise(signal * weights, weights)\n"
    )
    (tmp_path / "own" / "observe").mkdir(parents=True)
    (tmp_path / "own" / "observe" / "rows.yaml").write_text("_target_: rows_seen.Rows\nevery: 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    answer = tiny("--config-dir", tmp_path / "own", "observe=rows", "observe.every=4", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    assert "psnr_observed" in rows("run")[0]
    assert manifest("run")["name"].startswith("astronaut rows")
