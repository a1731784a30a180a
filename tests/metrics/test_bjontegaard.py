"""Bjøntegaard's deltas: planted shifts are found exactly, and published worked numbers closely."""

import math

import pytest

from partinr.base.errors import PartinrError
from partinr.metrics.bjontegaard import bd_psnr, bd_rate, frontier

CURVE = [(100.0, 30.0), (200.0, 33.0), (400.0, 35.5), (800.0, 37.0)]


def test_a_curve_of_a_tenth_less_rate_gives_minus_ten_percent():
    less = [(0.9 * rate, psnr) for rate, psnr in CURVE]
    assert bd_rate(less, CURVE) == pytest.approx(-10)
    assert bd_rate(CURVE, less) == pytest.approx(100 / 0.9 - 100)
    assert bd_psnr([(rate, psnr + 0.7) for rate, psnr in CURVE], CURVE) == pytest.approx(0.7)


def test_straight_lines_give_the_distance_over_what_both_have():
    """3 dB a doubling against 2 dB a doubling, from the same point; both deltas are half those at the end."""
    steep, flat = [(1.0, 30.0), (2.0, 33.0), (4.0, 36.0)], [(1.0, 30.0), (4.0, 34.0), (16.0, 38.0)]
    assert bd_psnr(steep, flat) == pytest.approx(1.0)
    # Up to 36 dB, reached after 2 and 3 doublings.
    assert bd_rate(steep, flat) == pytest.approx(100 * (2**-0.5 - 1))


def test_sizes_that_a_smaller_one_beats_do_not_count():
    worse = [*CURVE, (300.0, 31.0), (1000.0, 36.9)]
    assert frontier(worse) == CURVE
    assert bd_rate(worse, CURVE) == pytest.approx(0)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ([(rate, psnr + 20) for rate, psnr in CURVE], r"share no PSNR \(50.00 dB to 57.00 dB and 30.00 dB to 37.00 dB"),
        (CURVE[:1], "a curve has 1 point; give runs of at least 2 sizes"),
    ],
)
def test_curves_that_do_not_overlap_are_refused(own, said):
    with pytest.raises(PartinrError, match=said):
        bd_rate(own, CURVE)
    far = [(rate * 100, psnr) for rate, psnr in own]
    with pytest.raises(PartinrError, match=r"share no rate|1 point"):
        bd_psnr(far, CURVE)
    assert math.isfinite(bd_rate(CURVE, CURVE))
