"""Distances of sounds, against torchmetrics."""

from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_noise_ratio, signal_noise_ratio

from partinr.metrics.sound import log_spectral_distance, si_snr, snr


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    signal = torch.rand(3000, 2, generator=generator)
    return (0.8 * signal + 0.1 + 0.05 * torch.rand(3000, 2, generator=generator)).clamp(0, 1), signal


def test_ratios_are_those_of_torchmetrics(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    ours, theirs = (2 * each.T.double() - 1 for each in pair)
    assert snr(*pair) == pytest.approx(float(signal_noise_ratio(ours, theirs).mean()), abs=1e-6)
    assert si_snr(*pair) == pytest.approx(float(scale_invariant_signal_noise_ratio(ours, theirs).mean()), abs=1e-6)
    # Half as loud: another sound, but the same up to scale.
    quiet = (pair[1] - 0.5) / 2 + 0.5
    assert snr(quiet, pair[1]) == pytest.approx(20 * math.log10(2), abs=1e-4)
    assert si_snr(quiet, pair[1]) > 100


def test_an_exact_sound_and_silence() -> None:
    signal = torch.rand(40, 1, generator=torch.Generator().manual_seed(0))
    assert (snr(signal, signal), log_spectral_distance(signal, signal)) == (math.inf, 0.0)
    assert snr(signal, torch.full((40, 1), 0.5)) == -math.inf
    assert math.isnan(snr(torch.full((40, 1), math.nan), signal))


def test_a_spectrum_that_is_ten_times_as_strong_is_at_distance_one() -> None:
    noise = torch.randn(8192, 1, generator=torch.Generator().manual_seed(0))
    loud, quiet = (0.5 + noise.clamp(-3, 3) * part / 12 for part in (1.0, 10**-0.5))
    assert log_spectral_distance(quiet, loud) == pytest.approx(1.0, abs=1e-3)
