"""Distance of a sound's reconstruction from the sound. Both are scaled to [-1, 1], so that silence is 0."""

from __future__ import annotations

import torch
from torch import Tensor

from partinr.base.environment import door

WINDOW = 2048
"""Samples of a frame of the spectra that :func:`log_spectral_distance` compares, as in audio super-resolution."""

HOP = 512
"""Samples from one of its frames to the next."""

FLOOR = 1e-8
"""Power that is added to both spectra. Without it, silence would be infinitely far from the faintest noise."""


@door
def snr(reconstruction: Tensor, signal: Tensor) -> float:
    """Signal-to-noise ratio in dB, mean over channels: infinite for equal sounds, -infinite for a silent channel.

    Args:
        reconstruction: ``[N, C]``, any values; clamped to [0, 1].
        signal: the same shape, in [0, 1].
    """
    ours, theirs = _waves(reconstruction, signal)
    return _decibels(theirs, ours - theirs)


@door
def si_snr(reconstruction: Tensor, signal: Tensor) -> float:
    """Scale-invariant signal-to-noise ratio in dB (Luo and Mesgarani 2018), mean over channels.

    Both are centred, and the part of the reconstruction along the signal counts as signal, whatever its loudness.
    """
    ours, theirs = (each - each.mean(-1, keepdim=True) for each in _waves(reconstruction, signal))
    scale = (ours * theirs).sum(-1, keepdim=True) / theirs.square().sum(-1, keepdim=True)
    return _decibels(scale * theirs, ours - scale * theirs)


@door
def log_spectral_distance(reconstruction: Tensor, signal: Tensor) -> float:
    """Log-spectral distance, mean over channels; 0 for equal sounds.

    It is the root mean square over frequencies of the difference of log10 power spectra, mean over frames, with a Hann
    window of :data:`WINDOW` samples every :data:`HOP` samples.
    """
    ours, theirs = (_log_power(each) for each in _waves(reconstruction, signal))
    return float((ours - theirs).square().mean(1).sqrt().mean())


def _waves(*sounds: Tensor) -> list[Tensor]:
    """Sounds ``[N, C]`` in [0, 1] as float64 ``[C, N]`` in [-1, 1]."""
    return [2 * sound.detach().double().clamp(0, 1).T - 1 for sound in sounds]


def _decibels(signal: Tensor, noise: Tensor) -> float:
    ratio = signal.square().sum(-1) / noise.square().sum(-1)
    return float(10 * torch.log10(ratio).mean())


def _log_power(wave: Tensor) -> Tensor:
    """log10 of the power of each frequency and frame: ``[C, frequencies, frames]``."""
    window = torch.hann_window(WINDOW, dtype=wave.dtype, device=wave.device)
    spectrum = torch.stft(wave, WINDOW, HOP, window=window, pad_mode="constant", return_complex=True)
    return torch.log10(spectrum.abs().square() + FLOOR)
