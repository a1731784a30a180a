"""A surface from the command line: fitted, continued, rendered, reported and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trimesh

from tests.read_back import curve, manifest

TORUS: tuple[str, ...] = ("data=sdf", "data.resolution=20", "partition=grid", "partition.regions=8", "backbone=relu_pe")
TORUS += ("backbone.match_params=4000", "regime.points_per_step=2000", "regime.evaluate_every=20", "engine=batched")
TORUS += ("regime.jitter=true", "optimizer.lr=0.01", "trainer.accelerator=cpu")


@pytest.fixture(scope="module")
def torus(partinr: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run: Path = tmp_path_factory.mktemp("torus") / "run"
    answer = partinr(*TORUS, "max_steps=40", f"hydra.run.dir={run}")
    assert answer.code == 0, answer.err
    assert "IoU" in answer.out
    return run


def test_a_run_measures_draws_and_keeps_the_surface(torus: Path) -> None:
    said = manifest(torus)
    assert said["signal"]["kind"]["name"] == "field"
    assert said["metrics"]["iou"] == pytest.approx(float(curve(torus)[-1]["iou"]))
    assert {"iou", "chamfer", "eikonal"} <= curve(torus)[-1].keys()
    assert {path.name for path in torus.glob("*.p[nl][gy]")} == {
        "image.png", "partition.png", "reconstruction.png", "error.png", "signal.ply", "reconstruction.ply"
    }  # fmt: skip
    assert trimesh.load_mesh(torus / "signal.ply").euler_number == 0


def test_what_is_done_with_a_run(torus: Path, partinr: Any, copy_of: Any) -> None:
    run = copy_of(torus)
    answer = partinr("render", run, "--spacing", "0.05", "-o", "fine.ply")
    assert answer.code == 0, answer.err
    assert "40×40×40 samples" in answer.out
    # The file alone says what it is of.
    assert partinr("render", run / "inr.safetensors", "--scale", "2", "-o", "same.ply").code == 0
    assert Path("same.ply").read_bytes() == Path("fine.ply").read_bytes()
    assert partinr("export", run, "-o", "small.safetensors").code == 0
    assert partinr("report", run, "-o", "report.html").code == 0
    assert "Chamfer" in Path("report.html").read_text(encoding="utf-8")
    answer = partinr("render", run, "--rate", "8000", "-o", "fine.ply")
    assert (answer.code, "not for this kind of signal (field)" in answer.err) == (2, True)


@pytest.mark.slow
def test_a_stopped_run_goes_on_bit_by_bit(torus: Path, partinr: Any) -> None:
    assert partinr(*TORUS, "max_steps=20", "hydra.run.dir=half").code == 0
    more = ("max_steps=40", "ckpt_path=half/checkpoints/last.ckpt", "hydra.run.dir=more")
    assert partinr(*TORUS, *more).code == 0
    assert curve("more") == curve(torus)
    for file in ("inr.safetensors", "reconstruction.ply"):
        assert (Path("more") / file).read_bytes() == (torus / file).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["regions", "samples"])
def test_two_processes_fit_it_as_one_does(torus: Path, partinr: Any, shard: str) -> None:
    words = ("trainer=ddp", "trainer.devices=2", f"shard={shard}", "max_steps=40", "hydra.run.dir=two")
    answer = partinr(*TORUS, *words)
    assert answer.code == 0, answer.err
    for name in ("psnr", "iou"):
        assert manifest("two")["metrics"][name] == pytest.approx(manifest(torus)["metrics"][name], rel=1e-2)
