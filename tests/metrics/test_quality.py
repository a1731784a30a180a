"""PSNR and SSIM against their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from partinr.metrics.quality import EXACT_DB, SEAM, SEAM_BAND, mean_psnr, mse, psnr, seam, ssim
from partinr.partition import Partition
from tests.covering import covering


def _pair(shape, noise=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    signal = torch.rand(shape, generator=generator)
    return (signal + noise * torch.randn(shape, generator=generator)), signal


def test_psnr_against_its_definition():
    for shape in [(16, 24, 3), (1, 1, 1), (50, 1), (5, 7, 3)]:
        reconstruction, signal = _pair(shape)
        clamped = np.clip(reconstruction.double().numpy(), 0, 1)
        error = np.mean((clamped - signal.double().numpy()) ** 2)
        assert mse(reconstruction, signal) == pytest.approx(error, rel=1e-5)
        assert psnr(reconstruction, signal) == pytest.approx(10 * math.log10(1 / error), abs=1e-4)
        assert psnr(reconstruction, signal) == pytest.approx(
            peak_signal_noise_ratio(signal.numpy(), clamped.astype(np.float32), data_range=1.0), abs=1e-4
        )


def test_psnr_of_a_constant_error():
    for error in [0.5, 0.1, 1e-3]:
        signal = torch.full((4, 6, 3), 0.25)
        assert psnr(signal + error, signal) == pytest.approx(-20 * math.log10(error), abs=1e-3)


def test_values_are_clamped_before_they_are_compared():
    signal = torch.tensor([[[0.0], [1.0]]])
    assert psnr(torch.tensor([[[-5.0], [9.0]]]), signal) == math.inf
    assert psnr(torch.tensor([[[-math.inf], [math.inf]]]), signal) == math.inf
    assert psnr(torch.full((3, 3, 1), 7.0), torch.zeros(3, 3, 1)) == pytest.approx(0.0)


def test_equal_images_are_infinitely_near():
    signal = torch.rand(12, 13, 3)
    assert psnr(signal.clone(), signal) == math.inf
    assert mse(signal.clone(), signal) == 0
    assert ssim(signal.clone(), signal) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("size", [8, 16])
def test_nan_is_never_hidden(size):
    reconstruction, signal = _pair((size, size, 3))
    reconstruction[3, 4, 1] = math.nan
    assert math.isnan(mse(reconstruction, signal))
    assert math.isnan(psnr(reconstruction, signal))
    assert math.isnan(ssim(reconstruction, signal))


def test_one_image_that_is_met_exactly_does_not_hide_the_others():
    assert mean_psnr([20.0, 30.0]) == 25
    assert mean_psnr([20.0, math.inf]) == (20 + EXACT_DB) / 2
    assert mean_psnr([math.inf]) == math.inf
    assert math.isnan(mean_psnr([math.nan, math.inf]))


def test_a_large_image_loses_no_digits():
    # Seventeen million small squares: single precision would stop counting.
    signal = torch.zeros(2048, 2048, 1)
    assert mse(torch.full_like(signal, 1e-3), signal) == pytest.approx(1e-6, rel=1e-6)


@covering(shape=[(16, 24, 3), (24, 16, 3), (11, 11, 1), (40, 12, 1)], noise=[0.01, 0.1, 0.5])
def test_ssim_against_scikit_image(shape, noise):
    reconstruction, signal = _pair(shape, noise)
    expected = structural_similarity(
        signal.double().numpy(),
        reconstruction.clamp(0, 1).double().numpy(),
        data_range=1.0,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(reconstruction, signal) == pytest.approx(expected, abs=2e-4)


def test_ssim_of_flat_images():
    flat = torch.full((16, 16, 3), 0.5)
    assert ssim(flat, flat) == pytest.approx(1.0, abs=1e-6)
    c1 = 0.01**2
    assert ssim(torch.zeros_like(flat), flat) == pytest.approx(c1 / (0.25 + c1), abs=1e-5)


def test_there_is_no_ssim_below_the_window_or_without_an_image():
    for shape in [(10, 30, 3), (30, 10, 3), (1, 1, 1), (50, 1), (50, 2)]:
        reconstruction, signal = _pair(shape)
        assert math.isnan(ssim(reconstruction, signal))


def test_any_precision_of_the_reconstruction():
    for dtype in [torch.bfloat16, torch.float16, torch.float64]:
        reconstruction, signal = _pair((16, 16, 3))
        assert psnr(reconstruction.to(dtype), signal) == pytest.approx(psnr(reconstruction, signal), abs=0.05)
        assert ssim(reconstruction.to(dtype), signal) == pytest.approx(ssim(reconstruction, signal), abs=0.01)


def test_no_gradient_is_asked_for():
    reconstruction, signal = _pair((16, 16, 3))
    reconstruction.requires_grad_()
    assert isinstance(psnr(reconstruction, signal), float)
    assert isinstance(ssim(reconstruction, signal), float)


@pytest.mark.parametrize("autocast", [False, True])
def test_ssim_in_blocks_is_that_of_torchmetrics(monkeypatch, autocast):
    reconstruction, signal = _pair((31, 27, 3), 0.1)
    windows = structural_similarity_index_measure(
        reconstruction.clamp(0, 1).movedim(-1, 0)[None],
        signal.movedim(-1, 0)[None],
        data_range=1.0,
        return_full_image=True,
    )[1]
    # Without the windows that torchmetrics adds over a reflected border.
    expected = float(windows[..., 5:-5, 5:-5].mean(dtype=torch.float64))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):  # as in training with bf16-mixed
        for block in [1, 2, 7, 17, 54]:
            monkeypatch.setattr("partinr.metrics.quality.SSIM_BLOCK", block)
            assert ssim(reconstruction, signal) == pytest.approx(expected, abs=1e-5)


def _by_hand(reconstruction, signal, labels):
    """Seams in an image, pixel by pixel."""
    ours, theirs = reconstruction.clamp(0, 1).double(), signal.double()
    height, width = labels.shape
    band = torch.zeros(labels.shape, dtype=torch.bool)
    for y, x in itertools.product(range(height), range(width)):
        around = labels[max(0, y - SEAM_BAND) : y + SEAM_BAND + 1, max(0, x - SEAM_BAND) : x + SEAM_BAND + 1]
        band[y, x] = bool((around != labels[y, x]).any())
    jumps, bends = [], []
    for region, own, true in ((labels, ours, theirs), (labels.T, ours.transpose(0, 1), theirs.transpose(0, 1))):
        for line, a, b in zip(region.tolist(), own, true, strict=True):
            for i in range(len(line) - 1):
                if line[i] != line[i + 1]:
                    jumps.append((a[i + 1] - a[i], b[i + 1] - b[i]))
                    if 0 < i < len(line) - 2 and line[i - 1] == line[i] and line[i + 1] == line[i + 2]:
                        bends.append(tuple((v[i + 2] - v[i + 1]) - (v[i] - v[i - 1]) for v in (a, b)))
    found = {"band": float(band.double().mean())}
    for name, at in (("psnr_band", band), ("psnr_inside", ~band)):
        found[name] = -10 * math.log10(float((ours - theirs)[at].square().mean()))
    for name, pairs in (("jump", jumps), ("gradient", bends)):
        a, b = (torch.stack(each) for each in zip(*pairs, strict=True))
        found[f"{name}_ratio"] = float((a.square().mean() / b.square().mean()).sqrt())
        found[f"{name}_error"] = float((a - b).square().mean().sqrt())
    return found


@pytest.mark.parametrize("channels", [1, 3])
def test_seams_against_their_definition(channels):
    reconstruction, signal = _pair((17, 22, channels))
    labels = torch.zeros(17, 22, dtype=torch.int64)
    labels[:6, 9:] = 1
    labels[6:8, :3] = 2  # too thin for a slope of its own
    labels[12, 15] = 3
    found = seam(reconstruction, signal, Partition(labels))
    assert set(found) == set(SEAM)
    assert found == pytest.approx(_by_hand(reconstruction, signal, labels), rel=1e-5)


def test_seams_of_a_volume_are_those_of_its_slices():
    reconstruction, signal = _pair((9, 12, 2))
    labels = torch.zeros(9, 12, dtype=torch.int64)
    labels[3:, 5:] = 1
    flat = seam(reconstruction, signal, Partition(labels))
    deep = [each.expand(4, -1, -1, -1) for each in (reconstruction, signal)]
    assert seam(deep[0], deep[1], Partition(labels.expand(4, -1, -1))) == pytest.approx(flat, rel=1e-5)
    turned = seam(reconstruction[:, :, None], signal[:, :, None], Partition(labels[..., None]))
    assert turned == pytest.approx(flat, rel=1e-5)


def test_an_edge_of_the_image_is_no_seam():
    # A step of the image that lies on the border, met exactly but for a constant that both regions are off by.
    labels = (torch.arange(12) >= 6).long().expand(8, 12)
    signal = 0.2 + 0.5 * labels.unsqueeze(-1).expand(8, 12, 3).float()
    found = seam(signal + 0.1, signal, Partition(labels))
    assert found["jump_error"] == pytest.approx(0, abs=1e-6)
    assert found["jump_ratio"] == pytest.approx(1, abs=1e-6)
    assert found["psnr_band"] == pytest.approx(20, abs=1e-3)
    assert found["psnr_inside"] == pytest.approx(20, abs=1e-3)
    # One of them alone: its offset is the error of the jump, and of no slope.
    found = seam(signal + 0.1 * labels.unsqueeze(-1), signal, Partition(labels))
    assert found["jump_error"] == pytest.approx(0.1, abs=1e-6)
    assert found["jump_ratio"] == pytest.approx(1.2, abs=1e-6)
    assert found["gradient_error"] == pytest.approx(0, abs=1e-6)


def test_a_kink_is_a_jump_of_the_slope_only():
    x = torch.linspace(0, 1, 40)
    labels = (torch.arange(40) >= 20).long()
    kink = (x + 0.5 * (x - 0.5).abs()).unsqueeze(-1) / 2
    found = seam(kink, x.unsqueeze(-1) / 2, Partition(labels))
    step = 1 / 39 / 2
    assert found["gradient_error"] == pytest.approx(step, rel=1e-3)
    assert found["gradient_ratio"] > 100
    assert found["jump_error"] < 0.1 * step


def test_equal_images_have_no_seam():
    _, signal = _pair((12, 12, 3))
    found = seam(signal, signal, Partition(torch.arange(12)[:, None].expand(12, 12) // 6))
    assert (found["psnr_band"], found["psnr_inside"]) == (math.inf, math.inf)
    assert (found["jump_ratio"], found["gradient_ratio"]) == (1, 1)
    assert (found["jump_error"], found["gradient_error"]) == (0, 0)


def test_without_a_border_there_is_nothing_to_measure():
    for shape in [(9, 9, 3), (1, 1, 1), (30, 1)]:
        reconstruction, signal = _pair(shape)
        found = seam(reconstruction, signal, Partition(torch.zeros(shape[:-1], dtype=torch.int64)))
        assert found.pop("band") == 0
        assert all(math.isnan(value) for value in found.values())


def test_where_all_is_band_nothing_is_inside():
    reconstruction, signal = _pair((3, 3, 1))
    found = seam(reconstruction, signal, Partition(torch.arange(9).reshape(3, 3)))
    assert found["band"] == 1
    assert found["psnr_band"] == pytest.approx(psnr(reconstruction, signal), abs=1e-4)
    assert math.isnan(found["psnr_inside"])
    assert math.isnan(found["gradient_error"])
