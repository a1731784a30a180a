"""Cropping, resizing, built-in images, and images that callers bring."""

from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.signals import builtin_image, builtin_names, check_image, load_image
from partinr.signals.image import read_image
from tests.covering import cases, covering


@pytest.fixture
def save(tmp_path):
    """Write ``[H, W]`` or ``[H, W, 3]`` in [0, 1] as an 8-bit PNG, and give its path."""

    def save_png(array: np.ndarray):
        path = tmp_path / "picture.png"
        Image.fromarray((array * 255).round().astype(np.uint8)).save(path)
        return path

    return save_png


@pytest.fixture
def wide(save):
    return save(np.random.default_rng(0).random((20, 30, 3)))


# ---------------------------------------------------------------------------------------------------------------------
# size and max_side


@pytest.mark.parametrize(
    ("shape", "window"), [((20, 30), (0, 5)), ((30, 20), (5, 0)), ((9, 10), (0, 0)), ((7, 7), (0, 0))]
)
def test_size_crops_the_centred_square(save, shape, window):
    path = save(np.random.default_rng(0).random((*shape, 3)))
    side, (top, left) = min(shape), window
    expected = load_image(path)[top : top + side, left : left + side]
    assert torch.equal(load_image(path, size=side), expected)


@pytest.mark.parametrize("size", [1, 7, 20, 31])
def test_size_is_exact(wide, size):
    image = load_image(wide, size=size)
    assert image.shape == (size, size, 3)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert image.min() >= 0
    assert image.max() <= 1


@pytest.mark.parametrize(
    ("max_side", "shape"), [(30, (20, 30)), (99, (20, 30)), (15, (10, 15)), (7, (5, 7)), (1, (1, 1))]
)
def test_max_side_keeps_the_aspect_and_only_shrinks(wide, max_side, shape):
    assert load_image(wide, max_side=max_side).shape == (*shape, 3)


def test_same_size_is_the_same_image(wide, save):
    assert torch.equal(load_image(wide, max_side=30), load_image(wide))
    square = save(np.random.default_rng(0).random((8, 8, 3)))
    assert torch.equal(load_image(square, size=8), load_image(square))


@pytest.mark.parametrize("options", [{"size": 16}, {"max_side": 16}, {"size": 13}])
def test_shrinking_averages_a_fine_checkerboard(save, options):
    path = save(np.indices((64, 64)).sum(axis=0) % 2.0)
    image = load_image(path, **options)
    inside = image[2:-2, 2:-2]
    assert (inside - 0.5).abs().max() < 0.02
    assert abs(float(image.mean()) - 0.5) < 0.005


def test_resizing_keeps_a_gradient_in_place(save):
    """A ramp stays the same ramp over the unit square: no shift by half a pixel, no swapped axes."""
    rows, columns = (np.arange(64) + 0.5) / 64, (np.arange(96) + 0.5) / 96
    path = save(0.2 * rows[:, None] + 0.7 * columns[None, :])
    image = load_image(path, max_side=24)[:, :, 0].double().numpy()
    rows, columns = (np.arange(16) + 0.5) / 16, (np.arange(24) + 0.5) / 24
    expected = 0.2 * rows[:, None] + 0.7 * columns[None, :]
    assert np.abs(image - expected)[1:-1, 1:-1].max() < 3e-3


def test_enlarging_does_not_overshoot(save):
    image = load_image(save(np.pad(np.ones((4, 4)), 4)), size=48)
    assert image.shape == (48, 48, 1)
    assert image.min() == 0
    assert image.max() == 1


@covering(option=["size", "max_side"], value=[0, -3, 2.5, "8", True])
def test_sizes_without_a_meaning(wide, option, value):
    with pytest.raises(PartinrError, match=f"^{option} must be .*; leave it out"):
        load_image(wide, **{option: value})


def test_options_that_exclude_each_other(wide):
    with pytest.raises(PartinrError, match="exclude each other; keep"):
        load_image(wide, size=8, max_side=8)


def test_size_too_large_to_hold(wide):
    with pytest.raises(PartinrError, match="at most 11585"):
        load_image(wide, size=1_000_000)


def test_unknown_alpha(wide):
    with pytest.raises(PartinrError, match="refuse, white, black, drop or channel, not 'pink'"):
        load_image(wide, alpha="pink")  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------------------
# channels


def test_grey_and_rgb_are_converted_and_are_other_signals(save):
    path = save(np.random.default_rng(0).random((4, 5, 3)))
    colour, grey = load_image(path), load_image(path, channels="grey")
    torch.testing.assert_close(grey, (colour @ torch.tensor([0.299, 0.587, 0.114]))[..., None])
    assert torch.equal(load_image(path, channels="rgb"), colour)
    assert read_image(path, channels="grey").identity != read_image(path).identity
    with pytest.raises(PartinrError, match="channels must be as_is, grey or rgb, not 'gray'"):
        load_image(path, channels="gray")  # type: ignore[arg-type]
    assert torch.equal(load_image(save(np.ones((4, 4, 3))), channels="grey"), torch.ones(4, 4, 1))
    path = save(np.random.default_rng(0).random((4, 5)))
    assert torch.equal(load_image(path, channels="rgb"), load_image(path).expand(4, 5, 3))
    assert torch.equal(load_image(path, channels="grey"), load_image(path))


# ---------------------------------------------------------------------------------------------------------------------
# Built-in images


def test_builtin_image_is_what_scikit_image_gives():
    for name in builtin_names():
        expected = np.atleast_3d(getattr(skimage.data, name)())
        assert expected.dtype == np.uint8
        image = builtin_image(name)
        assert np.array_equal((image * 255).round().numpy(), expected)
        assert image.shape[2] in (1, 3)


def test_builtin_images_ship_with_scikit_image():
    """Those of `skimage.data` that the wheel does not carry would be downloaded."""
    shipped = {file.name for file in importlib.metadata.files("scikit-image") or () if file.match("skimage/data/*")}
    from partinr.signals.image import _BUILTIN_FILES

    assert set(_BUILTIN_FILES.values()) <= shipped


def test_builtin_image_is_resized():
    assert builtin_image("coffee", size=32).shape == (32, 32, 3)
    assert builtin_image("coffee", max_side=30).shape == (20, 30, 3)


def test_unknown_builtin_image():
    with pytest.raises(PartinrError, match=r"did you mean astronaut.*camera"):
        builtin_image("astronut")
    with pytest.raises(PartinrError, match="'qqq'; there are astronaut"):
        builtin_image("qqq")


# ---------------------------------------------------------------------------------------------------------------------
# check_image

ARRAY = np.random.default_rng(0).random((4, 5, 3))


@pytest.mark.parametrize(
    "values",
    [ARRAY, ARRAY.astype(np.float32), ARRAY[:, :, :1], ARRAY[:, :, 0], ARRAY[::-1, ::-1], np.asfortranarray(ARRAY)],
)
@pytest.mark.parametrize("convert", [np.asarray, lambda array: torch.tensor(array.copy())])
def test_images_of_callers(values, convert):
    image = check_image(convert(values))
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert np.array_equal(image.numpy(), np.atleast_3d(values).astype(np.float32))


def test_image_of_a_caller_is_copied():
    for values in (np.zeros((2, 2, 1), np.float32), torch.zeros(2, 2, 1)):
        image = check_image(values)
        values[0, 0, 0] = 1
        assert image.sum() == 0


def test_image_of_a_caller_loses_its_gradient():
    assert not check_image(torch.rand(2, 2, 3, requires_grad=True)).requires_grad


def test_read_only_array():
    values = np.zeros((2, 2, 3))
    values.setflags(write=False)
    assert check_image(values).shape == (2, 2, 3)


def test_images_of_callers_that_are_refused():
    for values, words in cases(
        (np.zeros((4, 4, 3), np.uint8), "uint8.*divide by 255"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), "uint8.*divide by 255"),
        (np.zeros((4, 4), np.uint16), "divide by 65535"),
        (np.zeros((4, 4), np.int64), "int64.*give floats"),
        (torch.zeros(4, 4, dtype=torch.int64), "int64.*give floats"),
        (np.zeros((4, 4), bool), "bool.*give floats"),
        (np.zeros((4, 4), complex), "complex128.*give floats"),
        (np.zeros((4, 4), object), "object.*give floats"),
        (np.zeros((3, 8, 9)), r"has 9 channels.*channels go last.*permute\(1, 2, 0\)"),
        (np.zeros((2, 8, 9, 3)), "one image of the batch"),
        (np.zeros(7), r"not \[7\]; reshape"),
        (np.zeros((0, 5, 3)), "no pixels"),
        (np.zeros((5, 0)), "no pixels"),
        (np.full((2, 2), np.nan), "4 of 4 values that are NaN"),
        (torch.full((2, 2), torch.inf), "infinite"),
        (np.full((2, 2), 255.0), "255 to 255.*clamp"),
        (torch.tensor([[0.5, -0.25]]), "from -0.25 to 0.5"),
        ([[0.0, 1.0]], "not list.*numpy.asarray"),
        (Image.new("L", (2, 2)), "not Image.*load_image"),
        (None, "not NoneType"),
    ):
        with pytest.raises(PartinrError, match=words) as caught:
            check_image(values)
        assert ";" in str(caught.value)
        assert "\n" not in str(caught.value)
