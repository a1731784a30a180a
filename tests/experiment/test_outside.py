"""A regime from outside of the repository has the same rights: it trains, resumes, shards, reports."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.read_back import curve, manifest

CODE = """
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from partinr.regimes import FitSettings
from partinr.spec import spec


@spec
class Inpaint(FitSettings):
    kind: ClassVar[str] = "inpaint"

    seen: Annotated[float, Field(gt=0, le=1)] = 0.3
    threshold: float = 0.5  # a key that another regime has as well

    def sample_weights(self, partitions, seed):
        samples = sum(partition.labels.numel() for partition in partitions)
        order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
        mask = torch.zeros(samples)
        mask[order[: round(self.seen * samples)]] = 1
        return (mask / mask.mean()).unsqueeze(1)
"""

TINY = ("data.size=24", "partition.regions=4", "backbone.hidden_features=12", "optimizer.lr=1e-3", "cache_dir=null")


@pytest.fixture
def inpaint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An installed package with the regime, and the override that finds its YAML."""
    site = tmp_path / "site"
    (site / "conf" / "regime").mkdir(parents=True)
    (site / "outside_inpaint.py").write_text(CODE)
    (site / "conf" / "regime" / "inpaint.yaml").write_text("_target_: outside_inpaint.Inpaint\nseen: 0.3\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)
    yield f"hydra.searchpath=[file://{site / 'conf'}]"
    sys.modules.pop("outside_inpaint", None)


@pytest.mark.slow
def test_it_trains_resumes_shards_and_reports(
    inpaint: str, partinr: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (inpaint, "regime=inpaint", *TINY)
    whole, first, second, both = (tmp_path / "runs" / name for name in ("whole", "first", "second", "both"))
    answer = partinr(*command, "max_steps=20", f"hydra.run.dir={whole}")
    assert answer.code == 0, answer.err
    assert manifest(whole)["regime"]["kind"] == "inpaint"
    # The loss is that of what is seen, the metric that of all: the part that is not seen is worse.
    plain = tmp_path / "plain"
    assert partinr(*TINY, "max_steps=20", f"hydra.run.dir={plain}").code == 0
    assert curve(plain)[0] == curve(whole)[0]
    assert curve(plain)[-1]["psnr"] != curve(whole)[-1]["psnr"]

    # A resumed run equals an unbroken one; a checkpoint of the other regime, or of another mask, is refused.
    assert partinr(*command, "max_steps=7", f"hydra.run.dir={first}").code == 0
    checkpoint = f"ckpt_path={first / 'checkpoints' / 'last.ckpt'}"
    assert partinr(*command, "max_steps=20", checkpoint, f"hydra.run.dir={second}").code == 0
    assert curve(second) == curve(whole)
    for other, why in (((inpaint, *TINY), "its kind is inpaint"), ((*command, "regime.seen=0.5"), "its regime.seen")):
        refused = partinr(*other, "max_steps=20", checkpoint, "hydra.run.dir=never")
        assert refused.code == 2
        assert why in refused.err

    # Two processes give the same curve.
    answer = partinr(*command, "max_steps=20", "trainer=ddp", "trainer.devices=2", f"hydra.run.dir={both}")
    assert answer.code == 0, answer.err
    for row, expected in zip(curve(both), curve(whole), strict=True):
        assert float(row["psnr"]) == pytest.approx(float(expected["psnr"]), abs=1e-3)

    # Report and table need the run directories alone.
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("outside_inpaint", None)
    assert "outside_inpaint" not in sys.modules
    report = tmp_path / "report.html"
    answer = partinr("report", tmp_path / "runs", "-o", report)
    assert answer.code == 0, answer.err
    assert "inpaint" in report.read_text()
    answer = partinr("table", tmp_path / "runs")
    assert answer.code == 0, answer.err
    assert f"{manifest(whole)['metrics']['psnr']:.2f}" in answer.out
    assert partinr("runs", tmp_path / "runs").code == 0
    assert partinr("render", whole, "-o", tmp_path / "whole.png").code == 0
