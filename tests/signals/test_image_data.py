"""The image of a config."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.base.errors import PartinrError, PartinrWarning
from partinr.signals import FolderData, ImageData, builtin_image, load_image
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


def deep(path, peak, dtype=np.uint16):
    """An image of 16 bits with values up to ``peak``."""
    samples = np.random.default_rng(0).integers(0, peak + 1, (6, 8), dtype=np.int64)
    samples[0, 0] = peak
    Image.fromarray(samples.astype(dtype)).save(path)
    return samples


@pytest.mark.parametrize(("peak", "bits"), [(255, 8), (1000, 10), (4095, 12), (2100, 12), (16383, 14)])
def test_the_advice_for_few_bits_scales_right(tmp_path, peak, bits):
    for name in ("deep.png", "deep.tif"):
        samples = deep(tmp_path / name, peak)
        data = ImageData(path=str(tmp_path / name))
        dark = data.read()
        advised = re.search(rf"16-bit values is {peak}, .* data.bits=(\d+)$", str(dark.identity.notice))
        assert advised is not None
        assert int(advised[1]) == bits
        with pytest.warns(PartinrWarning, match=r"data\.bits"):
            assert torch.equal(load_image(tmp_path / name), dark.values)
        read = ImageData(path=str(tmp_path / name), bits=bits).read()
        assert torch.equal(read.values[:, :, 0], torch.from_numpy(samples.astype(np.float32) / (2**bits - 1)))
        assert read.identity.notice is None
        assert read.identity.pixels_sha256 != dark.identity.pixels_sha256
        assert torch.equal(load_image(tmp_path / name, bits=bits), read.values)  # a warning would be an error


def test_bits_that_do_not_fit_the_file(tmp_path, photo):
    deep(tmp_path / "deep.png", 5000)
    with pytest.raises(PartinrError, match=r"values up to 5000, more than the 4095 of data.bits=12; .*=13$") as said:
        load_image(tmp_path / "deep.png", bits=12)
    assert load_image(tmp_path / "deep.png", bits=int(str(said.value)[-2:])).max() == np.float32(5000 / 8191)
    with pytest.raises(PartinrError, match=r"data.bits=12 is for files of 16 bits, .* has 8-bit samples; leave it out"):
        ImageData(path=str(photo), bits=12).load()
    deep(tmp_path / "full.png", 40_000)
    deep(tmp_path / "black.png", 0)
    for name in ("full.png", "black.png"):
        assert ImageData(path=str(tmp_path / name)).read().identity.notice is None


def test_bits_reach_the_images_of_a_folder(tmp_path):
    (tmp_path / "scans").mkdir()
    for name, peak in (("a", 4095), ("b", 3000)):
        deep(tmp_path / "scans" / f"{name}.png", peak)
    assert all(item.read().identity.notice for item in FolderData(path=str(tmp_path / "scans")).train())
    first, second = FolderData(path=str(tmp_path / "scans"), bits=12).train()
    assert [float(each.load().max()) for each in (first, second)] == [1, float(np.float32(3000 / 4095))]


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
