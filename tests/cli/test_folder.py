"""``data=folder`` with the ordinary regime: all images as one stack, from the command line to the report."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import partinr as api
from partinr.runs.layout import CHECKPOINT, CLOCK_COLUMNS, ERROR, IMAGE, PARTITION, RECONSTRUCTION, WEIGHTS
from tests.read_back import manifest

SHAPES = {"a": (16, 16), "b": (12, 20), "c": (16, 16)}
WORDS = ("data=folder", "partition.regions=4", "backbone.match_params=500", "max_steps=3")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photographs of two sizes."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in SHAPES.items():
        Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def album(partinr: Any, photos: Path) -> Path:
    """A run directory with a completed run on them, for reading only."""
    run = photos.parent / "run"
    answer = partinr(*WORDS, f"data.path={photos}", "cache_dir=null", f"hydra.run.dir={run}")
    assert answer.code == 0, answer.err
    assert answer.err == ""
    return run


def test_the_run_directory_is_whole(album: Path) -> None:
    files = {IMAGE, PARTITION, RECONSTRUCTION, ERROR, WEIGHTS}
    assert {path.name for path in album.iterdir()} == {
        ".hydra",
        ".lock",
        "run.json",
        "curve.csv",
        "images.csv",
        "images",
        "checkpoints",
    }
    assert {str(path.relative_to(album / "images")) for path in (album / "images").rglob("*.*")} == {
        f"{name}/{file}" for name in SHAPES for file in files
    }
    said = manifest(album)
    assert (said["status"], said["name"], said["regions"]) == ("completed", "photos grid siren", 12)
    assert said["signal"]["name"] == "photos"
    assert {name: tuple(of["shape"]) for name, of in said["images"].items()} == {
        name: (*shape, 3) for name, shape in SHAPES.items()
    }
    with (album / "images.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-len(SHAPES) :]
    assert [row["image"] for row in last] == list(SHAPES)
    assert said["metrics"]["psnr"] == pytest.approx(sum(float(row["psnr"]) for row in last) / len(SHAPES))


def test_an_image_has_what_it_would_have_alone(partinr: Any, album: Path, photos: Path) -> None:
    words = [word for word in WORDS if word != "data=folder"]
    assert partinr("data=image", *words, f"data.path={photos / 'b.png'}", "hydra.run.dir=alone").code == 0
    alone, image = manifest(Path("alone")), manifest(album)["images"]["b"]
    assert (image["regions"], image["parameters"]) == (alone["regions"], alone["parameters"])
    assert image["psnr"] == pytest.approx(alone["metrics"]["psnr"], rel=1e-4)
    one, other = api.load(album, "b"), api.load("alone")
    for name, value in one.stack.items():
        torch.testing.assert_close(value, other.stack[name], rtol=1e-3, atol=1e-5)


def test_an_image_of_many_is_chosen_by_name(partinr: Any, album: Path, finished: Path) -> None:
    answer = partinr("render", album, "--image", "b", "-o", "b.png", "--scale", "2")
    assert answer.code == 0, answer.err
    with Image.open("b.png") as picture:
        assert picture.size == (40, 24)
    assert torch.equal(api.load_run(album).model("b").render(), api.load(album / "images" / "b").render())
    for words, said in (
        ((album,), "fitted 3 images; choose one with --image NAME, in Python with image=NAME: a, b, c"),
        ((album, "--image", "d"), "fitted 3 images, and 'd' is none of them; choose one with --image NAME, .*"),
        ((finished, "--image", "a"), "fitted one image; leave out the image 'a'"),
    ):
        answer = partinr("render", *words, "-o", "x.png")
        assert answer.code == 2
        assert re.fullmatch(f"partinr: error: .* {said}\n", answer.err), answer.err
    assert not Path("x.png").exists()


def test_it_goes_on_where_it_was(partinr: Any, photos: Path) -> None:
    words = [*WORDS[:-1], f"data.path={photos}", "regime.evaluate_every=2"]
    assert partinr(*words, "max_steps=6", "hydra.run.dir=whole").code == 0
    assert partinr(*words, "max_steps=4", "hydra.run.dir=half").code == 0
    assert partinr(*words, "max_steps=6", f"ckpt_path=half/{CHECKPOINT}", "hydra.run.dir=rest").code == 0
    for file in ("curve.csv", "images.csv"):
        read = []
        for run in ("whole", "rest"):
            with Path(run, file).open(newline="") as lines:
                read.append([{k: v for k, v in row.items() if k not in CLOCK_COLUMNS} for row in csv.DictReader(lines)])
        assert read[0] == read[1]
    for name in SHAPES:
        assert Path("whole/images", name, WEIGHTS).read_bytes() == Path("rest/images", name, WEIGHTS).read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ("partition=semantic", "capacity=detail"),
        ("partition.regions=auto", "backbone.match_params=2000", "backbone.hidden_features=null"),
        ("partition=none", "coords.frame=local", "data.size=12"),
    ],
)
def test_every_image_has_its_own_partition(partinr: Any, photos: Path, words: tuple[str, ...]) -> None:
    given = {word.partition("=")[0] for word in words}
    first = [word for word in WORDS if word.partition("=")[0] not in given]
    if "partition=none" in words:
        first.remove("partition.regions=4")
    answer = partinr(*first, *words, f"data.path={photos}", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    said = manifest(Path("run"))
    budget = 2000 if "partition.regions=auto" in words else 500
    for name, of in said["images"].items():
        model = api.load("run", name)
        assert (model.partition.regions, model.parameter_count) == (of["regions"], of["parameters"])
        assert of["parameters"] == pytest.approx(budget, rel=0.25)
    assert said["parameters"] == sum(of["parameters"] for of in said["images"].values())


# -- what is wrong with an image ----------------------------------------------------------------------------------


def broken(photos: Path, kind: str) -> Path:
    folder = Path(shutil.copytree(photos, "broken"))
    if kind == "truncated":
        (folder / "b.png").write_bytes((photos / "b.png").read_bytes()[:100])
    elif kind == "listed":
        (folder / "held").write_text("b")
    elif kind == "grey":
        Image.fromarray(np.zeros((16, 16), dtype=np.uint8)).save(folder / "b.png")
    elif kind == "small":
        Image.fromarray(np.zeros((1, 2, 3), dtype=np.uint8)).save(folder / "b.png")
    return folder


@pytest.mark.parametrize(
    ("kind", "words", "said"),
    [
        ("truncated", (), "b: .*b.png"),
        ("grey", (), r"b has another number of channels \(1\) than a \(3\); "),
        ("small", (), "b: "),
        (
            "listed",
            ("data.val_list=broken/held",),
            "data holds 1 of its signals out, .*; hold none out: give data.val_items=0 ",
        ),
        ("", ("regime.points_per_step=100000",), "regime.points_per_step=100000 is more than the 752 samples"),
        ("", ("backbone.match_params=3",), "a: backbone.match_params=3 is too few"),
    ],
)
def test_it_is_said_before_anything_is_trained(
    partinr: Any, photos: Path, kind: str, words: tuple[str, ...], said: str
) -> None:
    given = {word.partition("=")[0] for word in words}
    first = [word for word in WORDS if word.partition("=")[0] not in given]
    answer = partinr(*first, *words, f"data.path={broken(photos, kind)}", "hydra.run.dir=run")
    assert answer.code == 2
    assert re.fullmatch(f"partinr: error: {said}.*\n", answer.err), answer.err
    assert not Path("run").exists()


def test_a_checkpoint_of_other_images_is_refused(partinr: Any, photos: Path, album: Path) -> None:
    (folder := broken(photos, "")).joinpath("c.png").unlink()
    answer = partinr(*WORDS, f"data.path={folder}", f"ckpt_path={album / CHECKPOINT}", "hydra.run.dir=run")
    assert answer.code == 2
    assert "is from another run: its images is ['a', 'b', 'c'], here it is ['a', 'b']" in answer.err


# -- the report ---------------------------------------------------------------------------------------------------


def test_a_report_shows_every_image(partinr: Any, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert partinr("report", album, "-o", "report.html").code == 0
    page = re.sub(r"<script>/\*\*.*?</script>", "", Path("report.html").read_text(), flags=re.DOTALL)
    assert "<title>photos, 3 images: 2×2 grid</title>" in page
    for name, of in manifest(album)["images"].items():
        assert f"<span>{name}</span> <span>{of['psnr']:.2f} dB</span>" in page
        assert f'<th scope="row">{name}</th>' in page
    assert page.count("<figure>\n          <button") == 3
    monkeypatch.setattr("partinr.report.panels.GALLERY", 2)
    assert partinr("report", album, "-o", "report.html").code == 0
    page = Path("report.html").read_text()
    assert "The first 2 of 3 reconstructions." in page


def test_the_lone_network_of_an_album(partinr: Any, album: Path, photos: Path) -> None:
    shutil.copytree(album, "runs/parts")
    words = [word for word in WORDS if not word.startswith("partition")]
    assert (
        partinr(*words, "partition=none", f"data.path={photos}", "cache_dir=null", "hydra.run.dir=runs/lone").code == 0
    )
    assert partinr("report", "runs", "-o", "report.html", "--figures", "figures").code == 0
    with next(Path("figures").glob("*.csv")).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows] == ["none", "grid #4"]
    assert float(rows[0]["lone_step_ratio"]) == 1.0
