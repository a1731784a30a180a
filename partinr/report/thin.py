"""Curves with no more points than a screen can show."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from partinr.report.records import Curve

POINTS = 50_000
"""Points that all curves of a page may have; fewer are left as they are. About 1.5 MB."""

LONG = 1_000
"""A single curve of more points is thinned however few there are in all: about as many as a screen has columns."""

PIXELS = 800
"""Height of a plot that fills a screen. A deviation of half a pixel of it is not seen."""

_COLUMNS = 1_200
"""Columns of a plot that fills a screen."""


def thin(curves: Sequence[Curve]) -> tuple[list[Curve], float]:
    """Leave out the points of curves that nobody would miss.

    A point may go where the line between its neighbours that stay is as near to it as the tolerance, drawn against
    steps, seconds or multiply-accumulates, on a linear or on a logarithmic axis. Of evaluations closer together than a
    column of the screen only the first, last, lowest and highest stay. The tolerance is half a pixel; where too many
    points are left it is doubled until they fit.

    Args:
        curves: with equally long columns, among them ``step``, ``seconds`` and ``psnr`` [dB].

    Returns:
        Curves of the same columns, and the tolerance [dB]; 0 if nothing was left out.
    """
    lengths = [curve["step"].size for curve in curves]
    if sum(lengths) <= POINTS and max(lengths, default=0) <= LONG:
        return list(curves), 0.0
    psnr = np.concatenate([curve["psnr"] for curve in curves])
    finite = psnr[np.isfinite(psnr)]
    height = max(float(np.ptp(finite)) if finite.size else 0.0, 1e-6)
    tolerance = height / PIXELS / 2
    screened = [_select(curve, _on_screen(curve)) for curve in curves]
    while True:
        thinned = [_select(curve, _within(curve, tolerance)) for curve in screened]
        if sum(curve["step"].size for curve in thinned) <= POINTS or tolerance > height:
            return thinned, tolerance
        tolerance *= 2


def _select(curve: Curve, keep: NDArray[np.int64]) -> Curve:
    return {name: values[keep] for name, values in curve.items()}


def _logarithm(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places on a logarithmic axis, which has none for 0."""
    positive = x[x > 0]
    return np.log(np.maximum(x, positive[0] / 2 if positive.size else 1.0))


def _on_screen(curve: Curve) -> NDArray[np.int64]:
    """First, last, lowest and highest in each column, of a linear and of a logarithmic axis."""
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


def _within(curve: Curve, tolerance: float) -> NDArray[np.int64]:
    """Points whose line is nowhere farther than ``tolerance`` [dB] from any point (Ramer, Douglas and Peucker)."""
    psnr = curve["psnr"]
    axes = [axis for x in (curve["step"], curve["seconds"]) for axis in (x, _logarithm(x))]
    gaps = np.flatnonzero(~np.isfinite(psnr))
    # A gap stays a gap, of one point, and the curve before it and that after it are curves of their own.
    keep = set(gaps[np.diff(gaps, prepend=-2) > 1].tolist())
    edges = [-1, *gaps.tolist(), psnr.size]
    pieces = [(before + 1, after - 1) for before, after in pairwise(edges) if after - before > 1]
    while pieces:
        first, last = pieces.pop()
        keep.update((first, last))
        if last - first < 2:
            continue
        inside = slice(first + 1, last)
        worst = np.zeros(last - first - 1)
        for x in axes:
            length = x[last] - x[first]
            share = (x[inside] - x[first]) / length if length else np.zeros(last - first - 1)
            worst = np.maximum(worst, np.abs(psnr[first] + share * (psnr[last] - psnr[first]) - psnr[inside]))
        at = int(worst.argmax())
        if worst[at] > tolerance:
            middle = first + 1 + at
            pieces += [(first, middle), (middle, last)]
    return np.array(sorted(keep), dtype=np.int64)
