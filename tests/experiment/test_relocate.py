"""A run goes on where it is the same run, also on another machine or with its files elsewhere; else it says why."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import partinr.signals.image as images
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CHECKPOINT

SIZE = (
    *("data.size=12", "backbone.hidden_features=6", "backbone.hidden_layers=1", "partition.regions=4", "max_steps=2"),
    "callbacks.pictures=null",
)
FIT = (*SIZE, "data.path=photos/a.jpg")
KINDS = {
    "fit": FIT,
    "masks": (*SIZE[:3], "max_steps=2", "data.path=photos/a.jpg", "partition=mask", "partition.path=masks/a.png"),
    "folder": (*SIZE, "data=folder", "data.path=photos"),
    "threshold": (*SIZE, "regime=threshold", "data=folder", "data.path=photos", "regime.threshold=1e-9"),
    "meta": (*SIZE, "regime=meta", "data=folder", "data.path=photos", "data.val_list=held.txt", "regime.workers=0"),
}
KINDS["meta"] += ("regime.meta_batch_size=2",)
KINDS["threshold"] += ("regime.points_per_step=null",)


def photo(path: str, seed: int) -> None:
    y, x = np.mgrid[0:30, 0:40]
    waves = np.stack([np.sin(x / (3 + seed)), np.cos(y / (4 + seed)), np.sin((x + y) / (5 + seed))], -1)
    Image.fromarray((127 + 120 * waves).astype(np.uint8)).save(path, quality=95)


@pytest.fixture
def files() -> None:
    Path("photos").mkdir()
    Path("masks").mkdir()
    for seed, name in enumerate("abc"):
        photo(f"photos/{name}.jpg", seed)
    Image.fromarray(np.repeat([[0, 1]], 20, 1).repeat(30, 0).astype(np.uint8)).save("masks/a.png")
    Path("held.txt").write_text("c.jpg\n")


@pytest.fixture
def stopped(partinr: Any, files: None) -> Callable[..., RunDirectory]:
    """A run that was stopped after two of four steps; the folders of its files are named as they lie."""

    def make(*words: str) -> RunDirectory:
        answer = partinr(*words, "hydra.run.dir=run", "cache_dir=null")
        assert answer.code == 0, answer.err
        run = RunDirectory(Path("run"))
        settings = Path("run/.hydra/config.yaml")
        settings.write_text(settings.read_text().replace("max_steps: 2", "max_steps: 4"))
        Path("run/run.json").write_text(json.dumps({**run.manifest(), "status": "interrupted"}))
        return run

    return make


def notes(answer: Any) -> list[str]:
    return [line for line in answer.err.splitlines() if "note" in line]


def another_library(path: Any, **options: Any) -> np.ndarray:
    samples = DECODE(path, **options)
    if Path(path).suffix == ".jpg":
        # Not in all pixels, and up as well as down.
        samples = samples + np.where(np.indices(samples.shape).sum(0) % 3 == 0, np.where(samples > 127, -1, 1), 0)
    return samples.astype(np.uint8)


DECODE = images.decode


@pytest.mark.parametrize("kind", KINDS)
def test_with_a_library_that_resizes_or_decodes_differently(
    partinr: Any, stopped: Any, copy_of: Any, monkeypatch: Any, kind: str
) -> None:
    stopped(*KINDS[kind])
    again, true = copy_of(Path("run").resolve()), images.functional.interpolate
    with monkeypatch.context() as patch:
        patch.setattr(images.functional, "interpolate", lambda *args, **how: true(*args, **how) + 1e-7)
        answer = partinr("resume", again)
    assert answer.code == 0, answer.err
    assert notes(answer) == []
    monkeypatch.setattr(images, "decode", another_library)
    monkeypatch.setattr(images, "decoder", lambda: "Pillow 0")
    answer = partinr("resume", "run")
    assert answer.code == 0, answer.err
    (note,) = notes(answer)
    assert re.search(r"[ac]\.jpg: the same file was decoded differently, by Pillow 0 and by Pillow [1-9]", note)


def test_a_report_has_one_image_then(partinr: Any, files: None, monkeypatch: Any) -> None:
    assert partinr(*SIZE[:3], *FIT[4:], "partition=none", "hydra.run.dir=two/none").code == 0
    monkeypatch.setattr(images, "decode", another_library)
    monkeypatch.setattr(images, "decoder", lambda: "Pillow 0")
    assert partinr(*FIT, "hydra.run.dir=two/grid").code == 0
    answer = partinr("table", "two", "--no-seconds")
    assert answer.code == 0, answer.err
    assert answer.out.count("a.jpg: the same file was decoded differently, by ") == 1
    assert "image" not in answer.out.splitlines()[0]


def test_a_photo_that_was_saved_again(partinr: Any, stopped: Any) -> None:
    stopped(*FIT)
    samples = np.array(Image.open("photos/a.jpg"))
    samples[::3] ^= 1  # a level up or down
    Image.fromarray(samples).save("photos/a.jpg", format="PNG")
    answer = partinr("resume", "run")
    assert answer.code == 0, answer.err
    (note,) = notes(answer)
    assert "a.jpg: its values differ a little (block means by at most 0." in note


def advice(answer: Any, command: str) -> list[str]:
    """The words of the command that a refusal advises."""
    assert answer.code == 2, answer.err
    assert re.fullmatch(r"partinr: error: [^\n]+\n", answer.err), answer.err
    found = re.search(rf"partinr ({command} [^;]*?)(?:;|, or |$)", answer.err.strip())
    assert found, answer.err
    return shlex.split(found[1])


CHANGED = {
    "fit": ("photos/a.jpg", "photos", "data.path"),
    "folder": ("photos/a.jpg", "photos", "data.path"),
    "meta": ("photos/c.jpg", "photos", "data.path"),
    "learned from": ("photos/b.jpg", "photos", "data.path"),
    "masks": ("masks/a.png", "masks", "partition.path"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_file_that_was_replaced(partinr: Any, stopped: Any, contents: Any, what: str) -> None:
    file, folder, key = CHANGED[what]
    run = stopped(*KINDS["meta" if what == "learned from" else what])
    old = Path(shutil.copytree(folder, "old"))
    if folder == "masks":
        Image.fromarray((np.indices((30, 40))[0] > 9).astype(np.uint8)).save(file)
    else:
        photo(file, 7)
    before = contents(Path("run"))
    answer = partinr("resume", "run")
    words = advice(answer, "resume")
    assert words != ["resume", "run"]
    assert f"{key} has changed" in answer.err
    assert contents(Path("run")) == before
    place = str(old / Path(file).name) if Path(run.config()[key.split(".")[0]]["path"]).suffix else str(old)
    assert partinr(*advice(answer, "rerun"), "-o", "again").code in (0, 1)
    answer = partinr(*(word.replace("PLACE", place) for word in words))
    assert answer.code == 0, answer.err
    assert notes(answer) == []


@pytest.mark.parametrize("kind", ["masks", "folder", "meta"])
def test_files_that_have_moved(partinr: Any, stopped: Any, kind: str) -> None:
    run = stopped(*KINDS[kind])
    hashed = run.manifest()["config_hash"]
    for folder in ("photos", "masks"):
        Path(folder).rename(f"moved {folder}")
    Path("held.txt").rename("moved held.txt")
    answer = partinr("resume", "run")
    words = [_there(word, run) for word in advice(answer, "resume")]
    answer = partinr(*words)
    assert answer.code == 0, answer.err
    assert run.manifest()["config_hash"] == hashed
    # Later as well.
    settings = Path("run/.hydra/config.yaml")
    settings.write_text(settings.read_text().replace("max_steps: 4", "max_steps: 5"))
    Path("run/run.json").write_text(json.dumps({**run.manifest(), "status": "interrupted"}))
    assert partinr("resume", "run").code == 0
    assert run.manifest()["config_hash"] == hashed


def _there(word: str, run: RunDirectory) -> str:
    """``KEY=PLACE`` with the place where the file is now."""
    key, equals, _ = word.partition("=")
    if not equals:
        return word
    group, name = key.split(".")
    old = Path(run.config()[group][name]).relative_to(Path.cwd())
    return f"{key}=moved {old}"


def test_another_place_must_have_the_same_content(partinr: Any, stopped: Any, contents: Any) -> None:
    stopped(*KINDS["masks"])
    before = contents(Path("run"))
    Image.fromarray((np.indices((30, 40))[0] > 9).astype(np.uint8)).save("masks/b.png")
    for change in ("data.path=photos/b.jpg", "partition.path=masks/b.png", "data.path=nowhere.jpg"):
        answer = partinr("resume", "run", "--set", change)
        assert answer.code == 2
        assert re.fullmatch(r"partinr: error: [^\n]+(give the place|where the content is now)[^\n]+\n", answer.err)
        assert contents(Path("run")) == before
    shutil.rmtree("run/checkpoints")  # begins anew, with the same content all the same
    assert partinr("resume", "run", "--set", "data.path=photos/b.jpg").code == 2
    shutil.copy("photos/a.jpg", "same.jpg")
    answer = partinr("resume", "run", "--set", "data.path=same.jpg", "--set", "partition.path=masks/a.png")
    assert answer.code == 0, answer.err
    config = yaml.safe_load(Path("run/.hydra/config.yaml").read_text())
    assert config["data"]["path"] == str(Path("same.jpg").resolve())


@pytest.mark.parametrize("change", ["max_steps=5", "optimizer.lr=0.1", "data.size=13"])
def test_other_settings_are_for_a_new_run(partinr: Any, stopped: Any, change: str) -> None:
    stopped(*FIT)
    answer = partinr("resume", "run", "--set", change)
    assert "only says where files are now (ckpt_path, init, data.path)" in answer.err
    words = shlex.split(answer.err.rpartition(": partinr ")[2])
    answer = partinr(*words, "hydra.run.dir=new")
    assert answer.code == 0, answer.err
    assert RunDirectory(Path("new")).manifest()["steps"] == (5 if change == "max_steps=5" else 2)


def test_a_checkpoint_that_knows_no_signals_is_refused(partinr: Any, stopped: Any) -> None:
    stopped(*FIT)
    state = torch.load(f"run/{CHECKPOINT}", weights_only=True)
    del state["partinr"]["fingerprint"]["signals"]
    torch.save(state, f"run/{CHECKPOINT}")
    answer = partinr("resume", "run")
    assert partinr(*advice(answer, "rerun")).code in (0, 1)


def test_a_rule_that_cuts_otherwise_on_this_machine(partinr: Any, stopped: Any, monkeypatch: Any) -> None:
    run = stopped(*FIT, "partition=kmeans")
    labels = torch.arange(12).repeat(12, 1) // 4
    monkeypatch.setattr("partinr.partition.KMeans.labels_of", lambda *_: labels)
    other = partinr(*FIT, "partition=kmeans", "partition.regions=3", f"ckpt_path=run/{CHECKPOINT}", "hydra.run.dir=new")
    assert "its partition.regions is 4, here it is 3" in other.err
    before = run.manifest()["partition"]
    answer = partinr("resume", "run")
    assert answer.code == 0, answer.err
    assert run.manifest()["partition"] == before
