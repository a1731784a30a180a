"""The first commands: ``partinr`` alone, and with a picture."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from partinr.base.readers import READERS
from partinr.cli.commands import commands
from partinr.cli.picture import with_picture
from partinr.signals.decode import IMAGE_ENDINGS
from partinr.signals.mesh import ENDINGS as MESH_ENDINGS
from partinr.signals.sounds import SOUND_ENDINGS
from tests.commands import Partinr

SMALL = ("data.size=16", "backbone.match_params=3000", "max_steps=11", "cache_dir=null", "hydra.run.dir=run")


def picture(name: str) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(name, "png")


def test_alone_it_shows_commands_that_work(partinr: Partinr) -> None:
    answer = partinr()
    assert (answer.code, answer.err) == (0, "")
    typed = [shlex.split(line)[1:] for line in re.findall(r"^  (partinr .*?)  ", answer.out, re.MULTILINE)]
    assert len(typed) == 3
    for first, *rest in typed:
        if first in commands.commands:  # there are no runs yet
            assert partinr(first, "--help").code == 0
        else:
            words = [word.partition(",")[0] for word in (first, *rest) if word != "-m"]
            assert partinr("--cfg", "job", *words).code == 0, first
    assert max(map(len, answer.out.splitlines())) <= 100
    assert not list(Path().iterdir())


@pytest.mark.parametrize("words", [[], ["partition=none"], ["partition=semantic", "max_seconds=30"]], ids=" ".join)
def test_a_picture_is_fitted_fast(partinr: Partinr, words: list[str]) -> None:
    picture("photo.png")
    answer = partinr("photo.png", *words, *SMALL)
    assert (answer.code, answer.err) == (0, "")
    said = r"fit      photo .*: 16×16×3, .* parameters.*\non       .* s of training\ninto     run\n"
    assert re.match(said, answer.out)
    run = json.loads(Path("run/run.json").read_text())
    assert (run["status"], run["signal"]["name"]) == ("completed", "photo")
    config = yaml.safe_load(Path("run/.hydra/config.yaml").read_text())
    assert (config["schedule"]["_target_"].rpartition(".")[2], config["coords"]["frame"]) == ("Cosine", "local")
    assert config["max_seconds"] == (30 if "max_seconds=30" in words else 10)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("photo.png experiment=demo seed=3", "data.path=photo.png experiment=demo seed=3"),
        ("seed=3 photo.png", "seed=3 data.path=photo.png experiment=fast data.max_side=1024"),
        ("photo.png data.size=64", "data.path=photo.png experiment=fast data.size=64"),
        ("data=photo.png", "data=image data.path=photo.png"),
        ("data=photo.png,b.jpg", "data=image data.path=photo.png,b.jpg"),
        ("data=builtin,photo.png", "data=builtin,photo.png"),
        ("bach.WAV", "data=audio data.path=bach.WAV experiment=fast data.seconds=10"),
        ("film.mp4 data.size=64", "data=video data.path=film.mp4 experiment=fast data.size=64"),
        ("head.nii.gz experiment=demo", "data=volume data.path=head.nii.gz experiment=demo"),
        ("data=ring.ply", "data=sdf data.path=ring.ply"),
    ],
)
def test_what_a_picture_stands_for(typed: str, meant: str) -> None:
    assert with_picture(typed.split()) == meant.split()


def test_a_picture_of_any_name(partinr: Partinr) -> None:
    for number, name in enumerate(("a,b.png", "a${x}.png", "my photo (1).PNG", "1e5.png")):
        picture(name)
        answer = partinr(name, *SMALL[:-1], f"hydra.run.dir=run-{number}")
        assert (answer.code, answer.err) == (0, ""), name
        config = yaml.safe_load(Path(f"run-{number}/.hydra/config.yaml").read_text())
        assert Path(config["data"]["path"]).name == name


def test_several_pictures_and_the_advice(partinr: Partinr) -> None:
    for name in ("a.png", "b (1).png"):
        picture(name)
    answer = partinr("a.png", "b (1).png")
    assert answer.code == 2
    typed = shlex.split(answer.err.rpartition("each of several: ")[2])
    answer = partinr(*typed[1:], *SMALL[:-1], "hydra.sweep.dir=sweep")
    assert (answer.code, len(list(Path("sweep").glob("*/run.json")))) == (0, 2), answer.err
    assert not re.search("^fit ", answer.out, re.MULTILINE)  # runs of a sweep have no header


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("nosuch.wav", "no such file: 'nosuch.wav'; check the path"),
        ("data=film data.path=x.mp4", "data=film reads no file; choose data=video for data.path=x.mp4"),
    ],
)
def test_a_file_that_is_not_read_has_a_line(partinr: Partinr, typed: str, said: str) -> None:
    answer = partinr(*typed.split())
    assert answer.code == 2
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_every_ending_of_a_reader_counts() -> None:
    known = {reader.data: reader.endings for reader in READERS}
    assert (known["image"], known["audio"], known["sdf"]) == (IMAGE_ENDINGS, SOUND_ENDINGS, MESH_ENDINGS)
