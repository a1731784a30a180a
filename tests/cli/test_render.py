"""``partinr render``: kinds of files, sizes, parts, derivatives, and what is refused before any work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

import partinr as api
from partinr.experiment import render as module


def test_a_file_of_floats_is_the_function_itself(partinr: Any, finished: Path) -> None:
    wanted = api.load(finished).render(2).numpy()
    for name, read in (("x.npy", np.load), ("x.tif", tifffile.imread), ("x.tiff", tifffile.imread)):
        words = ["--depth", "float"] if name != "x.npy" else []
        answer = partinr("render", finished, "--scale", "2", *words, "-o", name)
        assert (answer.code, answer.out, answer.err) == (0, f"{name}  32×32{'×3' if name == 'x.npy' else ''}\n", "")
        found = read(name)
        assert found.dtype == np.float32
        assert (found == wanted).all()


@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_sixteen_bits(partinr: Any, finished: Path, name: str) -> None:
    assert partinr("render", finished, "--depth", "16", "-o", name).code == 0
    found = cv2.imread(name, cv2.IMREAD_UNCHANGED)
    assert found is not None
    assert found.dtype == np.uint16
    wanted = api.load(finished).render().numpy()
    assert np.abs(found[:, :, ::-1] / 65535 - wanted).max() <= 0.51 / 65535


def test_a_size_and_a_part(partinr: Any, finished: Path) -> None:
    model = api.load(finished)
    answer = partinr("render", finished, "--size", "20,50", "-o", "x.npy")
    assert (answer.code, answer.out) == (0, "x.npy  20×50×3\n")
    assert (np.load("x.npy") == model.render(shape=(20, 50)).numpy()).all()
    answer = partinr("render", finished, "--crop", "2:6, 0.5:10.25", "--scale", "4", "-o", "x.npy")
    assert (answer.code, answer.out) == (0, "x.npy  16×39×3\n")
    assert (np.load("x.npy") == model.render(4, crop=((2, 6), (0.5, 10.25))).numpy()).all()
    answer = partinr("render", finished, "--crop", "2:6,0:1", "--size", "3,7", "-o", "x.npy")
    assert (np.load("x.npy") == model.render(shape=(3, 7), crop=((2, 6), (0, 1))).numpy()).all()


def test_the_file_alone_is_enough(partinr: Any, finished: Path) -> None:
    Path("photo.safetensors").write_bytes((finished / "inr.safetensors").read_bytes())
    assert partinr("render", "photo.safetensors", "-o", "x.png").code == 0
    assert partinr("render", finished, "-o", "y.png").code == 0
    assert Path("x.png").read_bytes() == Path("y.png").read_bytes()
    answer = partinr("render", "photo.safetensors", "--image", "a", "-o", "x.png")
    assert answer.code == 2
    assert "holds one image; leave out --image a" in answer.err


def test_derivatives(partinr: Any, finished: Path) -> None:
    model = api.load(finished)
    gradient, laplacian = (model.render(3, field=field).numpy() for field in ("gradient", "laplacian"))
    words = ["render", finished, "--scale", "3", "--show"]
    assert partinr(*words, "gradient", "-o", "x.npy").out == "x.npy  48×48×3×2\n"
    assert np.array_equal(np.load("x.npy"), gradient)
    assert partinr(*words, "laplacian", "-o", "x.npy").out == "x.npy  48×48×3\n"
    assert np.array_equal(np.load("x.npy"), laplacian)
    length = np.linalg.norm(gradient, axis=-1)
    assert partinr(*words, "gradient", "--depth", "float", "-o", "x.tif").code == 0
    np.testing.assert_allclose(tifffile.imread("x.tif"), length, rtol=1e-6)

    answer = partinr(*words, "gradient", "--range", "0.25", "-o", "x.png")
    assert answer.out == "x.png  48×48  black is 0, white 0.25 per pixel\n"
    shown = np.asarray(Image.open("x.png")) / 255
    assert np.abs(shown - (length / 0.25).clip(0, 1)).max() <= 0.51 / 255
    answer = partinr(*words, "laplacian", "--range", "0.5", "-o", "x.png")
    assert answer.out == "x.png  48×48  black is -0.5, white 0.5 per pixel squared\n"
    shown = np.asarray(Image.open("x.png")) / 255
    assert np.abs(shown - (laplacian + 0.5).clip(0, 1)).max() <= 0.51 / 255


def test_the_range_of_a_derivative_suits_it(partinr: Any, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PROBE", 10)  # of 48 places along an axis every fifth
    length = api.load(finished).render(3, field="gradient").norm(dim=-1)
    answer = partinr("render", finished, "--scale", "3", "--show", "gradient", "-o", "x.png")
    found = re.fullmatch(r"x.png  48×48  black is 0, white (\S+) per pixel\n", answer.out)
    assert found is not None
    assert float(found[1]) == pytest.approx(float(length[::5, ::5].quantile(0.995)), rel=0.01)


def test_a_line_under_no_terminal_and_a_bar_under_one(
    partinr: Any, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PROGRESS_FROM", 1)
    assert partinr("render", finished, "-o", "x.png").err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    answer = partinr("render", finished, "-o", "y.png")
    assert answer.code == 0
    assert "rendering" in answer.err
    assert Path("x.png").read_bytes() == Path("y.png").read_bytes()


def test_nothing_is_begun_without_room(partinr: Any, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api.PiecewiseINR, "bands", lambda *_, **__: pytest.fail("work was begun"))
    answer = partinr("render", finished, "--size", "1000000,1000000", "-o", "x.tif")
    assert answer.code == 2
    assert re.fullmatch(r"partinr: error: x.tif would take 3000.0 GB, and .* GB are free; .*\n", answer.err)
    assert not list(Path().glob("*.tif"))


def test_a_line_is_no_picture(partinr: Any, tmp_path: Path) -> None:
    model = api.PiecewiseINR(
        api.partition.Grid(regions=2)(torch.zeros(9, 1)), api.backbones.Siren(hidden_features=2), channels=1
    )
    (tmp_path / "line.safetensors").write_bytes(model.to_bytes())
    answer = partinr("render", "line.safetensors", "-o", "x.png")
    assert answer.code == 2
    assert "cannot write x.png: the fitted signal is no picture; give a file that ends in .npy" in answer.err
    assert partinr("render", "line.safetensors", "--size", "5", "-o", "x.npy").out == "x.npy  5×1\n"
    assert np.array_equal(np.load("x.npy"), model.render(shape=(5,)).numpy())


def test_the_help_is_readable(partinr: Any) -> None:
    lines = partinr("render", "--help").out.splitlines()
    assert max(map(len, lines)) <= 100
    for option in ("--scale", "--size", "--crop", "--depth", "--show", "--range", "--image", "--smooth"):
        assert any(line.strip().startswith(option) for line in lines)
