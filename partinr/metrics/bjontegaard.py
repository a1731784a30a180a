"""How much rate a curve of rate and PSNR saves against another, and how much PSNR it gains (Bjøntegaard's deltas).

The mean vertical or horizontal distance of two curves over the range that both have, with rates by their logarithm:
Bjøntegaard 2001, "Calculation of average PSNR differences between RD-curves", VCEG-M33. Curves are interpolated by
monotone cubic pieces (PCHIP, Fritsch and Carlson 1980), as ITU-T recommends today (HSTP-VID-WPOM, 2020): the single
cubic of 2001 can swing between its points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from scipy.interpolate import PchipInterpolator

from partinr.base.errors import PartinrError

Points = Sequence[tuple[float, float]]
"""Rate, above 0 in any unit, and PSNR [dB] of each point of a curve."""

FEWEST = 2
"""Points of a curve; four are usual."""


def frontier(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other one beats at the same or a lower rate, by rate. PSNR rises along them."""
    kept: list[tuple[float, float]] = []
    for rate, psnr in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or psnr > kept[-1][1]:
            kept.append((rate, psnr))
    return kept


def bd_rate(own: Points, reference: Points) -> float:
    """Mean difference in rate at equal PSNR, in percent of the reference: -10 means a tenth less.

    Args:
        own: the curve; only its :func:`frontier` counts.
        reference: the curve that it is compared with, likewise.

    Raises:
        PartinrError: a curve has too few points, or they share no range of PSNR.
    """
    curves = [[(psnr, math.log(rate)) for rate, psnr in frontier(each)] for each in (own, reference)]
    return 100 * math.expm1(_mean_gap(curves, "PSNR", lambda psnr: f"{psnr:.2f} dB"))


def bd_psnr(own: Points, reference: Points) -> float:
    """Mean difference in PSNR at equal rate [dB]: above 0 where the curve is better.

    Args:
        own: as for :func:`bd_rate`.
        reference: likewise.

    Raises:
        PartinrError: a curve has too few points, or they share no range of rates.
    """
    curves = [[(math.log(rate), psnr) for rate, psnr in frontier(each)] for each in (own, reference)]
    return _mean_gap(curves, "rate", lambda rate: f"{math.exp(rate):.4g}")


def _mean_gap(curves: Sequence[Points], axis: str, said: Callable[[float], str]) -> float:
    """The mean of the first curve minus the second over the range of the abscissa that both have.

    Args:
        curves: both, by rising abscissa.
        axis: name of the abscissa, for messages.
        said: writes an abscissa.
    """
    fewest = min(map(len, curves))
    if fewest < FEWEST:
        raise PartinrError(f"a curve has {fewest} point{'s' * (fewest != 1)}; give runs of at least {FEWEST} sizes")
    low, high = max(curve[0][0] for curve in curves), min(curve[-1][0] for curve in curves)
    if low >= high:
        ranges = " and ".join(f"{said(curve[0][0])} to {said(curve[-1][0])}" for curve in curves)
        raise PartinrError(f"the curves share no {axis} ({ranges}); give runs of sizes in between")
    first, second = (float(PchipInterpolator(*np.array(curve).T).integrate(low, high)) for curve in curves)
    return (first - second) / (high - low)
