"""Tables and the figure of this study.

    D=experiments/phase_diagram
    python $D/table.py $D/judged.csv $D/tuned.csv   # the tables, and how flat the searches were
    python $D/table.py $D/judged.csv $D/tuned.csv --figure $D/figures/gains.png

"Gain": PSNR over that of the lone network with as many parameters; the mean over images of the means over seeds, and
its 95 % interval by a paired bootstrap (BCa) over images. At equal steps both take 1,000. At equal arithmetic and at
equal CPU seconds, the lone network stops where it has done the work of the arm; its PSNR there is interpolated between
shorter runs, each with a cosine of its own. A star: the paired t-test, after Holm's correction for all tests of one
table, is below 0.05.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np

from partinr.base.statistics import bootstrap, holm, paired
from partinr.studies.tuning import flatness

LONE = "none"
STEPS = 1000
COSTS = {"steps": None, "arithmetic": "mmacs_per_step", "CPU seconds": "cpu_ms_per_step"}
"""What is equal, and its column per step."""

Arm = tuple[float, str, int]
"""Values per parameter, rule, number of regions."""


class Arms:
    """The judged runs.

    Args:
        path: the CSV file.
    """

    def __init__(self, path: Path) -> None:
        found: dict[tuple[Arm, int, str], list[float]] = defaultdict(list)
        costs: dict[tuple[Arm, str], list[float]] = defaultdict(list)
        self.settings: dict[Arm, tuple[str, str]] = {}
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                arm = (float(row["values_per_parameter"]), row["rule"], int(row["regions"]))
                found[arm, int(row["steps"]), row["image"]].append(float(row["psnr"]))
                self.settings[arm] = row["lr"], row["first_omega_0"]
                if int(row["steps"]) == STEPS:
                    for column in filter(None, COSTS.values()):
                        costs[arm, column].append(float(row[column]))
        self.psnr: dict[tuple[Arm, int], dict[str, float]] = defaultdict(dict)
        for (arm, steps, image), values in found.items():
            self.psnr[arm, steps][image] = mean(values)
        self.cost = {key: mean(each) for key, each in costs.items()}

    def values(self) -> list[float]:
        """Values per parameter of which the lone network is there."""
        return sorted({arm[0] for arm in self.settings if arm[1] == LONE})

    def partitioned(self, values: float) -> list[Arm]:
        """Arms with a partition, by rule and number of regions."""
        return sorted(arm for arm in self.settings if arm[0] == values and arm[1] != LONE)

    def lone(self, values: float, steps: float) -> dict[str, float]:
        """PSNR by image of the lone network after this many steps, interpolated along their logarithm."""
        arm = (values, LONE, 1)
        runs = sorted(each for own, each in self.psnr if own == arm)
        where = np.interp(math.log(steps), np.log(runs), np.arange(len(runs)))
        low = min(int(where), len(runs) - 2) if len(runs) > 1 else 0
        part = float(where) - low
        before, after = self.psnr[arm, runs[low]], self.psnr[arm, runs[min(low + 1, len(runs) - 1)]]
        return {image: before[image] * (1 - part) + after[image] * part for image in before}

    def gain(self, arm: Arm, column: str | None) -> list[float]:
        """PSNR over the lone network by image.

        Args:
            arm: the arm.
            column: what a step costs, where that is equal; None at equal steps.
        """
        share = 1.0 if column is None else self.cost[arm, column] / self.cost[(arm[0], LONE, 1), column]
        other = self.lone(arm[0], STEPS * share)
        return [psnr - other[image] for image, psnr in sorted(self.psnr[arm, STEPS].items())]


def interval(gains: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of the mean."""
    return bootstrap(np.array([gains]), lambda means: means[0])


def cell(gains: Sequence[float], p_value: float) -> str:
    """A mean, its interval, and a star where Holm's correction leaves it below 0.05."""
    low, high = interval(gains)
    return f"{mean(gains):+.2f} ({low:+.2f} to {high:+.2f}){' *' if p_value < 0.05 else ''}"


def table(arms: Arms, values: float) -> str:
    """The gains of all arms with this many values per parameter."""
    gains = {(arm, name): arms.gain(arm, column) for arm in arms.partitioned(values) for name, column in COSTS.items()}
    raw = [paired([(gain, 0.0) for gain in each]) for each in gains.values()]
    p_values = dict(zip(gains, holm(raw), strict=True))
    lone = arms.psnr[(values, LONE, 1), STEPS]
    lr, waves = arms.settings[values, LONE, 1]
    lines = [
        f"**{values:g} values per parameter.** The lone network reaches {mean(lone.values()):.2f} dB (rate {lr}, "
        f"first ω0 {waves}).\n",
        f"| rule | regions | rate | first ω0 | PSNR dB |{''.join(f' gain at equal {name} |' for name in COSTS)}",
        f"|---|---:|---:|---:|---:|{'---:|' * len(COSTS)}",
    ]
    for arm in arms.partitioned(values):
        cells = [arm[1], str(arm[2]), *arms.settings[arm], f"{mean(arms.psnr[arm, STEPS].values()):.2f}"]
        cells += [cell(gains[arm, name], p_values[arm, name]) for name in COSTS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def figure(arms: Arms, path: Path) -> None:
    """Draw the gain of each rule by number of regions and values per parameter, for each cost."""
    from matplotlib.figure import Figure

    rules = sorted({arm[1] for arm in arms.settings} - {LONE})
    regions = sorted({arm[2] for arm in arms.settings} - {1})
    sheet = Figure(figsize=(2.3 * len(rules) + 0.8, 2.2 * len(COSTS)), layout="constrained")
    grid = sheet.subplots(len(COSTS), len(rules), sharex=True, sharey="row", squeeze=False)
    for axes, rule in zip(grid[0], rules, strict=True):
        axes.set_title(rule, fontsize=9)
    for row, (name, column) in zip(grid, COSTS.items(), strict=True):
        for axes, rule in zip(row, rules, strict=True):
            for number, values in enumerate(arms.values()):
                shown = [arm for arm in arms.partitioned(values) if arm[1] == rule]
                gains = [arms.gain(arm, column) for arm in shown]
                where = [regions.index(arm[2]) + 0.08 * number for arm in shown]
                ends = np.array([interval(each) for each in gains]).T
                middle = [mean(each) for each in gains]
                axes.errorbar(where, middle, np.abs(ends - middle), marker="o", ms=3, lw=1, label=f"{values:g}")
            axes.axhline(0, color="0.6", lw=0.8, zorder=0)
            axes.set_xticks(range(len(regions)), list(map(str, regions)))
        row[0].set_ylabel(f"gain [dB],\nequal {name}", fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel("regions", fontsize=8)
    grid[0][0].legend(title="values per\nparameter", fontsize=7, title_fontsize=7)
    sheet.savefig(path, dpi=150)


def searches(path: Path) -> str:
    """How many runs the searches took, and how far the best point of each is above the second best."""
    points: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            points[row["values_per_parameter"], row["rule"], row["regions"]].append(float(row["psnr"]))
    return flatness(points.values())


def main() -> None:
    """Print the tables, or draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("judged", type=Path)
    parser.add_argument("tuned", type=Path)
    parser.add_argument("--figure", type=Path)
    given = parser.parse_args()
    arms = Arms(given.judged)
    if given.figure:
        figure(arms, given.figure)
    else:
        print("\n\n".join([*(table(arms, values) for values in arms.values()), searches(given.tuned)]))


if __name__ == "__main__":
    main()
