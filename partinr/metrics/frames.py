"""Distance of a film's reconstruction from the film, frame by frame."""

from __future__ import annotations

from torch import Tensor

from partinr.base.environment import door
from partinr.metrics.quality import psnr


@door
def psnr_of_frames(reconstruction: Tensor, signal: Tensor) -> list[float]:
    """PSNR of each frame in dB, as :func:`partinr.metrics.psnr`, with one frame in memory.

    Args:
        reconstruction: ``[T, H, W, C]``, any values.
        signal: the same shape, in [0, 1].
    """
    return [psnr(ours, theirs) for ours, theirs in zip(reconstruction, signal, strict=True)]
