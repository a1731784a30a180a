"""Error maps: one scale for all runs, on which bad and good fits show where they are off."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.pictures.errors import ERROR_SCALE, ErrorScale, error_map


def lightness(colours: np.ndarray) -> np.ndarray:
    return np.asarray(colours @ np.array([0.299, 0.587, 0.114]))


@pytest.mark.parametrize("scale", [ERROR_SCALE, ErrorScale(0.0, 0.1)])
def test_error_map_grows_lighter_over_its_scale(scale):
    errors = np.concatenate([np.linspace(scale.low, scale.high, 21), [1.5 * scale.high]])
    image = np.full((1, 22, 3), 0.5)
    colours = error_map(image, image + errors[None, :, None], scale)
    assert colours.shape == (1, 22, 3)
    assert colours.dtype == np.float32
    assert (np.diff(lightness(colours)[0, :21]) > 0).all()
    assert np.array_equal(colours[0, 20], colours[0, 21])
    assert lightness(colours)[0, 0] < 0.02


@pytest.mark.parametrize("psnr", [20, 30, 40])
def test_error_map_shows_structure_in_bad_and_good_fits(psnr):
    image = np.full((64, 64, 3), 0.5)
    off = np.random.default_rng(0).laplace(0, 1, image.shape) * 10 ** (-psnr / 20) / 2**0.5
    share = ERROR_SCALE.share(np.abs(off).mean(axis=2))
    assert np.mean((share > 0.02) & (share < 0.98)) > 0.75
    assert np.ptp(lightness(error_map(image, image + off))) > 0.2


def test_error_map_averages_absolute_errors():
    image = np.full((2, 2, 3), 0.5)
    signed, one = image + np.array([0.03, -0.03, 0]), image + np.array([0.06, 0, 0])
    assert np.allclose(error_map(image, signed), error_map(image, one), atol=1e-2)
    assert np.allclose(error_map(image, signed), error_map(image[..., :1], image[..., :1] + 0.02), atol=1e-2)


def test_error_map_clips_as_the_psnr_does():
    image = np.ones((2, 2, 1))
    assert np.array_equal(error_map(image, image + 5), error_map(image, image))


def test_error_map_of_a_reconstruction_that_diverged():
    image = torch.full((1, 2, 1), 0.5)
    broken = torch.tensor([[[torch.nan], [0.5]]])
    assert error_map(image, broken)[0, 0].sum() > error_map(image, broken)[0, 1].sum() + 1


def test_error_map_of_different_shapes():
    with pytest.raises(PartinrError, match="equal shapes"):
        error_map(np.zeros((4, 4, 3)), np.zeros((4, 5, 3)))
