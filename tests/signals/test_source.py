"""Where a signal is from: a label map of the same image is cut exactly as the image was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.signals import ImageData, Source, builtin_path

CUTS = [{}, {"size": 20}, {"size": 8}, {"size": 50}, {"max_side": 15}, {"max_side": 7}, {"max_side": 99}]


@pytest.fixture
def photo(tmp_path):
    """Twenty rows, thirty columns; the red of a pixel is its row, the green its column."""
    rows, columns = np.indices((20, 30))
    path = tmp_path / "my photo.v2.png"
    Image.fromarray(np.stack([8 * rows, 8 * columns, 0 * rows], axis=-1).astype(np.uint8)).save(path)
    return path


def cut(labels: np.ndarray, size: int | None = None, max_side: int | None = None) -> np.ndarray:
    """The same by hand: crop, then look up the middle of each new pixel."""
    height, width = labels.shape
    shape = (height, width)
    if size is not None:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        labels, shape = labels[top : top + side, left : left + side], (size, size)
    elif max_side is not None:
        scale = min(1, max_side / max(height, width))
        shape = (round(height * scale), round(width * scale))
    places = (np.floor((np.arange(m) + 0.5) / m * n).astype(int) for n, m in zip(labels.shape, shape, strict=True))
    return labels[np.ix_(*places)]


@pytest.mark.parametrize("options", CUTS)
def test_a_label_map_is_cut_as_the_image_was(photo, options):
    data = ImageData(path=str(photo), **options)
    labels = np.arange(600).reshape(20, 30)
    found = data.source.cut_labels(torch.from_numpy(labels))
    image = data.load()
    assert found.dtype == torch.int64
    assert found.shape == image.shape[:2]
    assert np.array_equal(found.numpy(), cut(labels, **options))
    # In a map of positions, the label of a pixel tells where its colour is from, to half a pixel and rounding.
    here = torch.stack([found // 30, found % 30], dim=-1)
    assert float((here - image[..., :2] * 255 / 8).abs().max()) < 0.6


def test_any_whole_numbers_are_cut():
    for dtype in [torch.uint8, torch.int32, torch.int64]:
        labels = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=dtype)
        assert Source("x", size=2).cut_labels(labels).tolist() == [[1, 2], [4, 5]]


@pytest.mark.parametrize("options", [{}, {"size": 8}])
def test_a_map_of_another_image_is_refused(photo, options):
    source = ImageData(path=str(photo), **options).source
    with pytest.raises(PartinrError, match=r"has 30×20 pixels, the image my photo\.v2 20×30; give a map"):
        source.cut_labels(torch.zeros(30, 20, dtype=torch.int64))


def test_an_image_is_measured_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (30, 20)).save(tmp_path / "phone.jpg", exif=exif)
    data = ImageData(path=str(tmp_path / "phone.jpg"), size=4)
    assert data.source.cut_labels(torch.zeros(30, 20)).shape == (4, 4)
    with pytest.raises(PartinrError, match=r"20×31 pixels, the image phone 30×20 .its EXIF orientation is 6.; give"):
        data.source.cut_labels(torch.zeros(20, 31))


def test_a_map_of_the_stored_pixels_is_turned_like_the_image(tmp_path):
    rows, columns = np.indices((20, 30))
    stored = np.stack([8 * rows, 8 * columns, 0 * rows], axis=-1).astype(np.uint8)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.fromarray(stored).save(tmp_path / "phone.png", exif=exif)
        data = ImageData(path=str(tmp_path / "phone.png"))
        if turn > 4:
            turned = data.source.cut_labels(torch.from_numpy(30 * rows + columns))
            seen = (data.load() * 255 / 8).round().to(torch.int64)
            assert torch.equal(turned, 30 * seen[:, :, 0] + seen[:, :, 1])
        assert data.source.ambiguous == (turn if turn in (2, 3, 4) else None)


def test_the_source_of_a_file(photo):
    assert ImageData(path=str(photo), max_side=9).source == Source("my photo.v2", str(photo), max_side=9)


def test_the_source_of_a_built_in_image():
    source = ImageData(name="coffee", size=16).source
    assert source == Source("coffee", str(builtin_path("coffee")), size=16)
    assert source.cut_labels(torch.zeros(400, 600)).shape == (16, 16)
    with pytest.raises(PartinrError, match="600×400 pixels, the image coffee 400×600"):
        source.cut_labels(torch.zeros(600, 400))
    with pytest.raises(PartinrError, match="no built-in image 'nobody'"):
        _ = ImageData(name="nobody").source
