"""The tables of this study, from runs.csv.

    python experiments/sota_image/table.py experiments/sota_image/runs.csv

"Gain": PSNR over experiment=fast on the same image; the mean over images of the means over seeds, with its 95 %
interval by a paired bootstrap (BCa) over images. A star: the paired t-test is below 0.05 after Holm's correction for
all tests of a table.
"""

from __future__ import annotations

import csv
import itertools
import math
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from partinr.base.statistics import bootstrap, holm, paired

FAST = "fast"
Rows = Sequence[Mapping[str, str]]


def by_image(rows: Rows) -> dict[str, float]:
    """Mean PSNR over seeds of each image."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        found[row["image"]].append(float(row["psnr"]))
    return {image: fmean(values) for image, values in found.items()}


def interval(gains: Sequence[float]) -> tuple[float, float]:
    """The 95 % interval of a mean gain."""
    return bootstrap(np.array([gains]), lambda means: means[0])


def table(rows: Rows) -> str:
    """The table of one budget."""
    arms: dict[tuple[str, str], list[Mapping[str, str]]] = defaultdict(list)
    for row in rows:
        arms[row["group"], row["arm"]].append(row)
    base = by_image(arms["", FAST])
    gains = {}
    for key, own in arms.items():
        psnrs = by_image(own)
        gains[key] = [psnrs[image] - base[image] for image in base]
    others = [key for key in arms if key[1] != FAST]
    p_values = dict(zip(others, holm([paired([(each, 0.0) for each in gains[key]]) for key in others]), strict=True))
    first, images = rows[0], f"{len(base)} images of {rows[0]['size']}²"
    lines = [f"**{first['limit']}, {int(first['budget_parameters']):,} parameters, {images}.**", ""]
    lines += ["| what is changed | to | rate | parameters | steps | PSNR dB | SSIM | gain dB |"]
    lines += ["|---|---|---:|---:|---:|---:|---:|---:|"]
    for key in sorted(arms, key=lambda key: (key[0], -fmean(gains[key]))):
        own, (group, arm) = arms[key], key
        low, high = (0.0, 0.0) if arm == FAST else interval(gains[key])
        gain = "" if arm == FAST else f"{fmean(gains[key]):+.2f} ({low:+.2f} to {high:+.2f})"
        star = " *" if p_values.get(key, 1.0) < 0.05 else ""
        means = [fmean(float(row[name]) for row in own) for name in ("parameters", "steps", "psnr", "ssim")]
        cells = [group or "nothing", arm, own[0]["lr"], f"{means[0]:,.0f}", f"{means[1]:,.0f}"]
        cells += [f"{means[2]:.2f}", f"{means[3]:.4f}", gain + star]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def effects(rows: Rows) -> str:
    """What each factor of a factorial gains, mean over the levels of the others, and how gains of two add up."""
    psnr = {arm: by_image([row for row in rows if row["arm"] == arm]) for arm in {row["arm"] for row in rows}}
    at = {frozenset(arm.split("+")) - {FAST}: own for arm, own in psnr.items()}
    factors = sorted(factor for level in at if len(level) == 1 for factor in level)
    lines = ["| factor | gain dB | beyond the sum of both gains |", "|---|---:|---:|"]
    for size in (1, 2):
        for chosen in itertools.combinations(factors, size):
            # Yates: the sign of a run is the product over the chosen factors, so the others are averaged out.
            contrast = [
                fmean(
                    math.prod(1 if factor in level else -1 for factor in chosen) * own[image]
                    for level, own in at.items()
                )
                for image in at[frozenset()]
            ]
            gains = [2**size * each for each in contrast]
            low, high = interval(gains)
            cell = f"{fmean(gains):+.2f} ({low:+.2f} to {high:+.2f})"
            lines.append(f"| {' and '.join(chosen)} | {cell + ' | ' if size == 1 else ' | ' + cell} |")
    return "\n".join(lines)


def main() -> None:
    """Print a table for each budget."""
    budgets: dict[tuple[str, ...], list[Mapping[str, str]]] = defaultdict(list)
    with Path(sys.argv[1]).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            budgets[row["size"], row["budget_parameters"], row["limit"]].append(row)
    for rows in budgets.values():
        combined = [row for row in rows if row["group"] == "factorial"]
        print(table([row for row in rows if row not in combined]), end="\n\n")
        if combined:
            print(effects(combined), end="\n\n")


if __name__ == "__main__":
    main()
