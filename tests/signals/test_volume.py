"""Volumes from files: what a writer wrote is what is fitted, in its place in space."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
import torch

from partinr.base.errors import PartinrError
from partinr.signals import VolumeData
from partinr.signals.kinds import VolumeKind
from partinr.signals.scans import open_scan
from tests.covering import cases

RNG = np.random.default_rng(0)
AFFINE = np.array([[0, 0, -3.0, 10], [-2.0, 0, 0, 20], [0, 1.5, 0, -30], [0, 0, 0, 1]])


@pytest.fixture
def nifti(tmp_path: Path) -> Path:
    """Hounsfield units as a scanner stores them: whole numbers with a slope, in an order of axes of its own."""
    stored = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    image = nibabel.Nifti1Image(stored, AFFINE)
    image.header.set_slope_inter(2.0, -100.0)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def volume(path: Path, **options: Any) -> Any:
    values, identity, kind, _ = VolumeData(path=str(path), **options).read()
    assert isinstance(kind, VolumeKind)
    return SimpleNamespace(values=values, identity=identity, kind=kind, affine=np.array(kind.affine))


def test_a_nifti_keeps_units_order_and_place(nifti: Path) -> None:
    found = volume(nifti)
    physical = found.kind.physical(found.values[..., 0].numpy())
    assert np.allclose(physical, np.arange(120).reshape(4, 5, 6) * 2 - 100, atol=1e-4)
    assert (found.kind.low, found.kind.high) == (-100, 138)
    assert np.allclose(found.affine, AFFINE)
    assert found.kind.directions == ["P", "S", "L"]
    assert VolumeData(path=str(nifti)).title == "scan"
    windowed = volume(nifti, low=0.0, high=100.0)
    assert torch.allclose(windowed.values, (torch.from_numpy(physical[..., None]) / 100).clamp(0, 1), atol=1e-5)
    assert windowed.identity.pixels_sha256 != found.identity.pixels_sha256


def test_a_part_lies_where_it_lay(nifti: Path) -> None:
    whole, part = volume(nifti), volume(nifti, crop=[[1, 4], [0, 5], [2, 6]], stride=2, low=-100.0, high=138.0)
    assert torch.equal(part.values, whole.values[1:4:2, 0:5:2, 2:6:2])
    assert np.allclose(part.affine @ [1, 1, 1, 1], AFFINE @ [3, 2, 4, 1])
    # The mean of eight samples lies in their middle.
    small = volume(nifti, crop=[[0, 4], [0, 4], [0, 6]], size=[2, 2, 3], low=-100.0, high=138.0)
    assert torch.allclose(small.values[0, 0, 0], whole.values[:2, :2, :2].mean((0, 1, 2)))
    assert np.allclose(small.affine @ [0, 0, 0, 1], AFFINE @ [0.5, 0.5, 0.5, 1])
    assert volume(nifti, size=12).values.shape == (8, 10, 12, 1)


def test_four_axes_are_channels_or_one_of_them(tmp_path: Path) -> None:
    values = RNG.random((3, 4, 5, 2), dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "two.nii")
    assert np.allclose(volume(tmp_path / "two.nii", frame="all", low=0.0, high=1.0).values, values)
    assert np.allclose(volume(tmp_path / "two.nii", frame=1, low=0.0, high=1.0).values, values[..., 1:])
    for options, said in [({}, r"holds 2 volumes; .*data.frame=0 … 1, .*data.frame=all"), ({"frame": 2}, "give 0 … 1")]:
        with pytest.raises(PartinrError, match=said):
            volume(tmp_path / "two.nii", **options)


@pytest.mark.parametrize("channels", [1, 2])
def test_stacks_and_arrays(channels: int, tmp_path: Path) -> None:
    values = RNG.random((5, 6, 7, channels), dtype=np.float32)
    squeezed = values[..., 0] if channels == 1 else values
    np.save(tmp_path / "x.npy", squeezed)
    behind: dict[str, Any] = {} if channels == 1 else {"planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "x.tif", squeezed, photometric="minisblack", **behind)
    planes = np.moveaxis(values, -1, 1)
    described = {"axes": "ZCYX", "spacing": 3.0, "unit": "mm"}
    tifffile.imwrite(tmp_path / "ij.tif", planes, imagej=True, resolution=(2, 4), metadata=described)
    for name, spacing in [("x.npy", (1, 1, 1)), ("x.tif", (1, 1, 1)), ("ij.tif", (3, 0.25, 0.5))]:
        found = volume(tmp_path / name, low=0.0, high=1.0)
        assert np.allclose(found.values, values), name
        assert np.allclose(found.kind.spacing, spacing), name
        assert found.kind.directions == ["z", "y", "x"]
    own = volume(tmp_path / "x.npy", spacing=[4.0, 1.0, 2.0])
    assert own.kind.spacing == (4, 1, 2)


def test_what_is_no_volume(tmp_path: Path) -> None:
    broken = np.ones((3, 4, 5), np.float32)
    broken[0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(broken, np.eye(4)), tmp_path / "nan.nii")
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4)), tmp_path / "flat.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5, 2, 2), np.uint8), np.eye(4)), tmp_path / "five.nii")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "flat.nii.gz").read_bytes()[:60])
    (tmp_path / "cut.nii").write_bytes((tmp_path / "nan.nii").read_bytes()[:400])
    tifffile.imwrite(tmp_path / "one.tif", np.zeros((6, 7), np.uint8))
    (tmp_path / "none.tif").write_bytes(b"II*\0\0\0\0\0")
    np.save(tmp_path / "flat.npy", np.zeros((4, 5)))
    np.save(tmp_path / "empty.npy", np.zeros((0, 4, 5)))
    np.save(tmp_path / "complex.npy", np.zeros((3, 4, 5), complex))
    (tmp_path / "x.txt").write_text("no volume")
    (tmp_path / "nothing.nii").touch()
    for name, said in {
        "nan.nii": "has 1 of 60 values that are NaN .*data.fill=0",
        "flat.nii.gz": "has the value 1 everywhere; .*data.low and data.high",
        "five.nii": r"has the shape \[3, 4, 5, 2, 2\]; save one volume",
        "cut.nii.gz": "is a damaged gzip file",
        "cut.nii": "cannot be read as NIfTI",
        "one.tif": "one picture, not a stack; fit it with data=image",
        "none.tif": "TIFF",
        "flat.npy": r"has the shape \[4, 5\]; give an array of three axes",
        "empty.npy": r"has the shape \[0, 4, 5\]",
        "complex.npy": "holds complex128 values",
        "x.txt": "not a volume that can be read here; give NIfTI",
        "nothing.nii": "is an empty file",
        "missing.nii": "no such file",
    }.items():
        with pytest.raises(PartinrError, match=said):
            volume(tmp_path / name)
    # What the messages advise works.
    assert volume(tmp_path / "nan.nii", fill=0.0).values.sum() == 59
    assert volume(tmp_path / "flat.nii.gz", low=0.0, high=2.0).values.unique() == 0.5


def test_options_without_a_meaning(nifti: Path) -> None:
    for options, said in cases(
        ({"low": 1.0, "high": 1.0}, "is not below"),
        ({"low": 500.0}, "the window from 500 to 138 is empty"),
        ({"crop": [[0, 4], [3, 3], [0, 6]]}, "data.crop has 3 to 3"),
        ({"crop": [[0, 4], [0, 9], [0, 6]]}, "ends at 9, but .* has 4×5×6 samples"),
        ({"frame": 1}, "holds one volume; leave it out"),
    ):
        with pytest.raises(PartinrError, match=said):
            volume(nifti, **options)


def test_a_large_volume_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("partinr.signals.volume.MAX_PIXELS", 100)
    np.save(tmp_path / "x.npy", np.arange(512.0).reshape(8, 8, 8))
    with pytest.raises(PartinrError, match=r"512 samples .* more than the 100 .* give data.crop or data.stride"):
        volume(tmp_path / "x.npy")
    assert volume(tmp_path / "x.npy", stride=2).values.shape == (4, 4, 4, 1)
    assert open_scan(tmp_path / "x.npy").shape == (8, 8, 8)
