"""Generated sounds: a melody with rests, and chirps with pauses."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

BEAT = 0.25
"""Seconds of a note or rest of the melody."""

SCALE = (0, 2, 4, 7, 9, 12, 14, 16)
"""Semitones of the melody above its key note, which lies between 165 and 330 Hz: a pentatonic scale."""

PHRASE = 4
"""Beats of a phrase, the last of which is a rest."""

HARMONICS = 6
"""Number of partials of a note."""

CHIRP, PAUSE = 0.35, 0.15
"""Seconds of a chirp, and of the pause after it."""


def melody(seconds: float, rate: int, seed: int) -> NDArray[np.float64]:
    """A melody of plucked notes with exact silence in between.

    Args:
        seconds: its length.
        rate: samples per second [Hz].
        seed: of the notes; the beginning does not depend on the length.

    Returns:
        ``[N, 1]`` in [-1, 1].
    """
    rng, time = np.random.default_rng(seed), _time(seconds, rate)
    sound, key = np.zeros_like(time), 165 * 2 ** rng.random()
    for beat in range(int(np.ceil(seconds / BEAT))):
        semitone = rng.choice(SCALE)
        loudness, decay = rng.uniform(0.4, 1), rng.uniform(2, 6)
        within = (time >= beat * BEAT) & (time < (beat + 1) * BEAT)
        if beat % PHRASE == PHRASE - 1:
            continue
        since = time[within] - beat * BEAT
        pitch = key * 2 ** (semitone / 12)
        for number in range(1, HARMONICS + 1):
            if number * pitch < rate / 2:
                partial = np.sin(2 * np.pi * number * pitch * since) / number
                sound[within] += loudness * np.exp(-decay * number**0.5 * since) * partial
        sound[within] *= _fade(since, BEAT)
    return 0.5 * sound[:, None]


def chirps(seconds: float, rate: int, seed: int) -> NDArray[np.float64]:
    """Sweeps from one frequency to another with pauses of silence; arguments as for :func:`melody`."""
    rng, time = np.random.default_rng(seed), _time(seconds, rate)
    sound = np.zeros_like(time)
    for number in range(int(np.ceil(seconds / (CHIRP + PAUSE)))):
        low, high = np.exp(rng.uniform(np.log(80), np.log(0.4 * rate), 2))
        begin = number * (CHIRP + PAUSE)
        within = (time >= begin) & (time < begin + CHIRP)
        since = time[within] - begin
        phase = 2 * np.pi * (low * since + (high - low) * since**2 / (2 * CHIRP))
        sound[within] = 0.8 * np.sin(phase) * _fade(since, CHIRP)
    return sound[:, None]


GENERATED: Mapping[str, Callable[[float, int, int], NDArray[np.float64]]] = {"chirps": chirps, "melody": melody}
"""Generated sounds by name."""


def _time(seconds: float, rate: int) -> NDArray[np.float64]:
    return np.arange(max(1, round(seconds * rate))) / rate


def _fade(since: NDArray[np.float64], length: float) -> NDArray[np.float64]:
    """A rise and a fall of 10 ms, without which a note would click."""
    edge: NDArray[np.float64] = np.minimum(since, length - since).clip(0, 0.01) / 0.01
    return edge
