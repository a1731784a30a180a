"""Table and figure of this study, from the run directories of its sweeps.

    python experiments/regions/table.py outputs/sweeps/regions ... [-o figure.png]

Steps of an image: where its PSNR crosses a level, linear between two evaluations. A row has the median over images and
seeds, and of the swept learning rates the one with which 25 dB is reached in fewest steps; an image that did not get
there has more steps than any that did. Work: multiply-accumulates of the forward passes for one image until then.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from io import BytesIO
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from partinr.base.files import write_atomically
from partinr.pictures.palette import COLOURS
from partinr.pictures.paper import PAGE, SETTINGS
from partinr.report import RunRecord, collect
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import crossing

LEVELS = (25.0, 30.0)

Kind = tuple[str, int]
"""Frame and number of regions."""


def steps_of(record: RunRecord, level: float) -> list[float]:
    """Of each image the steps to a level, infinite where it was not reached."""
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in RunDirectory(record.path).image_curve():
        curves[row["image"]].append((row["step"], row["psnr"]))
    found = (crossing(*zip(*curve, strict=True), level) for curve in curves.values())
    return [math.inf if steps is None else steps for steps in found]


def quartiles(steps: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile; each one of the values."""
    low, middle, high = np.quantile(steps, (0.25, 0.5, 0.75), method="lower")
    return float(low), float(middle), float(high)


def best_rate(rates: dict[float, list[RunRecord]]) -> float:
    """The learning rate with which most images reach 25 dB soonest."""

    def effort(rate: float) -> tuple[float, ...]:
        steps = [each for record in rates[rate] for each in steps_of(record, LEVELS[0])]
        return quartiles(steps)[1], float(np.mean(np.minimum(steps, 1e9)))

    return min(rates, key=effort)


def kinds_of(folders: list[str]) -> dict[Kind, dict[float, list[RunRecord]]]:
    """The completed runs by frame and regions, and by learning rate."""
    kinds: dict[Kind, dict[float, list[RunRecord]]] = defaultdict(lambda: defaultdict(list))
    for record in collect(folders):
        if record.status == "completed" and record.regions is not None:
            # One region sees the same in both frames.
            frame = record.config["coords"]["frame"] if record.regions > 1 else "one region"
            kinds[frame, record.regions][record.config["optimizer"]["lr"]].append(record)
    return dict(sorted(kinds.items(), key=lambda item: (item[0][0] != "one region", item[0])))


def show(kinds: dict[Kind, dict[float, list[RunRecord]]]) -> None:
    """Print the table as Markdown."""
    print("| frame | regions | parameters | MACs a pixel | best lr | steps to 25 dB | GMAC | steps to 30 dB | GMAC |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for (frame, regions), rates in kinds.items():
        rate = best_rate(rates)
        first = rates[rate][0]
        macs = int(first.number("macs_per_pixel") or 0)
        cells = [frame, str(regions), f"{_parameters(first):,}", f"{macs:,}", f"{rate:g}"]
        for level in LEVELS:
            steps = [each for record in rates[rate] for each in steps_of(record, level)]
            reached = sum(math.isfinite(each) for each in steps)
            low, middle, high = quartiles(steps)
            spread = f" ({_number(low)}–{_number(high)})" if math.isfinite(middle) else ""
            share = "" if reached == len(steps) else f", {reached}/{len(steps)}"
            work = middle * macs * _pixels(first) / 1e9
            cells += [f"{_number(middle)}{spread}{share}", _work(work)]
        print(f"| {' | '.join(cells)} |")


def _number(steps: float) -> str:
    return f"{steps:.0f}" if math.isfinite(steps) else "–"


def _work(gmac: float) -> str:
    if not math.isfinite(gmac):
        return "–"
    return f"{gmac:.1f}" if gmac >= 1 else f"{gmac:.2g}"


def _parameters(record: RunRecord) -> int:
    """Of the networks of one image."""
    return int(next(iter(record.images.values()))["parameters"])


def _pixels(record: RunRecord) -> int:
    return int(record.config["data"]["size"]) ** 2


def draw(kinds: dict[Kind, dict[float, list[RunRecord]]], path: Path) -> None:
    """Steps and work to both levels against the number of regions."""
    frames = sorted({frame for frame, _ in kinds if frame != "one region"})
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(PAGE, 2.7), layout="constrained")
        for axes, what in zip(figure.subplots(1, 2), ("optimiser steps", "GMAC an image"), strict=True):
            for frame, (colour, _) in zip(frames, COLOURS, strict=False):
                own = {regions: rates for (of, regions), rates in kinds.items() if of in (frame, "one region")}
                for level, dash in zip(LEVELS, ("-", (0, (4, 2))), strict=True):
                    spots = []
                    for regions, rates in sorted(own.items()):
                        records = rates[best_rate(rates)]
                        factor = 1.0
                        if what != "optimiser steps":
                            factor = (records[0].number("macs_per_pixel") or 0) * _pixels(records[0]) / 1e9
                        quarters = quartiles([each for record in records for each in steps_of(record, level)])
                        spots.append((regions, *(factor * each for each in quarters)))
                    x, low, middle, high = np.where(np.isfinite(spots), spots, np.nan).T
                    name = f"{frame} frame, {level:.0f} dB"
                    axes.plot(x, middle, "o", ls=dash, ms=3, lw=1.2, color=colour, label=name)
                    axes.fill_between(x, low, high, color=colour, alpha=0.12, lw=0)
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_xticks(x := sorted({regions for _, regions in kinds}), [str(each) for each in x])
            axes.minorticks_off()
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel("regions")
            axes.set_ylabel(what)
        handles, names = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=4, frameon=False)
        buffer = BytesIO()
        figure.savefig(buffer, format="png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="run directories, or folders of them")
    parser.add_argument("-o", "--output", type=Path, help="also draw a figure: a PNG to write")
    given = parser.parse_args()
    found = kinds_of(given.folders)
    show(found)
    if given.output is not None:
        draw(found, given.output)
