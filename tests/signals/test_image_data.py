"""The image of a config."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.signals import ImageData, builtin_image, load_image
from tests.covering import cases


@pytest.fixture
def photo(tmp_path):
    """Twenty rows, thirty columns, in colour."""
    path = tmp_path / "my photo.v2.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    return path


def test_a_file_comes_before_a_name(photo):
    data = ImageData(path=str(photo), name="astronaut")
    assert torch.equal(data.load(), load_image(photo))
    assert data.title == "my photo.v2"


def test_a_built_in_image():
    data = ImageData(name="astronaut", size=16)
    assert torch.equal(data.load(), builtin_image("astronaut", size=16))
    assert data.title == "astronaut"


@pytest.mark.parametrize(
    ("options", "shape"), [({}, (20, 30, 3)), ({"size": 8}, (8, 8, 3)), ({"max_side": 15}, (10, 15, 3))]
)
def test_size_and_side_reach_the_file(photo, options, shape):
    image = ImageData(path=str(photo), **options).load()
    assert image.shape == shape
    assert image.dtype == torch.float32
    assert 0 <= float(image.min()) < float(image.max()) <= 1


def test_alpha_reaches_the_file(tmp_path):
    path = tmp_path / "clear.png"
    Image.fromarray(np.zeros((4, 5, 4), dtype=np.uint8)).save(path)
    with pytest.raises(PartinrError, match="alpha"):
        ImageData(path=str(path)).load()
    assert (ImageData(path=str(path), alpha="white").load() == 1).all()
    assert (ImageData(path=str(path), alpha="black").load() == 0).all()


def test_options_are_checked_before_anything_is_read():
    for options, said in cases(
        ({"size": 8, "max_side": 8}, "data.size excludes data.max_side"),
        ({"name": None}, "there is no image"),
        ({"size": 0}, r"ImageData\.size=0"),
        ({"size": 8.5}, r"ImageData\.size=8\.5"),
        ({"max_side": -1}, r"ImageData\.max_side=-1"),
        ({"alpha": "blend"}, r"ImageData\.alpha='blend'"),
        ({"path": 3}, r"ImageData\.path=3"),
        ({"file": "x.png"}, r"no option ImageData\.file"),
    ):
        with pytest.raises(PartinrError, match=said):
            ImageData(**options)


@pytest.mark.parametrize("options", [{"path": "no/such.png"}, {"name": "nobody"}])
def test_what_is_not_there_is_refused_when_it_is_read(options):
    data = ImageData(**options)
    with pytest.raises(PartinrError, match=r"such\.png|nobody") as caught:
        data.load()
    assert "\n" not in str(caught.value)
