"""Images of two and five channels from the command line: fitted, continued, rendered, reported and exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from partinr.pictures.draw import coloured, to_uint8
from partinr.signals import load_image
from tests.read_back import curve, manifest

SMALL = ("partition=superpixel", "partition.regions=3", "backbone.match_params=600", "regime.evaluate_every=5")


@pytest.fixture(scope="module", params=[pytest.param("x2.npy", marks=pytest.mark.slow), "x5.tif"])
def picture(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("channels") / request.param
    waves = np.arange(20 * 24 * int(path.stem[1])).reshape(20, 24, -1) / 300
    values = (np.sin(waves) * 30_000 + 32_000).astype(np.uint16)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig", metadata=None)
    return path


def test_from_a_file_to_a_report(picture: Path, partinr: Any) -> None:
    words = (f"data.path={picture}", *SMALL)
    for run, more in (("run", ()), ("half", ("max_steps=5",)), ("more", ("ckpt_path=half/checkpoints/last.ckpt",))):
        answer = partinr(*words, "max_steps=10", *more, f"hydra.run.dir={run}")
        assert answer.code == 0, answer.err
    assert curve("more") == curve("run")
    assert Path("more/inr.safetensors").read_bytes() == Path("run/inr.safetensors").read_bytes()
    values = load_image(picture)
    assert manifest("run")["signal"]["shape"] == list(values.shape)
    with Image.open("run/image.png") as drawn:
        assert np.array_equal(np.asarray(drawn), to_uint8(coloured(values)))
    for command in (
        ("render", "run", "-o", "fit.tif", "--depth", "float"),
        ("render", "run", "-o", "fit.npy"),
        ("export", "run", "-o", "small.safetensors"),
        ("report", "run", "-o", "report.html"),
        ("view", "run", "-o", "view.html"),
        ("compare", "run", "half", "-o", "compare.html"),
    ):
        answer = partinr(*command)
        assert answer.code == 0, answer.err
    assert np.array_equal(tifffile.imread("fit.tif"), np.load("fit.npy"))
