"""Files that are written from top to bottom, read back by others."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.pictures import write as imagefile
from partinr.pictures.write import DEPTHS, Depth, depth_of, to_depth, write_picture
from tests.covering import covering

CASES = [(ending, depth) for ending, depths in DEPTHS.items() for depth in depths]


def bands(values: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    return (values[start : start + rows] for start in range(0, len(values), rows))


def read(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    found: Any
    if path.suffix == ".npy":
        found = np.load(path, allow_pickle=False)
        assert found.shape == shape
    elif path.suffix == ".png":
        decoded = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert decoded is not None
        found = decoded.reshape(shape)[:, :, ::-1]
    else:
        found = tifffile.imread(path)
    return np.asarray(found).reshape(shape)


@covering(
    15,
    kind=CASES,
    shape=[(1, 1, 1), (37, 23, 3), (37, 23, 1), (5, 300, 3), (300, 1, 1)],
    rows=[1, 13, 1000],
)
def test_what_is_written_is_what_others_read(
    kind: tuple[str, Depth], shape: tuple[int, ...], rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ending, depth = kind
    monkeypatch.setattr(imagefile, "_STRIP_BYTES", 2000)  # of several rows, and not as the bands have them
    values = np.random.default_rng(0).random(shape, dtype=np.float32)
    path = tmp_path / f"x{ending}"
    write_picture(path, shape, depth, bands(values, rows))
    wanted = to_depth(values, depth)
    found = read(path, shape)
    assert found.dtype == wanted.dtype
    assert (found == wanted).all()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_png_says_what_it_is(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((20, 30, 3), dtype=np.float32)
    for depth, mode in (("8", "RGB"), ("16", "RGB")):
        write_picture(tmp_path / "x.png", (20, 30, 3), depth, bands(values, 7))  # type: ignore[arg-type]
        with Image.open(tmp_path / "x.png") as picture:
            picture.verify()  # every chunk's checksum
            assert (picture.size, picture.mode) == ((30, 20), mode)
        assert (tmp_path / "x.png").read_bytes()[24] == int(depth)


def test_from_four_gigabytes_on_a_tiff_is_a_big_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, values = tmp_path / "x.tiff", np.zeros((4, 5, 3), dtype=np.float32)
    for limit, version in ((60, 42), (59, 43)):
        monkeypatch.setattr(imagefile, "_BIG_BYTES", limit)
        write_picture(path, values.shape, "8", [values])
        assert struct.unpack("<2sH", path.read_bytes()[:4]) == (b"II", version)
        assert tifffile.imread(path).shape == (4, 5, 3)


def test_a_gradient_has_a_place_in_npy_alone(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(7, 4, 3, 2)).astype(np.float32)
    write_picture(tmp_path / "x.npy", values.shape, "float", bands(values, 3))
    assert (np.load(tmp_path / "x.npy") == values).all()
    for ending in (".png", ".tif"):
        with pytest.raises(PartinrError, match=r"not for an array \[7, 4, 3, 2\]; give a file that ends in .npy"):
            write_picture(tmp_path / f"x{ending}", values.shape, depth_of(Path(f"x{ending}")), [values])
    with pytest.raises(PartinrError, match=r"not for an array \[7, 4, 2\]"):
        write_picture(tmp_path / "x.png", (7, 4, 2), "8", [values[..., 0, :]])


@pytest.mark.parametrize("ending", DEPTHS)
def test_an_interrupted_one_leaves_what_was_there(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{ending}"
    path.write_bytes(b"before")

    def broken() -> Iterator[np.ndarray]:
        yield np.zeros((5, 6, 3), dtype=np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_picture(path, (20, 6, 3), depth_of(path), broken())
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_rounding_and_what_cannot_be_drawn() -> None:
    values = np.array([-1, 0, 0.5, 1, 2, np.nan, np.inf, -np.inf], dtype=np.float32)
    assert to_depth(values, "8").tolist() == [0, 0, 128, 255, 255, 0, 0, 0]
    assert to_depth(values, "16").tolist() == [0, 0, 32768, 65535, 65535, 0, 0, 0]
    assert to_depth(values, "float") is values


def test_names_and_depths() -> None:
    assert [depth_of(Path(name)) for name in ("a.PNG", "b.tif", "c.npy")] == ["8", "8", "float"]
    assert depth_of(Path("b.TIFF"), "float") == "float"
    for name in ("a.jpg", "png", "a.npz"):
        with pytest.raises(PartinrError, match=r"give a file that ends in .png, .tif, .tiff or .npy"):
            depth_of(Path(name))
    with pytest.raises(PartinrError, match=r"a.png cannot hold pixels of depth float; give .* .tif or .tiff or .npy"):
        depth_of(Path("a.png"), "float")


def test_a_tiff_has_any_number_of_channels_and_a_png_does_not(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((7, 9, 5), dtype=np.float32)
    write_picture(tmp_path / "x.tif", values.shape, "float", [values[:4], values[4:]])
    assert (tifffile.imread(tmp_path / "x.tif") == values).all()
    with pytest.raises(PartinrError, match=r"not for an array \[7, 9, 5\]; give a file that ends in .npy or .tif"):
        write_picture(tmp_path / "x.png", values.shape, "8", [values])
