"""What observations show of a signal, and the errors that they measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import transform
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.signals.observations import Downsample, Mask, Noise, Observation, Radon


@pytest.fixture(scope="module")
def image() -> Tensor:
    """A smooth image of 24×30 pixels with two channels."""
    row, column = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 30), indexing="ij")
    return torch.stack([torch.exp(-4 * (row**2 + column**2)), (1 + row * column) / 2], dim=-1)


EVERY: dict[str, Observation] = {
    "random mask": Mask(fraction=0.25),
    "text mask": Mask(text="ab", text_size=8),
    "noise": Noise(sigma=0.2, peak=30.0),
    "downsample": Downsample(factor=4),
    "radon": Radon(angles=20),
}


@pytest.mark.parametrize("name", EVERY)
def test_the_signal_itself_fits_and_the_draw_is_the_same_at_every_call(name: str, image: Tensor) -> None:
    observation = EVERY[name]
    seen, again = observation.observe(image, 0), observation.observe(image, 0)
    assert torch.equal(seen.targets, again.targets)
    assert (seen.weights is None) == (again.weights is None)
    right, wrong = float(seen.error(image)), float(seen.error(1 - image))
    assert right == pytest.approx(0, abs=0.1 if name == "noise" else 1e-9)
    assert wrong > right + 0.01
    for shown in (seen.estimate, seen.picture):
        assert shown.dtype == torch.float32
        assert 0 <= float(shown.min()) <= float(shown.max()) <= 1
    assert seen.estimate.shape == image.shape
    # What is known of the signal is better than knowing nothing.
    assert (seen.estimate - image).square().mean() < 0.7 * image.var()


def test_masks_hide_what_they_say(image: Tensor, tmp_path: Path) -> None:
    weights = Mask(fraction=0.25, seed=3).observe(image, 0).weights
    assert weights is not None
    assert int(weights.sum()) == 180
    other = Mask(fraction=0.25, seed=3).observe(image, 1).weights
    assert other is not None
    assert not torch.equal(weights, other)
    drawn = np.zeros((24, 30), dtype=bool)
    drawn[4:9, 5:20] = True
    np.save(tmp_path / "mask.npy", drawn)
    Image.fromarray(drawn.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    for file in ("mask.npy", "mask.png"):
        seen = Mask(path=str(tmp_path / file)).observe(image, 0)
        assert seen.weights is not None
        assert np.array_equal(seen.weights[..., 0].numpy() == 1, drawn)
        # Nothing of a hidden sample is left.
        assert not seen.targets[~torch.from_numpy(drawn)].any()
    written = Mask(text="ab", text_size=8).observe(image, 0).weights
    assert written is not None
    assert 0.5 < float(written.mean()) < 0.95
    hidden = Mask(fraction=0.25).observe(torch.rand(40, 1), 0).weights
    assert hidden is not None
    assert int(hidden.sum()) == 10


def test_noise_has_the_stated_size_and_leaves_the_range() -> None:
    flat = torch.full((100, 100, 1), 0.98)
    gauss = Noise(sigma=0.1).observe(flat, 0).targets - flat
    assert float(gauss.std()) == pytest.approx(0.1, rel=0.05)
    assert float((gauss + flat).max()) > 1
    poisson = Noise(sigma=0.0, peak=50.0).observe(flat / 2, 0).targets
    assert float(poisson.var()) == pytest.approx(0.49 / 50, rel=0.05)
    assert torch.allclose((poisson * 50).round(), poisson * 50, atol=1e-4)  # photons are counted


@pytest.mark.parametrize("shape", [(10,), (8, 6), (5, 4, 6)])
def test_averages_of_boxes_on_any_number_of_axes(shape: tuple[int, ...]) -> None:
    signal = torch.rand(*shape, 2)
    small = Downsample(factor=2).averages(signal)
    assert small.shape == (*((side + 1) // 2 for side in shape), 2)
    first = signal[tuple(slice(0, 2) for _ in shape)].reshape(-1, 2).mean(0)
    assert torch.allclose(small[(0,) * len(shape)], first)
    # A box at the end has fewer samples.
    last = signal[tuple(slice(2 * ((side - 1) // 2), side) for side in shape)].reshape(-1, 2).mean(0)
    assert torch.allclose(small[(-1,) * len(shape)], last)


@pytest.mark.parametrize("shape", [(32, 32), (31, 31), (20, 33)])
def test_projections_are_those_of_scikit_image(shape: tuple[int, int]) -> None:
    signal = torch.rand(*shape, 2, generator=torch.Generator().manual_seed(0))
    found = Radon(angles=[0.0, 17.0, 45.0, 90.0, 133.0]).observe(signal, 0)
    square = torch.zeros(33 if max(shape) == 33 else max(shape), max(shape), 2)
    top, left = (len(square) // 2 - side // 2 for side in shape)
    square[top : top + shape[0], left : left + shape[1]] = signal
    for channel in (0, 1):
        known = transform.radon(square[..., channel].numpy(), [0, 17, 45, 90, 133], circle=False)
        assert np.allclose(found.map(signal)[..., channel].numpy().T * max(shape), known, atol=1e-3)


def test_the_gradient_of_projections_is_the_transposed_map() -> None:
    values = torch.rand(6, 5, 1, dtype=torch.float64, requires_grad=True)
    project = Radon(angles=4).observe(torch.rand(6, 5, 1), 0).map
    assert torch.autograd.gradcheck(project, values)


WRONG: dict[str, tuple[Any, str]] = {
    "no noise": (lambda: Noise(sigma=0.0), "observe.sigma=0 adds no noise"),
    "a box too large": (lambda: Downsample(factor=25).observe(torch.rand(24, 30, 1), 0), "give a smaller factor"),
    "a line": (lambda: Radon().observe(torch.rand(24, 1), 0), "observe=radon projects images"),
    "text on a line": (lambda: Mask(text="a").observe(torch.rand(24, 1), 0), "observe.text='a' is written over"),
    "nothing is seen": (lambda: Mask(fraction=0.01).observe(torch.rand(3, 3, 1), 0), "hides every sample"),
}


@pytest.mark.parametrize("name", WRONG)
def test_refused_in_a_line(name: str) -> None:
    make, said = WRONG[name]
    with pytest.raises(PartinrError, match=said):
        make()


def test_a_mask_of_another_size_or_kind_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "small.npy", np.ones((3, 4)))
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(PartinrError, match="has 3×4 samples, and the signal 24×30"):
        Mask(path=str(tmp_path / "small.npy")).observe(torch.rand(24, 30, 1), 0)
    with pytest.raises(PartinrError, match="is no NPY file of numbers"):
        Mask(path=str(tmp_path / "text.npy")).observe(torch.rand(24, 30, 1), 0)
