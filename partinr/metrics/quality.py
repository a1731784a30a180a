"""Distance of a reconstruction from its signal: data range 1, values clamped to [0, 1], one image at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from partinr.base.environment import door

if TYPE_CHECKING:
    from partinr.partition import Partition

SEAM_BAND = 2
"""Width of the band along a border: a sample belongs to it if another region is within this many steps."""

SSIM_WINDOW = 11
"""Side of the Gaussian window of SSIM (Wang et al. 2004), in pixels."""

SSIM_SIGMA = 1.5
"""Standard deviation of that window, in pixels."""

SSIM_STABLE = (0.01**2, 0.03**2)
"""Constants of the paper that keep SSIM finite in flat windows, for the means and for the variances."""

SSIM_BLOCK = 54
"""Windows in a row whose sums are one product (measured: the fastest; the maps of a strip stay in the cache)."""

BAND = 2**24
"""Values that :func:`mse` compares at once, to limit memory."""

EXACT_DB = 100.0
"""Upper limit [dB] of a signal's PSNR in a mean over several.

A signal that is fitted exactly, such as a black image, has an infinite PSNR, which would hide all others in the mean.
"""


@door
def mse(reconstruction: Tensor, signal: Tensor) -> float:
    """Mean squared error over all samples and channels, the reconstruction clamped to [0, 1].

    Args:
        reconstruction: ``[*grid, C]``, any values.
        signal: the same shape, in [0, 1].
    """
    if signal.numel() > BAND:
        pairs = zip(*(each.reshape(-1).split(BAND) for each in (reconstruction, signal)), strict=True)
        return sum(mse(*pair) * pair[1].numel() for pair in pairs) / signal.numel()
    difference = reconstruction.detach().float().clamp(0, 1) - signal
    return float(difference.square().mean(dtype=torch.float64))


@door
def psnr(reconstruction: Tensor, signal: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, ``-10 log10(mse)``: infinite for equal images, NaN if a value is NaN."""
    return float(-10 * torch.log10(torch.tensor(mse(reconstruction, signal), dtype=torch.float64)))


def mean_psnr(values: Sequence[float]) -> float:
    """Mean over signals [dB], each limited to :data:`EXACT_DB`; NaN if one is NaN."""
    if len(values) == 1:
        return values[0]
    return sum(min(value, EXACT_DB) for value in values) / len(values)


@door
def ssim(reconstruction: Tensor, signal: Tensor) -> float:
    """Structural similarity (Wang et al. 2004): Gaussian window 11, sigma 1.5, mean over windows and channels.

    Args:
        reconstruction: ``[H, W, C]``, any values; clamped to [0, 1].
        signal: the same shape, in [0, 1].

    Returns:
        at most 1; NaN for a signal that is not an image, or an image with a side below 11 pixels.
    """
    if signal.ndim != 3 or min(signal.shape[:2]) < SSIM_WINDOW:
        return float("nan")
    reach = SSIM_WINDOW - 1
    # Only windows inside the image count, as in the paper and scikit-image.
    height, width, channels = signal.shape[0] - reach, signal.shape[1] - reach, signal.shape[2]
    # On CUDA a single-precision product may be rounded to TF32, which the small variances do not survive.
    window = _window_sums(signal.new_zeros((), dtype=torch.float64 if signal.is_cuda else torch.float32))
    total = 0.0
    with torch.autocast(signal.device.type, enabled=False):
        for top in range(0, height, SSIM_BLOCK):
            strip = slice(top, top + SSIM_BLOCK + reach)
            # Minus the middle of the range, which variances do not depend on, since they are small differences.
            ours = reconstruction[strip].detach().float().clamp(0, 1).movedim(-1, 0).to(window.dtype) - 0.5
            theirs = signal[strip].movedim(-1, 0).to(window.dtype) - 0.5
            maps = torch.stack([ours, theirs, ours * ours + theirs * theirs, ours * theirs])
            rows = maps.shape[2] - reach
            sums = window[:rows, : rows + reach] @ maps
            means = sums.new_empty(4, channels, rows, width)
            for left in range(0, width, SSIM_BLOCK):
                columns = min(SSIM_BLOCK, width - left)
                block = sums[..., left : left + columns + reach]
                means[..., left : left + columns] = block @ window[:columns, : columns + reach].T
            total += float(_ssim_of_means(*means).sum(dtype=torch.float64))
    return total / (height * width * channels)


def _window_sums(like: Tensor) -> Tensor:
    """The matrix ``[n, n + 10]`` that takes n + 10 samples in a row to their weighted sums in n windows.

    The window is separable, and a product with this band takes a tenth of the time of a convolution.

    Args:
        like: has the type and the device of the matrix.
    """
    distance = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    weight = torch.exp(-((distance / SSIM_SIGMA) ** 2) / 2)
    band = torch.zeros(SSIM_BLOCK, SSIM_BLOCK + SSIM_WINDOW - 1, dtype=torch.float64)
    for shift, value in enumerate(weight / weight.sum()):
        band.diagonal(shift).fill_(float(value))
    return band.to(like)


def _ssim_of_means(ours: Tensor, theirs: Tensor, squares: Tensor, product: Tensor) -> Tensor:
    """SSIM of windows from the means of each image, of the sum of both images' squares, and of their product.

    All are of values minus 0.5.
    """
    covariance, variances = product - ours * theirs, squares - ours * ours - theirs * theirs
    ours, theirs = ours + 0.5, theirs + 0.5
    alike = (2 * ours * theirs + SSIM_STABLE[0]) * (2 * covariance + SSIM_STABLE[1])
    return alike / ((ours * ours + theirs * theirs + SSIM_STABLE[0]) * (variances + SSIM_STABLE[1]))


SEAM = ("psnr_band", "psnr_inside", "band", "jump_ratio", "jump_error", "gradient_ratio", "gradient_error")
"""Names of what :func:`seam` measures."""


@door
def seam(reconstruction: Tensor, signal: Tensor, partition: Partition) -> dict[str, float]:
    """How well regions match along their borders, with the reconstruction clamped to [0, 1].

    ``psnr_band`` is the PSNR in the band along borders (:data:`SEAM_BAND`), ``psnr_inside`` that of all other samples,
    in dB; ``band`` is the fraction of samples in the band. A jump is the difference of two neighbours of different
    regions, over all such pairs along all axes. ``jump_ratio`` is its root mean square in the reconstruction over that
    in the signal: 1 if borders are as sharp as in the signal, above 1 with seams or noise.
    ``jump_error`` is the root mean square of the reconstruction's jumps minus the signal's, so that edges of the signal
    along a border do not count as seams. ``gradient_ratio`` and ``gradient_error`` are the same for the jump of the
    slope: the difference of the two neighbours beyond the border minus that of the two before it, a sample apart each.

    Args:
        reconstruction: ``[*grid, C]``, any values.
        signal: the same shape, in [0, 1].
        partition: partition of the signal.

    Returns:
        a number for each name of :data:`SEAM`; NaN if undefined, such as without a border. A ratio is infinite if the
        reconstruction has jumps and the signal has none.
    """
    values, labels = reconstruction.detach().float().clamp(0, 1), partition.labels.to(signal.device)
    band = partition.near_border(SEAM_BAND).to(signal.device)
    found = dict.fromkeys(SEAM, float("nan"))
    found["band"] = float(band.double().mean())
    if not band.any():
        return found
    error = (values - signal).square().mean(-1, dtype=torch.float64)
    found["psnr_band"], found["psnr_inside"] = (float(-10 * torch.log10(error[at].mean())) for at in (band, ~band))
    jumps, bends = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for axis in range(labels.ndim):
        # With the axis in front, compare sample i with sample i + 1.
        region, ours, theirs = (each.movedim(axis, 0) for each in (labels, values, signal))
        meets = region[1:] != region[:-1]
        jumps += _sums(*(each[1:][meets] - each[:-1][meets] for each in (ours, theirs)))
        if len(region) > 3:
            # Two samples on either side, so that each slope is one of a single region.
            apart = meets[1:-1] & ~meets[:-2] & ~meets[2:]
            bends += _sums(
                *(each[3:][apart] - each[2:-1][apart] - each[1:-2][apart] + each[:-3][apart] for each in (ours, theirs))
            )
    for name, (ours_squared, theirs_squared, wrong_squared, count) in (("jump", jumps), ("gradient", bends)):
        found[f"{name}_ratio"] = float((ours_squared / theirs_squared).sqrt())
        found[f"{name}_error"] = float((wrong_squared / count).sqrt())
    return found


def _sums(ours: Tensor, theirs: Tensor) -> Tensor:
    """Sums of squares of both and of their difference, and the count: float64 ``[4]``."""
    squares = [each.square().sum(dtype=torch.float64) for each in (ours, theirs, ours - theirs)]
    return torch.stack([*squares, squares[0].new_tensor(ours.numel())]).cpu()
