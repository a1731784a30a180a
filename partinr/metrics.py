"""How near a reconstruction is to its signal: data range 1, values clamped to [0, 1], one image at a time."""

from __future__ import annotations

import torch
from torch import Tensor

SSIM_WINDOW = 11
"""Side of the Gaussian window of SSIM (Wang et al. 2004), in pixels."""

SSIM_SAMPLES = 2**19
"""Pixels whose windows are evaluated at once."""


def mse(reconstruction: Tensor, signal: Tensor) -> float:
    """Mean squared error over all samples and channels, the reconstruction clamped to [0, 1].

    Args:
        reconstruction: ``[*grid, C]``, any values.
        signal: the same shape, in [0, 1].
    """
    difference = reconstruction.detach().float().clamp(0, 1) - signal
    return float(difference.square().mean(dtype=torch.float64))


def psnr(reconstruction: Tensor, signal: Tensor) -> float:
    """Peak signal-to-noise ratio in dB, ``-10 log10(mse)``: infinite for equal images, NaN if a value is NaN."""
    return float(-10 * torch.log10(torch.tensor(mse(reconstruction, signal), dtype=torch.float64)))


def ssim(reconstruction: Tensor, signal: Tensor) -> float:
    """Structural similarity (Wang et al. 2004): Gaussian window 11, sigma 1.5, mean over windows and channels.

    Args:
        reconstruction: ``[H, W, C]``, any values; clamped to [0, 1].
        signal: the same shape, in [0, 1].

    Returns:
        at most 1; NaN where there is none: a signal that is no image, or an image with a side below 11 pixels.
    """
    if signal.ndim != 3 or min(signal.shape[:2]) < SSIM_WINDOW:
        return float("nan")
    # Late, because torchmetrics takes a second to import and only an evaluation needs it.
    from torchmetrics.functional.image import structural_similarity_index_measure

    border = SSIM_WINDOW // 2
    height, width, channels = signal.shape
    total = 0.0
    # In strips, for it takes two dozen times the image's memory at once. A strip has the rows that the windows of
    # its own centres reach.
    rows = max(1, SSIM_SAMPLES // width)
    for top in range(border, height - border, rows):
        bottom = min(top + rows, height - border)
        strip = slice(top - border, bottom + border)
        first = reconstruction[strip].detach().float().clamp(0, 1).movedim(-1, 0).unsqueeze(0)
        second = signal[strip].float().movedim(-1, 0).unsqueeze(0)
        _, of_each_window = structural_similarity_index_measure(first, second, data_range=1.0, return_full_image=True)
        # As the paper and scikit-image have it, only windows inside the image count; torchmetrics adds those of a
        # reflected border.
        total += float(of_each_window[..., border:-border, border:-border].sum(dtype=torch.float64))
    return total / ((height - 2 * border) * (width - 2 * border) * channels)
