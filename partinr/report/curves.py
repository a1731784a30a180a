"""Mean curves over the seeds of a group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from partinr.runs.records import Axis, RunRecord

Metric = str
"""A column of a curve that is no axis: ``psnr``, ``ssim``, ``loss``, ``lr``, or a metric of the kind of signal."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class MeanCurve:
    """PSNR, or another column, over the seeds of a group, at every evaluated step up to the end of the shortest run.

    A run without an evaluation at a step (because it stopped at its target) contributes an interpolated value.
    ``seconds``, ``cpu_seconds`` and ``macs`` are means at the step; NaN where a run does not know its CPU seconds.
    """

    step: Numbers
    seconds: Numbers
    cpu_seconds: Numbers
    macs: Numbers
    mean: Numbers
    std: Numbers | None
    """Sample standard deviation of ``mean``; None for one seed."""

    @classmethod
    def of(cls, records: Sequence[RunRecord], metric: Metric = "psnr") -> MeanCurve:
        """Mean of the finite evaluations of ``records``; empty if a record has none."""
        curves = []
        for record in records:
            # A metric that only other runs have.
            known = record.curve.get(metric, [math.nan] * len(record.curve["step"]))
            columns = {name: np.array(record.curve[name]) for name in get_args(Axis)} | {metric: np.array(known)}
            finite = np.isfinite(columns[metric])
            curves.append({name: values[finite] for name, values in columns.items()})
        if not curves or any(not curve["step"].size for curve in curves):
            empty = np.empty(0)
            return cls(empty, empty, empty, empty, empty, None)
        first = max(curve["step"][0] for curve in curves)
        last = min(curve["step"][-1] for curve in curves)
        steps = np.unique(np.concatenate([curve["step"] for curve in curves]))
        steps = steps[(steps >= first) & (steps <= last)]

        def over_seeds(name: str) -> Numbers:
            return np.stack([np.interp(steps, curve["step"], curve[name]) for curve in curves])

        values = over_seeds(metric)
        means = {name: over_seeds(name).mean(0) for name in ("seconds", "cpu_seconds", "macs")}
        return cls(step=steps, **means, mean=values.mean(0), std=_deviation(values))

    def on(self, axis: Axis) -> Numbers:
        """The x of the curve."""
        found: Numbers = getattr(self, axis)
        return found


@dataclass(frozen=True)
class ListCurve:
    """PSNR at 0, 1, 2, … for a chart of a section, over the seeds of a group."""

    psnr: Numbers
    std: Numbers | None
    """Sample standard deviation of ``psnr`` [dB]; None for one seed."""

    @classmethod
    def of(cls, records: Sequence[RunRecord], path: str) -> ListCurve:
        """Mean of the lists at ``path``, up to the end of the shortest; empty if a record has none."""
        found = [record.numbers(path) for record in records]
        shortest = min(map(len, found), default=0)
        if not shortest:
            return cls(np.empty(0), None)
        psnr = np.array([values[:shortest] for values in found])
        return cls(psnr.mean(axis=0), _deviation(psnr))


def _deviation(values: Numbers) -> Numbers | None:
    """Sample standard deviation over the first axis; None for one row."""
    return values.std(axis=0, ddof=1) if len(values) >= 2 else None
