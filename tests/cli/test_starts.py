"""Runs that begin with trained layers: what they write, that they go on and repeat, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.read_back import curve, manifest

SMALL = ("backbone.match_params=600", "callbacks.pictures=null", "engine=batched", "regime.evaluate_every=1")
NOISE = ("start=noise", "start.count=2", "start.steps=2")
IMAGE = ("data.size=16", "partition.regions=4")
SOUND = ("data=audio", "data.seconds=0.05", "data.rate=2000", "partition=none")


@pytest.mark.parametrize("signal", [IMAGE, SOUND])
def test_a_run_with_noise_says_what_it_took_goes_on_and_repeats(
    partinr: Any, tmp_path: Path, signal: tuple[str, ...]
) -> None:
    words = (*signal, *SMALL, *NOISE, f"output_dir={tmp_path}")
    whole, part, longer = (tmp_path / name for name in ("whole", "part", "longer"))
    answer = partinr(*words, "max_steps=4", f"hydra.run.dir={whole}")
    assert answer.code == 0, answer.err
    assert "start=noise: the training of the first layers on 2 signals took" in answer.err
    found = manifest(whole)
    assert found["start"] == {"kind": "noise", "macs": found["start"]["macs"], "made": 1, "kept": 0}
    assert found["seconds"]["start"] > 0
    assert partinr(*words, "max_steps=2", f"hydra.run.dir={part}").code == 0
    assert manifest(part)["start"]["kept"] == 1
    answer = partinr(*words, "max_steps=4", f"ckpt_path={part}", f"hydra.run.dir={longer}")
    assert answer.code == 0, answer.err
    assert curve(longer) == curve(whole)
    assert manifest(longer)["seconds"]["start"] == found["seconds"]["start"]
    other = partinr(*words, "start=random", "max_steps=4", f"ckpt_path={part}", f"hydra.run.dir={tmp_path / 'other'}")
    assert other.code == 2
    assert "start" in other.err


def test_a_start_of_other_images_and_a_partition_of_its_own(partinr: Any, tmp_path: Path) -> None:
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    words = ("data.size=16", "partition=semantic", "partition.regions=3", "capacity=area", *SMALL, "max_steps=1")
    shared = ("start=shared", f"start.signals={tmp_path}", "start.count=2", "start.steps=1", "cache_dir=null")
    answer = partinr(*words, *shared, f"hydra.run.dir={tmp_path / 'run'}")
    assert answer.code == 0, answer.err
    assert manifest(tmp_path / "run")["start"]["kind"] == "shared"
    assert set(manifest(tmp_path / "run")["inputs"]) == {"start.signals"}
    fitted = ("data=image", f"data.path={tmp_path / '0.png'}", "partition=none", *SMALL, *shared)
    answer = partinr(*fitted, "max_steps=1", f"hydra.run.dir={tmp_path / 'same'}")
    assert answer.code == 2
    assert "0 of start.signals is the signal that is fitted" in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("start=noise regime=meta data=smooth", "start=noise is for regime=fit; leave it out"),
        ("start=noise init=.", "init=.* is short for start=learned, and start=noise is given; leave one out"),
        ("start=learned start.run=nowhere", "nowhere does not exist"),
        ("start=noise start.layers=9 data.size=16", "start.layers=9 of the 5 layers of siren; give 1 to 4"),
        ("start=shared start.signals=nowhere", "start.signals=nowhere is no folder; give one that"),
        (
            "start=shared start.signals=. data=phantom data.shape=[8,8,8]",
            "start.signals=.* signals of 3 axes come from",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(partinr: Any, tmp_path: Path, words: str, said: str) -> None:
    (tmp_path / "run.json").write_text('{"status": "completed"}')
    answer = partinr(*words.split(), f"hydra.run.dir={tmp_path / 'run'}")
    assert answer.code == 2
    assert len(answer.err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
    assert re.search(said, answer.err), answer.err


@pytest.mark.slow
def test_two_processes_begin_alike(partinr: Any, tmp_path: Path) -> None:
    words = (*IMAGE, *SMALL, *NOISE, "max_steps=3", "cache_dir=null")
    for devices in (1, 2):
        run = tmp_path / str(devices)
        answer = partinr(*words, "trainer.accelerator=cpu", f"trainer.devices={devices}", f"hydra.run.dir={run}")
        assert answer.code == 0, answer.err
    one, two = ([float(row["psnr"]) for row in curve(tmp_path / str(devices))] for devices in (1, 2))
    assert two == pytest.approx(one, abs=1e-3)
    assert manifest(tmp_path / "2")["start"] == manifest(tmp_path / "1")["start"]
