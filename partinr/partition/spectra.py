"""The spectrum of a sound over time, for rules that look at it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DYNAMICS = 80.0
"""Below this many dB under the loudest frequency of all, nothing is heard."""

BANDS = 16
"""Number of :func:`bands`."""


def levels(values: NDArray[np.float32], window: int, hop: int) -> NDArray[np.float32]:
    """The level of each frequency over time, in dB above the least that is heard.

    Args:
        values: ``[n, C]``; of several channels the mean is taken.
        window: samples of a frame.
        hop: samples from one frame to the next; frame i is around sample (i + 1/2) ``hop``.

    Returns:
        ``[n // hop, window // 2 + 1]``, from 0 to :data:`DYNAMICS`.
    """
    wave = np.pad(values.mean(-1) - values.mean(), (max(0, window - hop) // 2, window))
    frames = np.lib.stride_tricks.sliding_window_view(wave, window)[::hop][: max(1, len(values) // hop)]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(window))))
    least = max(power.max() * 10 ** (-DYNAMICS / 10), 1e-30)
    return (10 * np.log10(np.maximum(power, least) / least)).astype(np.float32)


def bands(values: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """The mean level of at most :data:`BANDS` bands of frequencies, each as many times wider as it is higher.

    Args:
        values: ``[n, C]``.
        window: samples of a frame; the next is a quarter of it later.

    Returns:
        ``[frames, bands]``, scaled so that two spectra that differ by :data:`DYNAMICS` in all bands are 1 apart.
    """
    found = levels(values, window, max(1, window // 4)) / DYNAMICS
    starts = np.unique(np.geomspace(1, found.shape[1], BANDS + 1).astype(int))[:-1]
    widths = np.diff([*starts, found.shape[1]])
    return np.add.reduceat(found, starts, axis=1) / (widths * np.sqrt(len(starts))).astype(np.float32)
