"""What is doubtful about a file reaches the terminal, run.json and the report, and goes when its advice is followed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

SMALL = ["data.path=photo.png", "backbone.hidden_features=4", "max_steps=1", "trainer.accelerator=cpu"]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("entry", "typed", "said"),
    [
        (
            "partition",
            ["partition=mask", "partition.path=soft.png"],
            r"regions .* tiny .*; (partition.min_pixels=\d+) ",
        ),
        ("signal", ["partition=none", "data.path=twelve.png"], r"largest .* is 4095, .*; .* give (data.bits=12)"),
    ],
)
def test_a_notice_and_its_advice(partinr: Any, entry: str, typed: list[str], said: str) -> None:
    Image.fromarray(RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save("photo.png")
    deep = RNG.integers(0, 4096, (48, 64), dtype=np.uint16)
    deep[0, 0] = 4095
    Image.fromarray(deep).save("twelve.png")
    soft = Image.new("L", (256, 192))
    ImageDraw.Draw(soft).ellipse((40, 30, 180, 150), fill=255)
    soft.resize((64, 48), Image.Resampling.LANCZOS).save("soft.png")
    answer = partinr(*SMALL, *typed, "hydra.run.dir=first")
    assert answer.code == 0, answer.err
    found = re.search(said, answer.err)
    assert found is not None, answer.err
    notice = json.loads(Path("first/run.json").read_text())[entry]["notice"]
    assert re.search(said, notice)
    assert partinr("report", "first", "-o", "report.html").code == 0
    assert notice in Path("report.html").read_text()
    answer = partinr(*SMALL, *typed, found[1], "hydra.run.dir=second")
    assert (answer.code, answer.err) == (0, "")
    assert not json.loads(Path("second/run.json").read_text())[entry].get("notice")
