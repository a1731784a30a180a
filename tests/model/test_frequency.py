"""The frequency that follows from spectra: of cosines, whose frequency is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from partinr.backbones import Finer, Fourier, Gauss, Siren
from partinr.base.errors import PartinrError
from partinr.coords import axis_coords
from partinr.model.frequency import advice_on_frequency, distance, settle_frequency, spectrum
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Partition, Whole


def waves(periods: float, *shape: int) -> Tensor:
    """``[*shape, 1]``: a cosine along each axis."""
    along = [torch.cos(math.pi * periods * axis_coords(n)) for n in shape]
    total = torch.zeros(shape, dtype=torch.float64)
    for axis, values in enumerate(along):
        total = total + values.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return (0.5 + total / (2 * len(shape))).float()[..., None]


@pytest.mark.parametrize("shape", [(64,), (32, 32), (16, 20, 16)])
def test_a_wave_is_a_line_of_its_spectrum(shape: tuple[int, ...]) -> None:
    found = spectrum(waves(5, *shape))
    assert (len(found), int(found.argmax())) == (max(shape) // 2, 4)
    assert float(found.sum()) == pytest.approx(1)
    assert found[4] > 0.999
    assert distance(found, spectrum(waves(7, *shape))) == pytest.approx(2, rel=1e-3)
    assert not spectrum(torch.full((*shape, 2), 0.3)).any()


def test_a_spectrum_sums_magnitudes_over_diagonals() -> None:
    values = torch.rand(6, 6, 2, generator=torch.Generator().manual_seed(0))
    magnitude = torch.fft.fft2(values.double(), dim=(0, 1)).abs().sum(-1)
    by_periods = [0.0] * 4
    for row in range(6):
        for column in range(6):
            if (periods := min(row, 6 - row) + min(column, 6 - column)) < 4:
                by_periods[periods] += float(magnitude[row, column])
    expected = torch.tensor(by_periods[1:], dtype=torch.float64)
    torch.testing.assert_close(spectrum(values), expected / expected.sum())


def settled(
    backbone: Any, periods: float, *shape: int, partition: Partition | None = None, frame: Any = "global"
) -> float:
    signal = waves(periods, *shape)
    own = settle_frequency(backbone, [signal], [partition or Whole()(signal)], frame)
    assert not own.unsettled
    return float(getattr(own, str(own.frequency)))


@pytest.mark.parametrize(
    ("backbone", "shape"),
    [
        (Siren(hidden_features=16, hidden_layers=1, first_omega_0="auto"), (512,)),
        (Siren(match_params=500, hidden_layers=1, first_omega_0="auto"), (64, 48)),
        (Finer(hidden_features=16, hidden_layers=1, first_omega_0="auto"), (512,)),
        (Fourier(hidden_features=16, hidden_layers=1, scale="auto"), (512,)),
        (Siren(hidden_features=16, hidden_layers=1, first_omega_0="auto"), (24, 12, 20)),
    ],
)
def test_the_frequency_grows_with_that_of_the_signal(backbone: Any, shape: tuple[int, ...]) -> None:
    low, high = (settled(backbone, max(shape) / part, *shape) for part in (16, 4))
    assert 2 <= high / low <= 32


def test_a_local_frame_needs_a_frequency_in_proportion_to_its_length() -> None:
    backbone = Siren(hidden_features=16, hidden_layers=1, first_omega_0="auto")
    quarters = Grid(regions=4)(waves(64, 512))
    whole = settled(backbone, 64, 512, partition=quarters)
    assert whole == settled(backbone, 64, 512)
    assert 2.5 <= whole / settled(backbone, 64, 512, partition=quarters, frame="local") <= 6


def test_a_number_stays_and_auto_must_be_settled() -> None:
    given, signal = Siren(hidden_features=4), waves(3, 16)
    assert settle_frequency(given, [signal], [Whole()(signal)]) is given
    with pytest.raises(PartinrError, match=r"first_omega_0=auto follows from .*; give a number"):
        PiecewiseINR(Whole()(signal), Siren(hidden_features=4, first_omega_0="auto"), channels=1)
    with pytest.raises(PartinrError, match="first_omega_0"):
        Siren(hidden_features=4, first_omega_0="high")  # type: ignore[arg-type]


def test_a_signal_far_above_its_networks_gets_advice() -> None:
    fast, slow = waves(200, 1024), waves(3, 1024)
    one = Whole()(fast)
    backbone = Siren(hidden_features=16, hidden_layers=1)
    advice = advice_on_frequency(backbone, [fast], [one])
    assert advice is not None
    assert "give backbone.first_omega_0=auto, or more than 60" in advice
    assert advice_on_frequency(backbone, [slow], [one]) is None
    assert advice_on_frequency(backbone.at_frequency(600), [fast], [one]) is None
    assert advice_on_frequency(Gauss(hidden_features=4), [fast], [one]) is None
