"""The tables and the figure of this study.

    python experiments/mask_source/table.py --collect outputs/mask_source --figures experiments/mask_source/figures
    python experiments/mask_source/table.py runs.csv rules     # a table: rules, cost, capacity or images

The first command writes runs.csv and draws the figure. A rule's number on an image is the mean over seeds; a number
over images is the mean of those, and ± is the standard deviation between images. Differences are paired: on the same
image, to the grid. "steps to lone's end" is the median over images and seeds of the step at which the PSNR first comes
to that at which the lone network of the same image and seed ended, linear between two evaluations. A run that does not
get there counts as later than any that does. "p, Holm": a paired t-test against the grid over images, adjusted by
Holm's procedure for the rows of the table.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from partinr.base.statistics import holm, paired
from partinr.report import RunRecord, collect

STEPS = (32, 100, 200, 300)
NAMES = {
    "Whole": "none",
    "Grid": "grid",
    "Semantic": "HFS",
    "Superpixel": "SLIC",
    "KMeans": "k-means",
    "Random": "random",
    "Mask": "human",
}

Runs = dict[str, dict[str, dict[int, RunRecord]]]
"""Runs by rule, image and seed."""


def by_rule(records: Sequence[RunRecord]) -> Runs:
    """Completed runs in the order of :data:`NAMES`; another merging or capacity under a name of its own."""
    found: Runs = defaultdict(lambda: defaultdict(dict))
    for record in records:
        if record.status != "completed" or record.seed is None:
            continue
        name = NAMES[record.config["partition"]["_target_"].rpartition(".")[2]]
        capacity, merge = record.config.get("capacity", "equal"), record.config["partition"].get("merge")
        name += ", boundary" if merge == "boundary" else ""
        name += f", {capacity} capacity" if capacity != "equal" else ""
        found[name][record.manifest["signal"]["name"]][record.seed] = record
    order = list(NAMES.values())
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0].partition(",")[0]), item[0])))


def psnr_at(record: RunRecord, step: int) -> float:
    """PSNR of the evaluation at a step, in dB."""
    return float(record.curve["psnr"][record.curve["step"].index(step)])


class Table:
    """The rows of runs.csv.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        with path.open(newline="", encoding="utf-8") as file:
            self.rows = list(csv.DictReader(file))
        self.rules = list(dict.fromkeys(row["rule"] for row in self.rows))

    def of(self, rule: str) -> list[dict[str, str]]:
        """The runs of a rule."""
        return [row for row in self.rows if row["rule"] == rule]

    def numbers(self, rule: str, name: str) -> list[float]:
        """A column of a rule."""
        return [float(row[name]) for row in self.of(rule)]

    def per_image(self, rule: str, name: str) -> dict[str, list[float]]:
        """A column of a rule on each image, one value a seed."""
        found: dict[str, list[float]] = defaultdict(list)
        for row in self.of(rule):
            found[row["image"]].append(float(row[name]))
        return found

    def differences(self, rule: str) -> list[float]:
        """PSNR at the end over the grid's on the same image, means over seeds."""
        end = f"psnr_{STEPS[-1]}"
        grid = self.per_image("grid", end)
        return [mean(own) - mean(grid[image]) for image, own in self.per_image(rule, end).items()]

    def p_values(self, rules: Sequence[str]) -> dict[str, str]:
        """Of each rule the p-value of a paired t-test against the grid over images, adjusted for all of these rules."""
        found = holm([paired([(each, 0.0) for each in self.differences(rule)]) for rule in rules])
        return {rule: f"{p:.2g}" for rule, p in zip(rules, found, strict=True)}

    def cell(self, rule: str, column: str) -> str:
        """A cell of a table."""
        if column.startswith("PSNR at "):
            return spread([mean(each) for each in self.per_image(rule, f"psnr_{column.split()[-1]}").values()], 2)
        if column in ("to grid at 300", "better on"):
            found = self.differences(rule)
            shown = spread(found, 2) if column != "better on" else f"{sum(each > 0 for each in found)}/{len(found)}"
            return "–" if rule == "grid" else shown
        if column == "regions":
            counts = sorted(set(self.numbers(rule, "regions")))
            return "–".join(f"{count:.0f}" for count in dict.fromkeys((counts[0], counts[-1])))
        if column == "steps to lone's end (reached)":
            steps = [float(row["steps_to_lone_end"] or math.inf) for row in self.of(rule)]
            middle, reached = median(steps), sum(map(math.isfinite, steps))
            return f"{f'{middle:.0f}' if math.isfinite(middle) else f'> {STEPS[-1]}'} ({reached}/{len(steps)})"
        name, form = COST[column]
        return form(mean(self.numbers(rule, name)))


COST: dict[str, tuple[str, Callable[[float], str]]] = {
    "MACs/pixel": ("macs_per_pixel", lambda value: f"{value / 1000:.1f}k"),
    "mask s": ("partition_seconds", lambda value: f"{value:.3f}"),
    "mask bits": ("map_bits", lambda value: f"{value:,.0f}"),
}
"""Columns that are means over all runs of a rule."""

AT = [f"PSNR at {step}" for step in STEPS]
AGAINST = [f"to grid at {STEPS[-1]}", "better on", "p, Holm"]
RULES = ("none", "grid", "HFS", "SLIC", "SLIC, boundary", "k-means", "random", "human")

TABLES: dict[str, tuple[Sequence[str] | None, list[str]]] = {
    "rules": (RULES, ["regions", *AT, *AGAINST, "steps to lone's end (reached)"]),
    "cost": (RULES, list(COST)),
    "capacity": (None, [*AT[1:], *AGAINST, "MACs/pixel"]),
}
"""Rules and columns; None for the rules that were also run with another capacity."""


def spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation."""
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}" if len(values) > 1 else f"{values[0]:.{digits}f}"


def show(table: Table, which: str) -> None:
    """Print a table as Markdown."""
    if which == "images":
        end = f"psnr_{STEPS[-1]}"
        lines = [
            [image, *(spread(table.per_image(rule, end)[image], 2) for rule in RULES)]
            for image in table.per_image("grid", end)
        ]
        heading = ["image", *RULES]
    else:
        rules, columns = TABLES[which]
        varied = {rule.removesuffix(" capacity").rpartition(",")[0] for rule in table.rules if "capacity" in rule}
        rules = rules or [rule for rule in table.rules if rule in varied or "capacity" in rule]
        tested = table.p_values([rule for rule in rules if rule != "grid"])
        lines = [
            [rule, *(tested.get(rule, "–") if column == "p, Holm" else table.cell(rule, column) for column in columns)]
            for rule in rules
        ]
        heading = ["regions from", *columns]
    print("\n".join(f"| {' | '.join(line)} |" for line in [heading, ["---", *["---:"] * (len(heading) - 1)], *lines]))


def figure(runs: Runs, table: Table) -> Figure:
    """Left: difference to the grid, a dot an image. Right: mean curve of each rule."""
    rules = [rule for rule in runs if "," not in rule]
    colours = dict(
        zip(rules, ("#5c6570", "#0072b2", "#d55e00", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"), strict=False)
    )
    made = Figure(figsize=(6.9, 2.7), layout="constrained")
    left, right = made.subplots(1, 2, width_ratios=(1, 1))
    others = [rule for rule in rules if rule != "grid"]
    for at, rule in enumerate(others):
        differences = table.differences(rule)
        jitter = np.linspace(-0.18, 0.18, len(differences))
        left.plot(at + jitter, sorted(differences), "o", ms=3, color=colours[rule], alpha=0.7, mew=0)
        left.plot([at - 0.28, at + 0.28], [mean(differences)] * 2, color=colours[rule], lw=1.8)
    left.axhline(0, color="#5c6570", lw=0.6, ls=(0, (1, 2)), zorder=0)
    left.set_xticks(range(len(others)), others)
    left.set_ylabel(f"PSNR − grid's after {STEPS[-1]} steps [dB]")
    for rule in rules:
        curves = [record.curve for seeds in runs[rule].values() for record in seeds.values()]
        psnr = np.mean([curve["psnr"] for curve in curves], axis=0)
        right.plot(curves[0]["step"], psnr, color=colours[rule], lw=1.2, label=rule)
    right.set_xscale("log")
    right.set_xlim(left=10)
    right.set_ylim(bottom=14)
    right.set_xticks([10, 30, 100, 300], ["10", "30", "100", "300"])
    right.minorticks_off()
    right.set_xlabel("optimiser steps")
    right.set_ylabel("mean PSNR [dB]")
    right.legend(frameon=False, fontsize=7, handlelength=1.4, labelspacing=0.25)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return made


def write_csv(runs: Runs, path: Path) -> None:
    """Every run: rule, image, seed and its numbers."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        heading = ["rule", "image", "seed", "regions", "parameters", "macs_per_pixel", "partition_seconds", "map_bits"]
        writer.writerow([*heading, *(f"psnr_{step}" for step in STEPS), "steps_to_lone_end"])
        for rule, images in runs.items():
            for image, seeds in images.items():
                for seed, record in sorted(seeds.items()):
                    level = float(runs["none"][image][seed].curve["psnr"][-1])
                    crossing = record.steps_to(level)
                    writer.writerow(
                        [
                            rule,
                            image,
                            seed,
                            *(int(record.number(key) or 0) for key in ("regions", "parameters", "macs_per_pixel")),
                            f"{record.number('seconds.partition'):.4f}",
                            int(record.number("partition.bits") or 0),
                            *(f"{psnr_at(record, step):.3f}" for step in STEPS),
                            "" if crossing is None else f"{crossing:.1f}",
                        ]
                    )


def main() -> None:
    """Print a table, or write the figure and the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path, nargs="?", default=Path(__file__).parent / "runs.csv")
    parser.add_argument("table", choices=[*TABLES, "images"], nargs="?", default="rules")
    parser.add_argument("--collect", nargs="+", metavar="FOLDER", help="write the CSV from these runs first")
    parser.add_argument("--figures", type=Path, help="also draw the figure of these runs")
    given = parser.parse_args()
    if given.collect is None:
        show(Table(given.csv), given.table)
        return
    runs = by_rule(collect(given.collect))
    write_csv(runs, given.csv)
    if given.figures is not None:
        given.figures.mkdir(parents=True, exist_ok=True)
        settings: dict[Any, Any] = {"font.size": 8, "axes.linewidth": 0.6, "savefig.dpi": 200, "text.parse_math": False}
        with rc_context(settings):
            figure(runs, Table(given.csv)).savefig(given.figures / "rules.png")


if __name__ == "__main__":
    main()
