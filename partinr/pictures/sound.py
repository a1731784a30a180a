"""Pictures of sounds: the waveform above the spectrogram, on scales that are the same for all sounds.

Sounds are float ``[N, C]`` in [-1, 1], NumPy arrays. Time goes from left to right.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

WIDTH, WAVE, SPECTRUM = 1024, 160, 320
"""Width of a picture, height of the waveform and height of the spectrogram, in pixels."""

WINDOW = 1024
"""Samples of the window of a spectrum."""

DECIBELS = 90.0
"""Range of the spectrogram below a full-scale sine."""

_INK, _PAPER, _LINE = (31, 78, 121), (255, 255, 255), (214, 219, 224)


def sound_picture(sound: NDArray[np.floating]) -> NDArray[np.float32]:
    """The waveform, and below it the spectrogram of the mean of all channels with low frequencies at the bottom.

    Args:
        sound: ``[N, C]`` in [-1, 1].

    Returns:
        float32 RGB ``[H, W, 3]`` in [0, 1].
    """
    finite = np.nan_to_num(sound, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.concatenate([_waveform(finite), _spectrogram(finite.mean(axis=1))])


def sound_columns(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """The region of each pixel of :func:`sound_picture`, that of the sample in the middle of its column.

    Args:
        labels: ``[N]``.

    Returns:
        ``[H, W]``.
    """
    return np.broadcast_to(labels[_middles(len(labels))], (WAVE + SPECTRUM, WIDTH))


def _middles(samples: int) -> NDArray[np.int64]:
    """The sample in the middle of each column."""
    return (2 * np.arange(WIDTH) + 1) * samples // (2 * WIDTH)


def _waveform(sound: NDArray[np.floating]) -> NDArray[np.float32]:
    """From the lowest to the highest sample of each column, over all channels."""
    starts = np.minimum(np.arange(WIDTH) * len(sound) // WIDTH, len(sound) - 1)
    low = np.minimum.reduceat(sound.min(axis=1), starts)
    high = np.maximum.reduceat(sound.max(axis=1), starts)
    # Rows from the top; a line of at least one pixel.
    top, bottom = (np.rint((1 - each.clip(-1, 1)) / 2 * (WAVE - 1)) for each in (high, low))
    row = np.arange(WAVE)[:, None]
    picture: NDArray[np.float32] = np.full((WAVE, WIDTH, 3), _PAPER, np.float32)
    picture[WAVE // 2] = _LINE
    picture[(row >= top) & (row <= bottom)] = _INK
    picture[-1] = _LINE
    return picture / np.float32(255)


def _spectrogram(wave: NDArray[np.floating]) -> NDArray[np.float32]:
    """The level of each frequency in the window around the middle of each column, in the colours of a light map."""
    padded = np.pad(wave, WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[_middles(len(wave))]
    window = np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames * window)[:, 1:]) ** 2 / (window.sum() / 2) ** 2
    level = 10 * np.log10(np.maximum(power, 1e-20))
    share = (1 + level / DECIBELS).clip(0, 1)
    # The rows of the picture share the frequencies; of several in a row the strongest shows.
    starts = np.arange(SPECTRUM) * share.shape[1] // SPECTRUM
    rows = np.maximum.reduceat(share, starts, axis=1).T[::-1]
    return _colours()[np.rint(rows * 255).astype(np.uint8)]


@cache
def _colours() -> NDArray[np.float32]:
    """The 256 colours of levels: float32 ``[256, 3]``."""
    # Slower to import than the rest of this module.
    import matplotlib

    return np.array(matplotlib.colormaps["magma"].resampled(256)(range(256)), dtype=np.float32)[:, :3]
