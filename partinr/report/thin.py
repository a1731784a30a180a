"""Removes points of curves that a screen cannot show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from partinr.report.curves import Numbers

Columns = dict[str, Numbers]
"""The columns of a curve, all of one length."""

POINTS = 50_000
"""Limit of points of all curves of a page, about 1.5 MB; fewer points are left unchanged."""

LONG = 1_000
"""Limit of points of one curve, about the columns of a screen; longer curves are always thinned."""

PIXELS = 800
"""Height of a plot that fills a screen, in pixels. A deviation of half a pixel is invisible."""

_COLUMNS = 1_200
"""Width of a plot that fills a screen, in pixels."""


def thin(curves: Sequence[Columns]) -> tuple[list[Columns], float]:
    """Curves without points that make no visible difference.

    A point may go if the line between its remaining neighbours passes within the tolerance, against steps, seconds, CPU
    seconds and multiply-accumulates, on linear and logarithmic axes. In each column of the screen, only the first,
    last, lowest and highest evaluation stay. The tolerance is half a pixel, or more until the points fit.

    Args:
        curves: columns of equal length, including ``step``, ``seconds``, ``cpu_seconds`` and ``psnr`` [dB].

    Returns:
        curves with the same columns, and the tolerance [dB]; 0 if no point was removed.
    """
    lengths = [curve["step"].size for curve in curves]
    if sum(lengths) <= POINTS and max(lengths, default=0) <= LONG:
        return list(curves), 0.0
    psnr = np.concatenate([curve["psnr"] for curve in curves])
    finite = psnr[np.isfinite(psnr)]
    height = max(float(np.ptp(finite)) if finite.size else 0.0, 1e-6)
    tolerance = height / PIXELS / 2
    screened = [_select(curve, _on_screen(curve)) for curve in curves]
    missed = [_missed(curve, tolerance) for curve in screened]
    ranked = np.sort(np.concatenate(missed))[::-1]
    if np.count_nonzero(ranked > tolerance) > POINTS:
        tolerance = float(min(ranked[POINTS], height))
    return [
        _select(curve, np.flatnonzero(of > tolerance)) for curve, of in zip(screened, missed, strict=True)
    ], tolerance


def _select(curve: Columns, keep: NDArray[np.int64]) -> Columns:
    return {name: values[keep] for name, values in curve.items()}


def _logarithm(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Positions on a logarithmic axis; 0 is placed left of the first."""
    positive = x[x > 0]
    return np.log(np.maximum(x, positive[0] / 2 if positive.size else 1.0))


def _on_screen(curve: Columns) -> NDArray[np.int64]:
    """First, last, lowest and highest point in each screen column, on a linear and a logarithmic axis."""
    psnr, count = curve["psnr"], curve["psnr"].size
    if count <= _COLUMNS:
        return np.arange(count)
    keep = {0, count - 1, *np.flatnonzero(~np.isfinite(psnr)).tolist()}
    for x in (curve["step"], _logarithm(curve["step"])):
        width = (x[-1] - x[0]) / _COLUMNS or 1.0
        starts = np.flatnonzero(np.diff(np.floor((x - x[0]) / width), prepend=-1.0))
        for first, end in zip(starts, [*starts[1:], count], strict=True):
            inside = np.nan_to_num(psnr[first:end])
            keep.update((int(first), int(end) - 1, int(first + inside.argmin()), int(first + inside.argmax())))
    return np.array(sorted(keep))


def _missed(curve: Columns, tolerance: float) -> NDArray[np.float64]:
    """The deviation [dB] of a curve if a point is removed; infinity for points that must stay.

    Removing all points up to some deviation above ``tolerance`` keeps the curve within it (Ramer, Douglas and Peucker).
    The ends, the first point on a logarithmic axis, and one point of each gap stay.
    """
    psnr, count = curve["psnr"], curve["psnr"].size
    missed = np.zeros(count)
    known = [x for name in ("step", "seconds", "cpu_seconds") if np.isfinite(x := curve[name]).all()]
    axes = np.stack([axis for x in known for axis in (x, _logarithm(x))])
    gaps = np.flatnonzero(~np.isfinite(psnr))
    missed[gaps[np.diff(gaps, prepend=-2) > 1]] = math.inf
    edges = [-1, *gaps.tolist(), count]
    pieces = [(before + 1, after - 1, math.inf) for before, after in pairwise(edges) if after - before > 1]
    shown = int(np.argmax(curve["step"] > 0)) if count else 0
    if pieces and pieces[0][0] < shown < pieces[0][1]:
        first, last, bound = pieces[0]
        pieces[:1] = [(first, shown, bound), (shown, last, bound)]
    while pieces:
        first, last, bound = pieces.pop()
        if bound == math.inf:
            missed[[first, last]] = math.inf
        if last - first < 2:
            continue
        x = axes[:, first : last + 1] - axes[:, first : first + 1]
        share = x[:, 1:-1] / np.where(x[:, -1:] > 0, x[:, -1:], math.inf)
        off = np.abs(psnr[first] + share * (psnr[last] - psnr[first]) - psnr[first + 1 : last]).max(axis=0)
        at = int(off.argmax())
        if off[at] > tolerance:
            middle, deviation = first + 1 + at, min(float(off[at]), bound)
            missed[middle] = deviation
            # Limited by the deviation of the point that divided the curve here, which must be removed last.
            pieces += [(first, middle, deviation), (middle, last, deviation)]
    return missed
