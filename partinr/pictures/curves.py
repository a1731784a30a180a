"""Axes of curves: what each column is called, and its scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES: Mapping[str, str] = {
    "step": "optimiser steps",
    "seconds": "seconds of training",
    "cpu_seconds": "CPU seconds of training",
    "macs": "multiply-accumulates",
}
"""Label of each column that can be the abscissa."""

TITLES: Mapping[str, str] = {"psnr": "PSNR [dB]", "ssim": "SSIM", "loss": "loss", "lr": "learning rate"}
"""Label of each metric; a column of a third party's regime is its own label."""

LOGARITHMIC = ("loss", "lr")
"""Metrics that are drawn on a logarithmic axis."""


def dress(axes: Axes, metric: str, axis: str, label: str = "", title: str = "") -> None:
    """Label and scale the axes of curves that have been drawn.

    Args:
        axes: with the curves.
        metric: a column of the curve.
        axis: one of :data:`AXES`.
        label: label of the abscissa instead of the usual one.
        title: that of the ordinate, likewise.
    """
    # Slower to import than the modules that draw notebooks' cards with this one.
    from matplotlib.ticker import EngFormatter

    if metric in LOGARITHMIC:
        _logarithmic(axes)
    axes.set(xlabel=label or AXES[axis], ylabel=title or TITLES.get(metric, metric))
    axes.set_xlim(left=0)
    if axis == "macs":
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def _logarithmic(axes: Axes) -> None:
    """Make the ordinate logarithmic. Powers would need mathematics in labels, which names rule out."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log", nonpositive="clip")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
