"""From one regime to the other: an ordinary fit that begins where a run of learning to learn says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.backbones import Siren
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid
from partinr.regimes.meta import LearnedStart
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CHECKPOINT
from partinr.signals import load_image

META = (
    "regime=meta", "data=folder", "partition=grid", "partition.regions=4", "backbone.hidden_features=8",
    "backbone.hidden_layers=1", "optimizer.lr=1e-3", "regime.inner_lr=1e-2", "regime.meta_batch_size=2",
    "regime.validation_steps=4", "max_steps=3", "cache_dir=null", "callbacks.pictures=null",
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``train`` with four images of 12×16 pixels, ``val`` with one."""
    folder = tmp_path_factory.mktemp("images")
    lots = np.random.default_rng(0)
    for name, count in (("train", 4), ("val", 1)):
        (folder / name).mkdir()
        for number in range(count):
            pixels = lots.integers(0, 256, (3, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((16, 12)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module", params=["shared", "region"])
def learned(request: pytest.FixtureRequest, partinr, folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with ``regime=meta``, its one held-out image that of ``val``."""
    run = tmp_path_factory.mktemp("learned") / "run"
    answer = partinr(
        *META,
        f"data.path={folders / 'train'}",
        f"data.val_path={folders / 'val'}",
        f"regime.initialisation={request.param}",
        "coords.frame=local",
        f"hydra.run.dir={run}",
    )
    assert answer.code == 0, answer.err
    return run


def _fit(partinr, learned: Path, image: Path, run: Path, *more: str):
    return partinr(
        f"init={learned}", "data=image", f"data.path={image}", "partition=grid", "partition.regions=4",
        "regime.evaluate_every=1", "cache_dir=null", "callbacks.pictures=null", f"hydra.run.dir={run}", *more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("learned", "inner_loss"), [("shared", "region"), ("region", "region"), ("shared", "image")], indirect=["learned"]
)
def test_inner_steps_are_those_of_the_other_regime(partinr, learned, folders, tmp_path, inner_loss):
    if inner_loss == "image":
        other = tmp_path / "other"
        answer = partinr(
            *META,
            f"data.path={folders / 'train'}",
            f"data.val_path={folders / 'val'}",
            "regime.inner_loss=image",
            "coords.frame=local",
            f"hydra.run.dir={other}",
        )
        assert answer.code == 0, answer.err
        learned = other
    answer = _fit(partinr, learned, folders / "val" / "0.png", tmp_path / "fit", "init_steps=4", "max_steps=4")
    assert answer.code == 0, answer.err
    curve = RunDirectory.open(tmp_path / "fit").curve()
    expected = json.loads((learned / "run.json").read_text())["psnr_by_inner_step"]
    assert [row["psnr"] for row in curve] == pytest.approx(expected, abs=1e-3)
    assert len(curve) == 5


def test_the_networks_begin_with_what_was_learned(partinr, learned, folders, tmp_path):
    answer = _fit(partinr, learned, folders / "val" / "0.png", tmp_path / "fit", "optimizer.lr=1e-30", "max_steps=1")
    assert answer.code == 0, answer.err
    model = PiecewiseINR.load(tmp_path / "fit" / "inr.safetensors")
    start = LearnedStart.load(learned / "initialisation.safetensors")
    assert model.backbone == start.networks.backbone
    assert model.frame == "local"
    for name, value in start.networks.stack.items():
        torch.testing.assert_close(model.stack[name], value.expand_as(model.stack[name]).contiguous())


def test_any_partition_can_begin_with_what_all_regions_share(partinr, learned, folders, tmp_path):
    one_for_all = LearnedStart.load(learned / "initialisation.safetensors").cells == 1
    for number, partition in enumerate((["partition=none"], ["partition=grid", "partition.regions=6"])):
        answer = partinr(
            f"init={learned}", "data=image", f"data.path={folders / 'val' / '0.png'}", *partition, "max_steps=2",
            "cache_dir=null", "callbacks.pictures=null", f"hydra.run.dir={tmp_path / str(number)}",
        )  # fmt: skip
        assert answer.code == (0 if one_for_all else 2)
        if not one_for_all:
            assert "there is an initialisation for each of 4 regions" in answer.err
            assert not (tmp_path / str(number)).exists()


def test_an_interrupted_fit_goes_on_as_an_unbroken_one(partinr, learned, folders, tmp_path):
    image = folders / "val" / "0.png"
    more = ("init_steps=3", "optimizer.lr=1e-3")
    assert _fit(partinr, learned, image, tmp_path / "whole", *more, "max_steps=6").code == 0
    assert _fit(partinr, learned, image, tmp_path / "first", *more, "max_steps=2").code == 0
    checkpoint = tmp_path / "first" / "checkpoints" / "last.ckpt"
    answer = _fit(partinr, learned, image, tmp_path / "second", *more, "max_steps=6", f"ckpt_path={checkpoint}")
    assert answer.code == 0, answer.err
    whole, second = (RunDirectory.open(tmp_path / name).curve() for name in ("whole", "second"))
    assert [row["psnr"] for row in whole] == [row["psnr"] for row in second]


@pytest.mark.parametrize("learned", ["shared"], indirect=True)
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("backbone=relu_pe",), "brings along the backbone that it was learned for; leave out backbone=relu_pe"),
        (("backbone.hidden_features=9",), "leave out backbone.hidden_features=9"),
        (("capacity=area", "partition=semantic"), "one width"),
        (("init_steps=2", "regime.points_per_step=8"), "init_steps=2 .* and regime.coarse_until; leave one"),
    ],
)
def test_what_does_not_go_together_is_refused(partinr, learned, folders, tmp_path, more, said):
    answer = _fit(partinr, learned, folders / "val" / "0.png", tmp_path / "fit", "max_steps=2", *more)
    assert answer.code == 2
    assert len(answer.err.strip().splitlines()) == 1
    assert re.search(said, answer.err)
    assert not (tmp_path / "fit").exists()


def test_init_must_be_a_run_of_learning_to_learn(partinr, finished, tmp_path):
    answer = partinr(f"init={finished}", f"hydra.run.dir={tmp_path / 'fit'}")
    assert answer.code == 2
    assert "has no initialisation.safetensors; give the directory of a completed run with regime=meta" in answer.err
    answer = partinr("init=nowhere", f"hydra.run.dir={tmp_path / 'fit'}")
    assert (answer.code, "nowhere does not exist" in answer.err) == (2, True)
    answer = partinr("init_steps=3", f"hydra.run.dir={tmp_path / 'fit'}")
    assert (answer.code, "there is no init" in answer.err) == (2, True)


def test_from_python(folders):
    import partinr

    image = load_image(folders / "val" / "0.png")
    start = LearnedStart(Siren(hidden_features=8, hidden_layers=1), inner_lr=1e-2)
    model = PiecewiseINR(Grid(rows=2, cols=2)(image), start.networks.backbone)
    start.begin(model)
    result = partinr.fit(model, image, steps=3, start=start, start_steps=3)
    assert result.psnr > result.curve[0]["psnr"]


@pytest.mark.parametrize("learned", ["shared"], indirect=True)
def test_a_start_and_an_image_of_other_channels_are_brought_together_as_the_message_says(
    partinr, learned, folders, tmp_path
):
    image = tmp_path / "grey.png"
    Image.open(folders / "val" / "0.png").convert("L").save(image)
    answer = _fit(partinr, learned, image, tmp_path / "refused", "max_steps=1")
    assert answer.code == 2
    found = re.search(r"learned for 3 channels, and the signal has 1 channel; give (\S+) \(", answer.err)
    assert found is not None, answer.err
    answer = _fit(partinr, learned, image, tmp_path / "followed", "max_steps=1", found[1])
    assert answer.code == 0, answer.err
    assert PiecewiseINR.load(tmp_path / "followed" / "inr.safetensors").channels == 3


def test_a_word_for_the_run(partinr):
    RunDirectory.create("outputs/runs/learned", {}).write_manifest({"status": "completed"})
    for word in ("last", "lear"):
        assert "\ninit: outputs/runs/learned  #" in partinr("--cfg", "job", f"init={word}").out
    answer = partinr("--cfg", "job", "init=learnt")
    assert (answer.code, answer.err.count("\n"), "hash: learned" in answer.err) == (2, 1, True)
    assert "\ninit: null" in partinr("--cfg", "job", "init=null").out
    for word in ("last", "lear", "outputs/runs/learned"):
        assert f"\nckpt_path: outputs/runs/learned/{CHECKPOINT}" in partinr("--cfg", "job", f"ckpt_path={word}").out
    assert "\nckpt_path: my.ckpt" in partinr("--cfg", "job", "ckpt_path=my.ckpt").out
