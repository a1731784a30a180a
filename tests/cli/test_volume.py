"""A volume from the command line: fitted, continued, rendered, reported and exported, with one and two channels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile

from tests.read_back import curve, manifest

AFFINE = np.diag([-2.0, 1.0, 0.5, 1.0])
CUT = ("partition=grid", "partition.regions=4", "backbone.match_params=600", "regime.evaluate_every=5")
SMALL = (*CUT, "engine=batched", "trainer.accelerator=cpu")


@pytest.fixture(scope="module", params=[1, pytest.param(2, marks=pytest.mark.slow)])
def scan(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Words that select a volume of one or two channels."""
    channels, path = request.param, tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    values = np.linspace(-50, 150, 8 * 9 * 10 * channels, dtype=np.float32).reshape(8, 9, 10, channels)
    nib.save(nib.Nifti1Image(values[..., 0] if channels == 1 else values, AFFINE), path)
    return ("data=volume", f"data.path={path}", *(("data.frame=all",) if channels > 1 else ()))


@pytest.fixture(scope="module")
def fitted(scan: tuple[str, ...], partinr: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run: Path = tmp_path_factory.mktemp("volume") / "run"
    answer = partinr(*scan, *SMALL, "max_steps=10", f"hydra.run.dir={run}")
    assert answer.code == 0, answer.err
    return run


def test_a_run_keeps_units_place_and_slices(fitted: Path) -> None:
    kind = manifest(fitted)["signal"]["kind"]
    assert (kind["name"], kind["low"], kind["high"], kind["directions"]) == ("volume", -50, 150, ["L", "A", "S"])
    assert np.allclose(kind["affine"], AFFINE)
    assert {path.name for path in fitted.glob("*.png")} == {
        "image.png", "partition.png", "reconstruction.png", "error.png"
    }  # fmt: skip


def test_what_is_done_with_a_run(fitted: Path, scan: tuple[str, ...], partinr: Any, copy_of: Any) -> None:
    run, channels = copy_of(fitted), len(scan) - 1
    rest = () if channels == 1 else (channels,)
    for output in ("whole.nii.gz", "stack.tif", "array.npy", "slices.png"):
        assert partinr("render", run / "inr.safetensors", "-o", output).code == 0
    whole: Any = nib.load("whole.nii.gz")
    array = np.load("array.npy")
    assert whole.shape == (8, 9, 10, *rest)
    assert np.allclose(whole.affine, AFFINE)
    assert np.allclose(whole.get_fdata().reshape(array.shape), -50 + 200 * array.clip(0, 1), atol=1e-3)
    assert np.moveaxis(tifffile.imread("stack.tif").reshape(8, channels, 9, 10), 1, 3).shape == array.shape
    answer = partinr("render", run, "--spacing", "0.5", "--crop", "2:6,0:9,0:10", "-o", "part.nii")
    assert "16×18×10 samples of 0.5×0.5×0.5 mm" in answer.out, answer.err
    # Centres of smaller samples lie nearer to the edge of the part.
    part: Any = nib.load("part.nii")
    assert np.allclose(part.affine @ [0, 0, 0, 1], AFFINE @ [2 - 0.375, -0.25, 0, 1])
    assert partinr("export", run, "-o", "small.safetensors").code == 0
    assert partinr("report", run, "-o", "report.html").code == 0
    assert partinr("view", run, "-o", "view.html").code == 0
    answer = partinr("render", run, "--rate", "8000", "-o", "x.nii")
    assert (answer.code, "not for this kind of signal (volume)" in answer.err) == (2, True)


def test_a_stopped_run_goes_on_bit_by_bit(fitted: Path, scan: tuple[str, ...], partinr: Any) -> None:
    assert partinr(*scan, *SMALL, "max_steps=5", "hydra.run.dir=half").code == 0
    more = ("max_steps=10", "ckpt_path=half/checkpoints/last.ckpt", "hydra.run.dir=more")
    answer = partinr(*scan, *SMALL, *more)
    assert answer.code == 0, answer.err
    assert curve("more") == curve(fitted)
    assert Path("more/inr.safetensors").read_bytes() == (fitted / "inr.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["regions", "samples"])
def test_two_processes_fit_it_as_one_does(shard: str, fitted: Path, scan: tuple[str, ...], partinr: Any) -> None:
    words = ("trainer=ddp", "trainer.devices=2", f"shard={shard}", "max_steps=10", "hydra.run.dir=two")
    answer = partinr(*scan, *SMALL, *words)
    assert answer.code == 0, answer.err
    assert manifest("two")["metrics"]["psnr"] == pytest.approx(manifest(fitted)["metrics"]["psnr"], rel=1e-3)


def test_without_the_extra_a_line_says_what_to_install(
    scan: tuple[str, ...], partinr: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nibabel", None)
    answer = partinr(*scan, *SMALL, "max_steps=1")
    assert (answer.code, "pip install 'partinr[volume]'" in answer.err) == (2, True)
