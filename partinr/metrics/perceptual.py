"""Distances of images beyond PSNR and SSIM: MS-SSIM, and LPIPS where its weights are given."""

from __future__ import annotations

import importlib.util
import os
import pickle
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.metrics.quality import SSIM_SIGMA, SSIM_STABLE, SSIM_WINDOW

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales of MS-SSIM, the finest first (Wang, Simoncelli and Bovik 2003, section 3.2)."""

LEAST = SSIM_WINDOW * 2 ** (len(SCALES) - 1)
"""Least side of an image for MS-SSIM [pixels]: one window at the coarsest scale."""

VARIABLE = "PARTINR_LPIPS"
"""Environment variable for torchvision's weights of AlexNet, a file such as alexnet-owt-7be5be79.pth."""

LPIPS_LEAST = 31
"""Least side of an image for AlexNet [pixels]."""

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Normalisation of values in [-1, 1], as in the authors' code."""

_LAYERS = {"0": (4, 2), "3": (1, 2), "6": (1, 1), "8": (1, 1), "10": (1, 1)}
"""Stride and padding of AlexNet's convolutions (Krizhevsky 2014), by torchvision's names."""


@door
def ms_ssim(reconstruction: Tensor, signal: Tensor) -> float:
    """SSIM over five scales (Wang, Simoncelli and Bovik 2003, equation 7), means over windows and channels.

    Args:
        reconstruction: ``[H, W, C]``, any values; clamped to [0, 1].
        signal: the same shape, in [0, 1].

    Returns:
        at most 1; NaN for a signal that is not an image, or an image with a side below :data:`LEAST`.
    """
    if signal.ndim != 3 or min(signal.shape[:2]) < LEAST:
        return float("nan")
    distance = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    weight = torch.exp(-((distance / SSIM_SIGMA) ** 2) / 2)
    # On CUDA a single-precision convolution may be rounded to TF32.
    window = (weight / weight.sum()).to(signal.device, torch.float64 if signal.is_cuda else torch.float32)
    found = torch.ones((), dtype=torch.float64)
    # [C, 1, H, W]; minus the middle of the range, since variances are small differences.
    planes = (each.detach().float().clamp(0, 1).movedim(-1, 0).unsqueeze(1) for each in (reconstruction, signal))
    ours, theirs = (each.to(window.dtype) - 0.5 for each in planes)
    with torch.autocast(signal.device.type, enabled=False):
        for scale, exponent in enumerate(SCALES, 1):
            luminance, contrast = _terms(ours, theirs, window)
            both = luminance * contrast if scale == len(SCALES) else contrast
            # A mean below 0 has no power; it counts as 0, as in other implementations.
            found *= both.mean(dtype=torch.float64).clamp(min=0).cpu() ** exponent
            ours, theirs = F.avg_pool2d(ours, 2), F.avg_pool2d(theirs, 2)
    return float(found)


def _terms(ours: Tensor, theirs: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast with structure, of all windows: ``[C, 1, h, w]`` each."""
    maps = torch.cat([ours, theirs, ours * ours, theirs * theirs, ours * theirs])
    means = F.conv2d(F.conv2d(maps, window.reshape(1, 1, 1, -1)), window.reshape(1, 1, -1, 1))
    own, their, squares, their_squares, product = means.chunk(5)
    variances = squares - own**2 + their_squares - their**2
    contrast = (2 * (product - own * their) + SSIM_STABLE[1]) / (variances + SSIM_STABLE[1])
    own, their = own + 0.5, their + 0.5
    return (2 * own * their + SSIM_STABLE[0]) / (own**2 + their**2 + SSIM_STABLE[0]), contrast


def lpips_weights() -> Path | None:
    """The file that :data:`VARIABLE` names; None without one.

    Raises:
        PartinrError: it has no weights of AlexNet.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    path = Path(named).expanduser()
    _network(path)
    return path


@door
def lpips(reconstruction: Tensor, signal: Tensor, weights: Path) -> float:
    """LPIPS of version 0.1 with AlexNet (Zhang et al. 2018, equation 1): 0 for equal images, more for others.

    Args:
        reconstruction: ``[H, W, 1 or 3]``, any values; clamped to [0, 1].
        signal: the same shape, in [0, 1].
        weights: torchvision's weights of AlexNet.

    Returns:
        NaN for other numbers of channels, or an image with a side below :data:`LPIPS_LEAST`.

    Raises:
        PartinrError: the file has no weights of AlexNet.
    """
    if signal.ndim != 3 or signal.shape[2] not in (1, 3) or min(signal.shape[:2]) < LPIPS_LEAST:
        return float("nan")
    params = {name: value.to(signal.device) for name, value in _network(weights).items()}
    x = torch.stack([each.detach().float().clamp(0, 1) for each in (reconstruction, signal)])
    shift, scale = (x.new_tensor(each) for each in (_SHIFT, _SCALE))
    x = ((2 * x - 1 - shift) / scale).movedim(-1, 1)
    found = 0.0
    with torch.autocast(signal.device.type, enabled=False), torch.no_grad():
        for head, (name, (stride, padding)) in enumerate(_LAYERS.items()):
            if name in ("3", "6"):
                x = F.max_pool2d(x, 3, 2)
            x = F.conv2d(x, params[f"{name}.weight"], params[f"{name}.bias"], stride, padding).relu()
            unit = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-8)
            found += float(F.conv2d((unit[:1] - unit[1:]).square(), params[f"head.{head}"]).mean())
    return found


@lru_cache(maxsize=1)
def _network(path: Path) -> dict[str, Tensor]:
    """AlexNet's convolutions by torchvision's names, and the heads of LPIPS, which torchmetrics brings along."""
    found = importlib.util.find_spec("torchmetrics")
    assert found is not None and found.origin is not None  # Lightning needs it
    heads = Path(found.origin).parent / "functional" / "image" / "lpips_models" / "alex.pth"
    try:
        own = torch.load(path, map_location="cpu", weights_only=True)
        known = torch.load(heads, map_location="cpu", weights_only=True)
        layers = {f"{name}.{part}": own[f"features.{name}.{part}"] for name in _LAYERS for part in ("weight", "bias")}
        return layers | {f"head.{number}": known[f"lin{number}.model.1.weight"] for number in range(len(_LAYERS))}
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it has no weights of AlexNet"
        raise PartinrError(
            f"{VARIABLE}={path} cannot be read: {reason}; give torchvision's alexnet-owt-7be5be79.pth, or unset it"
        ) from error
