"""``partinr export``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import partinr as api
from partinr.experiment import export as module
from partinr.metrics.rate import MeanRate, Rate, codec_rates
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import RATE

Copy = Callable[[Path], Path]

SHAPES = {"a": (32, 32), "b": (24, 40), "c": (32, 32)}


@pytest.fixture(scope="module")
def album(partinr: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over a folder of three smooth images of two sizes, for reading only."""
    folder = tmp_path_factory.mktemp("album")
    (folder / "photos").mkdir()
    for number, (name, (height, width)) in enumerate(SHAPES.items(), 1):
        rows, columns = np.mgrid[:height, :width] / 32
        values = np.stack([rows, columns, np.sin(4 * number * rows * columns) / 2 + 0.5], axis=-1)
        Image.fromarray((255 * values.clip(0, 1)).astype(np.uint8)).save(folder / "photos" / f"{name}.png")
    words = ("data=folder", f"data.path={folder / 'photos'}", "partition=kmeans", "partition.regions=4")
    answer = partinr(
        *words, "backbone.match_params=500", "max_steps=20", "cache_dir=null", f"hydra.run.dir={folder / 'run'}"
    )
    assert answer.code == 0, answer.err
    return folder / "run"


def test_a_small_file_and_what_it_costs(partinr: Any, finished: Path, copy_of: Copy) -> None:
    run = copy_of(finished)
    answer = partinr("export", run, "-o", "small.safetensors", "--bits", "16", "--per", "tensor")
    assert (answer.code, answer.err) == (0, "")
    *table, last = answer.out.splitlines()
    assert re.fullmatch(r"small\.safetensors  int16 tensor, [\d,]+ bytes, \d+\.\d\d dB", last)
    assert [line.split()[0] for line in table] == ["weights", "float32", *["int16"] * 2, *["int8"] * 2]
    assert max(map(len, table)) <= 100
    # So few pixels take more as networks than in the best qualities of JPEG and WebP.
    assert table[1].count(">") == 2

    model, small = api.load(run), api.load("small.safetensors")
    torch.testing.assert_close(small.render(), model.render(), rtol=0, atol=2e-3)
    answer = partinr("render", "small.safetensors", "-o", "small.png")
    assert answer.out == "small.png  16×16\n"
    rows = RunDirectory.open(run).rate()
    by_setting = {row["setting"]: row for row in rows if row["coder"] == "fit"}
    assert by_setting["int16 tensor"]["file_bytes"] == Path("small.safetensors").stat().st_size
    assert by_setting["float32"]["weight_bits"] == 32 * model.parameter_count
    assert {row["label_bits"] for row in rows} == {0}  # a grid
    assert by_setting["float32"]["bpp"] == by_setting["float32"]["bits"] / 16**2
    assert {row["step"] for row in rows} == {3}
    assert {row["coder"] for row in rows} == {"fit", "jpeg", "webp"}
    # What the run says of itself is of the values before they are rounded to 8 bits.
    assert by_setting["float32"]["psnr"] == pytest.approx(api.load_run(run).psnr, abs=0.1)


def test_a_map_that_somebody_has_to_store_is_counted(partinr: Any, tiny: Any) -> None:
    assert tiny("partition=kmeans", "hydra.run.dir=run").code == 0
    assert partinr("export", "run").code == 0
    [*_, bits] = {row["label_bits"] for row in RunDirectory.open("run").rate() if row["coder"] == "fit"}
    assert bits == api.load("run").partition.bits > 0


def test_several_runs_are_measured(partinr: Any, finished: Path, copy_of: Copy) -> None:
    run = copy_of(finished)
    answer = partinr("export", run, finished, "-o", "x.safetensors")
    assert answer.code == 2
    assert "give one run" in answer.err
    assert not (run / RATE).exists()
    other = run.with_name("other")
    run.rename(other)
    run = copy_of(finished)
    assert partinr("export", run, other).code == 0
    assert (run / RATE).read_bytes() == (other / RATE).read_bytes()


def test_a_folder_is_measured_image_by_image(partinr: Any, album: Path, copy_of: Copy) -> None:
    run = copy_of(album)
    answer = partinr("export", run)
    assert (answer.code, answer.err) == (0, "")
    head, *table = answer.out.splitlines()
    assert head == f"{run}: mean over 3 images"
    assert [line.split()[0] for line in table] == ["weights", "float32", *["int16"] * 2, *["int8"] * 2]

    directory = RunDirectory.open(run)
    means, each = directory.rate(), {name: directory.rate(name) for name in SHAPES}
    key = ("step", "coder", "setting")
    for at, mean in enumerate(means):
        own = [each[name][at] for name in SHAPES]
        assert {tuple(row[name] for name in key) for row in own} == {tuple(mean[name] for name in key)}
        for row, shape in zip(own, SHAPES.values(), strict=True):
            assert row["bpp"] == row["bits"] / np.prod(shape)
        assert mean["bpp"] == pytest.approx(np.mean([row["bpp"] for row in own]))
        assert mean["psnr"] == pytest.approx(np.mean([row["psnr"] for row in own]))
        for name in ("bits", "weight_bits", "scale_bits", "label_bits", "file_bytes", "deflated_bytes"):
            assert mean[name] == sum(row[name] for row in own)
    # A map that follows the image has to be stored with each.
    for name, rows in each.items():
        maps = {row["label_bits"] for row in rows if row["coder"] == "fit"}
        assert maps == {api.load(run, name).partition.bits} != {0}
    for line, mean in zip(table[1:], means, strict=False):
        assert line.startswith(f"{mean['setting']} ")
        assert {f"{mean['bpp']:.3f}", f"{mean['psnr']:.2f}"} <= set(line.split())
    # What the run says of itself is of the values before they are rounded to 8 bits.
    assert means[0]["psnr"] == pytest.approx(api.load_run(run).psnr, abs=0.1)


def test_an_image_of_a_folder_is_measured_as_it_would_be_alone(partinr: Any, album: Path, copy_of: Copy) -> None:
    run = copy_of(album)
    answer = partinr("export", run, "-o", "small.safetensors")
    assert answer.code == 2
    assert "fitted 3 images; choose one with --image NAME" in answer.err
    assert not list(run.rglob(RATE))
    answer = partinr("export", run, "--image", "b", "-o", "small.safetensors")
    assert (answer.code, answer.err) == (0, "")
    assert [path.parent.name for path in run.rglob(RATE)] == ["b"]
    assert api.load("small.safetensors").partition.shape == SHAPES["b"]
    alone = (run / "images" / "b" / RATE).read_bytes()
    assert partinr("export", run).code == 0
    assert (run / "images" / "b" / RATE).read_bytes() == alone


def test_jpeg_and_webp_are_measured_once_an_image(
    partinr: Any, album: Path, copy_of: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def counting(image: Any) -> list[Rate]:
        measured.append(image.shape[:2])
        return codec_rates(image)

    monkeypatch.setattr("partinr.experiment.export.codec_rates", counting)
    first = copy_of(album)
    second = first.with_name("second")
    first.rename(second)
    first = copy_of(album)
    answer = partinr("export", first, second)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.count("mean over 3 images") == 2
    assert measured == list(SHAPES.values())
    for name in (None, *SHAPES):
        assert RunDirectory.open(first).rate(name) == RunDirectory.open(second).rate(name)


def test_an_image_that_is_gone_is_named(partinr: Any, album: Path, copy_of: Copy) -> None:
    run = copy_of(album)
    (run / "images" / "c" / "image.png").unlink()
    answer = partinr("export", run)
    assert answer.code == 2
    assert str(Path("images/c/image.png")) in answer.err
    # There is no mean of fewer images than the run has.
    assert not (run / RATE).exists()


def test_what_cannot_be_exported(partinr: Any, finished: Path, copy_of: Copy) -> None:
    run = copy_of(finished)
    for words, said in (
        ((run, "--bits", "4"), "'4' is not one of '8', '16'"),
        ((run, "--image", "a"), "leave out the image 'a'"),
        ((run, "-o", "small/small/x"), None),
        ((run.parent,), "is not a run directory"),
        ((run, "-o", run), "cannot write"),
    ):
        answer = partinr("export", *words)
        assert (answer.code == 0) == (said is None)
        assert said is None or said in answer.err


def test_a_change_that_rounds_to_nothing_has_no_sign() -> None:
    for change, said in [(-0.004, "0.00"), (0.004, "0.00"), (-0.006, "-0.01"), (0.5, "+0.50")]:
        psnr = {"float32": 30.0, "int16": 30 + change}
        fits = [Rate("fit", setting, 8, 0, 0, 1, 1, 8, value) for setting, value in psnr.items()]
        *_, shown = module._table([MeanRate([rate]) for rate in fits]).columns[8].cells
        assert shown == said
