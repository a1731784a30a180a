"""Runs and images whose names nobody would choose: every command takes them."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from tests.commands import Partinr

LATIN_1 = os.fsdecode(b"caf\xe9")
FOLDER = f"{LATIN_1} $x ${{x}}\n<b>'\"=,[1]\u202e%s\t😀. "
IMAGES = (LATIN_1, "a\nb", "<b>${x}", "-%s", "😀 = ,[", "٣ע", "n" * 251)


def test_every_command_takes_any_name(tiny: Partinr, partinr: Partinr, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    photos = tmp_path / FOLDER / "photos"
    photos.mkdir(parents=True)
    for name in IMAGES:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(photos / f"{name}.png")
    os.chdir(photos.parent)
    answer = tiny("data=folder", "data.path=photos", "max_steps=2", "hydra.run.dir=run")
    assert answer.code == 0, answer.err
    run = tmp_path / FOLDER / "run"
    assert answer.out.encode("utf-8", "surrogateescape").decode(errors="replace").count("partinr report run") == 1
    os.chdir(tmp_path)
    for command in (
        ("runs", run),
        ("runs", "--json", run),
        ("table", run),
        ("table", run, "-o", "table.csv"),
        ("table", run, "-o", "table.tex"),
        ("report", run, "-o", "report.html", "--figures", "figures"),
        ("render", run, "-o", "x.png", "--image", "caf-"),
        ("view", run, "-o", "view.html", "--image", "a-b"),
        ("export", run, "--image", "٣ע"),
        ("rerun", run),
    ):
        answer = partinr(*command)
        assert answer.code == 0, (command, answer.err)
    for written in ("report.html", "table.csv", "table.tex", "view.html"):
        assert Path(written).read_text(encoding="utf-8")


def test_a_yaml_from_windows(partinr: Partinr) -> None:
    file = Path("own/experiment/1_0.yaml")
    file.parent.mkdir(parents=True)
    file.write_text("# @package _global_\nmax_steps: 7\nstudy: 2024_01\n", encoding="utf-8-sig")
    ask = ("--config-dir", "own", "experiment=1_0")
    assert "\nmax_steps: 7  #" in partinr("--cfg", "job", *ask).out
    answer = partinr(*ask)
    assert answer.code == 2
    assert "study=202401: should be text; where YAML takes it for a number" in answer.err
    file.write_text("# @package _global_\nmax_steps: 7\n", encoding="utf-16")
    answer = partinr(*ask)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "UTF-16 or UTF-32; save it as UTF-8" in answer.err


def test_a_name_that_looks_like_a_reference(partinr: Partinr) -> None:
    answer = partinr("data=image", "data.path=a${x}.png", "max_steps=1")
    assert answer.code == 2
    advice = answer.err.rpartition("write ")[2].strip()
    answer = partinr("data=image", f"data.path=a{advice}.png", "max_steps=1")
    assert "no such file: 'a${x}.png'" in answer.err
