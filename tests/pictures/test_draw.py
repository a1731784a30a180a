"""Pictures: exact bytes, borders where they belong, colours that can be told apart."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.pictures.draw import Panel, coloured, contact_sheet, encode_png, partition_overlay, thumbnail, to_uint8
from tests.covering import cases, covering

RNG = np.random.default_rng(0)


def grid(height: int, width: int, rows: int, columns: int) -> np.ndarray:
    row, column = np.arange(height) * rows // height, np.arange(width) * columns // width
    return row[:, None] * columns + column


def voronoi(height: int, width: int, regions: int) -> np.ndarray:
    """Connected regions, 0..R-1, each with at least its own seed pixel."""
    seeds = RNG.choice(height * width, regions, replace=False)
    rows, columns = np.divmod(np.arange(height * width), width)
    distance = (rows[:, None] - seeds // width) ** 2 + (columns[:, None] - seeds % width) ** 2
    return distance.argmin(axis=1).reshape(height, width)


# ---------------------------------------------------------------------------------------------------------------------
# to_uint8 and encode_png


@covering(channels=[1, 3], convert=[np.asarray, torch.tensor])
def test_round_trip_through_png(channels, convert):
    bytes_in = RNG.integers(0, 256, (5, 7, channels), dtype=np.uint8)
    image = convert((bytes_in / 255).astype(np.float32))
    assert np.array_equal(to_uint8(image), bytes_in)
    with Image.open(BytesIO(encode_png(image))) as picture:
        assert picture.mode == ("L" if channels == 1 else "RGB")
        assert np.array_equal(np.atleast_3d(np.asarray(picture)), bytes_in)


def test_other_channels_are_false_colours():
    """Equal channels are grey, and what is drawn of others is what is said."""
    for channels in (2, 4, 5, 12):
        assert (coloured(np.full((2, 3, channels), 0.25)) == 0.25).all()
    assert coloured(np.array([[[1, 0]]])).tolist() == [[[1, 0.5, 0]]]
    assert coloured(np.array([[[1, 2, 3, 4]]])).tolist() == [[[1, 2, 3]]]
    assert coloured(np.arange(6.0).reshape(1, 1, 6)).tolist() == [[[4.5, 2.5, 0.5]]]
    spectrum = RNG.random((5, 7, 12))
    with Image.open(BytesIO(encode_png(spectrum))) as picture:
        assert np.array_equal(np.asarray(picture), to_uint8(coloured(spectrum)))
    assert partition_overlay(spectrum, grid(5, 7, 2, 2)).shape[2] == thumbnail(spectrum).shape[2] == 3


def test_rounding_and_clipping():
    values = np.array([-1, 0, 0.4999 / 255, 0.5001 / 255, 0.5, 1, 7, np.nan, np.inf, -np.inf])
    assert to_uint8(values.reshape(1, -1, 1)).ravel().tolist() == [0, 0, 0, 1, 128, 255, 255, 0, 0, 0]


def test_tensor_with_a_gradient():
    assert to_uint8(torch.ones(2, 2, 3, requires_grad=True)).min() == 255


def test_shapes_that_are_no_picture():
    for shape in [(4, 4), (9, 1), (1, 4, 4, 3), (0, 4, 3)]:
        for draw in (to_uint8, encode_png):
            with pytest.raises(PartinrError, match=r"needs \[H, W, C\]"):
                draw(np.zeros(shape))


# ---------------------------------------------------------------------------------------------------------------------
# partition_overlay


@pytest.mark.parametrize("channels", [1, 3])
def test_one_region_is_the_image(channels):
    image = to_uint8(RNG.random((6, 8, channels))).astype(np.float32) / 255
    overlay = partition_overlay(image, np.zeros((6, 8), int))
    factor = overlay.shape[0] // 6
    assert overlay.shape == (6 * factor, 8 * factor, 3)
    assert np.array_equal(overlay[::factor, ::factor], np.broadcast_to(image, (6, 8, 3)))


def test_enlarged_by_a_whole_factor():
    for shape, factor in [
        ((512, 512), 2),
        ((32, 48), 22),
        ((700, 1000), 2),
        ((1, 1024), 1),
        ((1500, 10), 1),
        ((1, 1), 1024),
    ]:
        overlay = partition_overlay(np.zeros((*shape, 1)), np.zeros(shape, int))
        assert overlay.shape == (factor * shape[0], factor * shape[1], 3)
        assert overlay.dtype == np.float32


def test_overlay_is_a_picture():
    for regions in [2, 9, 64, 1000]:
        overlay = partition_overlay(RNG.random((64, 96, 3)), voronoi(64, 96, regions))
        assert overlay.dtype == np.float32
        assert overlay.min() >= 0
        assert overlay.max() <= 1
        Image.open(BytesIO(encode_png(overlay))).verify()


def test_labels_may_be_a_tensor():
    image, labels = torch.rand(8, 8, 3), torch.arange(64).reshape(8, 8) // 32
    assert np.array_equal(partition_overlay(image, labels), partition_overlay(image.numpy(), labels.numpy()))


@pytest.mark.parametrize("border", [1, 2, 3, 6])
def test_border_is_centred_between_the_pixels(border):
    """Two regions, one above the other: white rows of the given number, in the middle up to half a pixel."""
    labels = np.repeat([0, 1], 4)[:, None].repeat(8, axis=1)
    overlay = partition_overlay(np.full((8, 8, 1), 0.5), labels, border=border)
    white = np.flatnonzero((overlay == 1).all(axis=(1, 2)))
    assert len(white) == border
    assert abs(white.mean() + 0.5 - overlay.shape[0] / 2) <= 0.5
    edges = np.array([white[0] - 1, white[-1] + 1])
    assert (overlay[edges] < overlay[[edges[0] - 2, edges[1] + 2]]).any(axis=2).all()


def test_borders_leave_every_pixel_visible():
    """Even where each pixel is a region, its colour shows, not only borders."""
    overlay = partition_overlay(np.full((16, 16, 1), 0.5), np.arange(256).reshape(16, 16))
    factor = overlay.shape[0] // 16
    white = (overlay == 1).all(axis=2).reshape(16, factor, 16, factor).mean(axis=(1, 3))
    assert white.min() > 0
    assert white.max() < 0.1


@covering(side=[342, 512, 1024], regions=[2, 9])
def test_no_borders_where_regions_are_scattered_pixels(side, regions):
    overlay = partition_overlay(np.full((side, side, 1), 0.5), RNG.integers(0, regions, (side, side)))
    assert not (overlay == 1).all(axis=2).any()


def test_no_borders_and_no_tint():
    image = to_uint8(RNG.random((1024, 4, 3))).astype(np.float32) / 255
    labels = grid(1024, 4, 2, 2)
    assert np.array_equal(partition_overlay(image, labels, border=0, alpha=0), image)


def tints(labels: np.ndarray) -> np.ndarray:
    """The colour of every pixel's region, ``[H, W, 3]``, as the overlay paints it without image and borders."""
    overlay = partition_overlay(np.zeros((*labels.shape, 1)), labels, border=0, alpha=1)
    factor = overlay.shape[0] // labels.shape[0]
    return overlay[::factor, ::factor]


def test_neighbours_have_different_colours():
    for labels in [
        grid(40, 60, 1, 2),
        grid(40, 60, 3, 3),
        grid(40, 60, 8, 8),
        grid(40, 60, 40, 60),
        voronoi(64, 64, 2),
        voronoi(64, 64, 64),
        voronoi(64, 96, 1000),
        np.minimum(*np.indices((40, 40))) // 3,  # nested corners
        np.pad(np.arange(1, 37).reshape(1, 36), ((3, 3), (0, 0))),  # many regions around one
    ]:
        colours = tints(labels)
        for axis in (0, 1):
            first, second = (np.diff(values, axis=axis) for values in (labels, colours))
            assert (np.abs(second[first != 0]).max(axis=1) > 0.2).all()
            assert (second[first == 0] == 0).all()


@pytest.mark.parametrize(("rows", "columns"), [(3, 3), (8, 8)])
def test_corners_have_different_colours(rows, columns):
    colours = tints(grid(rows * 4, columns * 4, rows, columns))[::4, ::4]
    assert (np.abs(colours[1:, 1:] - colours[:-1, :-1]).max(axis=2) > 0.2).all()
    assert (np.abs(colours[1:, :-1] - colours[:-1, 1:]).max(axis=2) > 0.2).all()


def test_overlays_that_are_refused():
    for labels, options, words in cases(
        (np.zeros((4, 5), int), {}, "one label a pixel"),
        (np.zeros((4, 4)), {}, "must be integers"),
        (np.zeros((4, 4), int), {"alpha": 1.5}, "from 0 to 1"),
        (np.zeros((4, 4), int), {"alpha": float("nan")}, "from 0 to 1"),
        (np.zeros((4, 4), int), {"border": -1}, "0 or more"),
    ):
        with pytest.raises(PartinrError, match=words):
            partition_overlay(np.zeros((4, 4, 3)), labels, **options)


# ---------------------------------------------------------------------------------------------------------------------
# thumbnail and contact_sheet


def test_thumbnail_keeps_the_aspect():
    for shape, small in [
        ((30, 20, 3), (30, 20)),
        ((300, 20, 1), (100, 7)),
        ((50, 200, 3), (25, 100)),
        ((2000, 1, 1), (100, 1)),
    ]:
        image = RNG.random(shape)
        pixels = thumbnail(image, 100)
        assert pixels.dtype == np.uint8
        assert pixels.shape == (*small, 3)
        if small == shape[:2]:
            assert np.array_equal(pixels, to_uint8(image))


COLOURS = np.array([(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 0, 200)], np.uint8)


def plain(number, height, width):
    return Panel(np.broadcast_to(COLOURS[number], (height, width, 3)), f"no. {number}, $x_1$", "你好")


def test_contact_sheet_has_every_picture_in_its_place():
    for shape, size in [
        ((512, 512), (1352, 1504)),
        ((321, 481), (1352, 1078)),
        ((900, 9), (712, 1504)),
    ]:
        sheet = contact_sheet([[plain(0, *shape), plain(1, *shape)], [None, plain(2, *shape)]])
        with Image.open(BytesIO(sheet)) as picture:
            assert picture.size == pytest.approx(size, abs=2)
            pixels = np.asarray(picture.convert("RGB")).astype(int)
        middles = []
        for colour in COLOURS[:3]:
            found = np.argwhere(np.abs(pixels - colour).max(axis=2) < 30)
            high, wide = np.ptp(found, axis=0) + 1
            assert high / wide == pytest.approx(shape[0] / shape[1], rel=0.2 if min(shape) == 9 else 0.02)
            assert len(found) == pytest.approx(high * wide, rel=0.02)  # nothing lies over it
            middles.append(found.mean(axis=0))
        first, second, third = middles
        assert first[0] == pytest.approx(second[0], abs=2)
        assert second[1] == pytest.approx(third[1], abs=2)
        assert first[1] < second[1]
        assert second[0] < third[0]


def test_contact_sheet_is_never_too_wide():
    sheet = contact_sheet([[plain(number % 4, 40, 60) for number in range(columns)] for columns in (12, 1)])
    with Image.open(BytesIO(sheet)) as picture:
        assert 3700 < picture.width <= 4000


def test_contact_sheet_as_pdf_is_the_same_file_each_time():
    first, second = (contact_sheet([[plain(0, 40, 60)]], "pdf") for _ in range(2))
    assert first.startswith(b"%PDF")
    assert first == second
    assert b"/Type3" not in first
