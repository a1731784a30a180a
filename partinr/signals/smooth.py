"""Smooth signals: sums of a few cosines of low frequency, which small networks fit quickly."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from partinr.coords import grid_coords


def smooth_signal(
    shape: Sequence[int], channels: int, *, seed: Sequence[int], waves: int = 6, frequency: float = 2.0
) -> Tensor:
    """A sum of cosines of random direction, frequency, phase and amplitude, independent in each channel.

    A place has the same value at every resolution.

    Args:
        shape: of the grid, each at least 1.
        channels: C.
        seed: whole numbers, 0 or more; the same numbers make the same signal.
        waves: number of cosines in each channel.
        frequency: highest along an axis, in periods over the extent of the signal.

    Returns:
        float32 ``[*shape, C]`` in [0, 1].
    """
    rng = np.random.default_rng(list(seed))
    # Over the extent, from -1 to 1, pi·f·x goes through f periods.
    direction = math.pi * rng.uniform(-frequency, frequency, (len(shape), channels, waves))
    phase = rng.uniform(0, 2 * math.pi, (channels, waves))
    height = rng.uniform(0.2, 1, (channels, waves))
    height /= 2 * height.sum(axis=-1, keepdims=True)
    angle = np.tensordot(grid_coords(shape).numpy(), direction, axes=1) + phase
    values = 0.5 + (height * np.cos(angle)).sum(axis=-1)
    return torch.from_numpy(values.astype(np.float32)).reshape(*shape, channels).clamp_(0, 1)
