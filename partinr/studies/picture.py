"""The figure of a study of steps: trials, their median and quartiles, and the laws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from partinr.base.errors import PartinrError
from partinr.base.files import write_output
from partinr.pictures.palette import COLOURS, LONE
from partinr.pictures.paper import COLUMN, PAGE, SETTINGS, drawn
from partinr.studies.growth import Trials
from partinr.studies.hypothesis import Setting
from partinr.studies.laws import LAWS

_DASHES = ("-", (0, (5, 2)), (0, (5, 1.5, 1, 1.5)), (0, (1, 1.5)), (0, (3, 3)))
_HEIGHT = 2.4
"""Height of one setting [in]."""


def write_growth(settings: Sequence[Setting], path: str | Path) -> Path:
    """Draw steps against boundaries, a panel for each setting, with shared axes.

    Args:
        settings: from :func:`~partinr.studies.hypothesis.settings_of`.
        path: the file, ``.png`` (300 dpi) or ``.pdf``; replaced if it exists.

    Raises:
        PartinrError: the ending is unknown, or the file cannot be written.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "pdf"):
        raise PartinrError(f"cannot write {path}; give a file that ends in .png or .pdf")
    columns = min(2, len(settings))
    rows = -(-len(settings) // columns)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(COLUMN if columns == 1 else PAGE, 0.45 + _HEIGHT * rows), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, setting in zip(grid.flat, settings, strict=False):
            _draw(axes, setting)
            axes.set_title(f"{setting.label}, {setting.parameters:,} parameters")
        for axes in grid.flat[len(settings) :]:
            axes.set_axis_off()
        for axes in grid[:, 0]:
            axes.set_ylabel("optimiser steps")
        # The lowest panel of each column.
        lowest = slice(max(0, len(settings) - columns), len(settings))
        for axes, setting in zip(grid.flat[lowest], settings[lowest], strict=True):
            axes.set_xlabel(setting.abscissa)
            axes.tick_params(labelbottom=True)
        handles, names = grid.flat[0].get_legend_handles_labels()
        for axes in grid.flat[1 : len(settings)]:
            # The first panel may have no trials that reached the cap.
            for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
                if name not in names:
                    handles, names = [*handles, handle], [*names, name]
        # Nine entries: three rows in a column, two on a page.
        figure.legend(
            *(handles, names),
            loc="outside upper left",
            ncols=3 if columns == 1 else 5,
            frameon=False,
            handlelength=1.5,
            handletextpad=0.5,
            columnspacing=1.1,
        )
        write_output(path, drawn(figure, kind))
    return path


def _draw(axes: Axes, setting: Setting) -> None:
    trials, growth = setting.trials, setting.growth
    over = ~trials.censored
    axes.plot(trials.boundaries[over], trials.steps[over], "o", ms=2, color=LONE[0], alpha=0.5, mew=0, label="trial")
    if trials.censored.any():
        axes.plot(
            trials.boundaries[trials.censored],
            trials.steps[trials.censored],
            "^",
            ms=3.5,
            mfc="none",
            mec=LONE[0],
            mew=0.6,
            label="met the cap",
        )
    counts, low, middle, high = quartiles(trials)
    axes.fill_between(counts, low, high, color=LONE[0], alpha=0.15, lw=0, label="quartiles")
    axes.plot(counts, middle, color=LONE[0], lw=1, label="median")
    b = np.linspace(trials.boundaries.min(), trials.boundaries.max(), 200)
    for law, (colour, _), dash in zip(LAWS, COLOURS[: len(LAWS)], _DASHES, strict=True):
        fit = growth.fit(law.name)
        best = fit is growth.best
        axes.plot(b, fit(b), color=colour, ls=dash, lw=1.6 if best else 0.9, label=law.name)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    said = [fit for fit in growth.fits[:2] if fit.weight >= 0.005]
    text = "\n".join(f"{fit.law.name}: weight {fit.weight:.2f}" for fit in said)
    axes.text(0.97, 0.04, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=7)


def quartiles(trials: Trials) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of boundaries, and the lower quartile, median and upper quartile of the steps at each.

    If most numbers have a single trial, as for lengths of edges, neighbours are grouped at the median of their numbers.
    A quartile among trials that reached the cap is unknown. Lower quartile and median are then NaN; the upper quartile
    is the cap, since it only draws the edge of a band.
    """
    counts, group = np.unique(trials.boundaries, return_inverse=True)
    if len(trials.steps) < 2 * len(counts):
        neighbours = np.array_split(np.argsort(trials.boundaries), round(math.sqrt(len(trials.steps))))
        counts = np.array([np.median(trials.boundaries[own]) for own in neighbours])
        group[np.concatenate(neighbours)] = np.repeat(np.arange(len(neighbours)), [len(own) for own in neighbours])
    found = []
    for number in range(len(counts)):
        own = group == number
        steps = np.where(trials.censored[own], np.inf, trials.steps[own])
        low, middle, high = np.quantile(steps, (0.25, 0.5, 0.75), method="lower")
        found.append((low, middle, min(high, trials.steps[own].max())))
    low, middle, high = np.array(found).T
    return counts, np.where(np.isinf(low), np.nan, low), np.where(np.isinf(middle), np.nan, middle), high
