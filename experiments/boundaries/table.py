"""Table of this study, from the run directories of its sweep: image by image, with and without partition.

    python experiments/boundaries/table.py outputs/sweeps/boundaries [-o figure.png]

"factor": steps with partition over steps without, image by image where both reached the threshold. "more, fewer": in
how many images the partition needs more and in how many fewer, capped ones counted where the comparison is clear.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from partinr.report import collect
from partinr.runs.directory import RunDirectory
from partinr.studies import Setting, settings_of, write_growth
from partinr.studies.hypothesis import one_an_image


def rows_by_setting(folders: list[str]) -> dict[tuple[int, str], dict[str, Any]]:
    """Of each number of parts and frame the row of each image."""
    found: dict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    for record in collect(folders):
        if "trials" in record.regime.files and record.status == "completed":
            rows = RunDirectory(record.path).steps()
            frame = "" if rows[0]["parts"] == 1 else f", {record.config['coords']['frame']} frame"
            found[rows[0]["parts"], frame] += rows
    return {key: {row["signal"]: row for row in one_an_image(rows)} for key, rows in sorted(found.items())}


def show_laws(found: list[Setting]) -> None:
    """Print the laws of each setting as Markdown."""
    print("| setting | parameters | images | capped | R² | p, 95 % interval | weights |")
    print("|---|---:|---:|---:|---:|---|---|")
    for setting in found:
        growth = setting.growth
        low, high = growth.base_interval
        weights = ", ".join(f"{fit.law.name} {fit.weight:.2f}" for fit in growth.fits if fit.weight >= 0.005)
        print(
            f"| {setting.label} | {setting.parameters:,} | {len(setting.trials.steps)} | "
            f"{int(setting.trials.censored.sum())} | {growth.best.r_squared:.2f} | "
            f"{growth.base:.3f} ({low:.3f} to {high:.3f}) | {weights} |"
        )


def show_factors(settings: dict[tuple[int, str], dict[str, Any]]) -> None:
    """Print the comparison with the lone networks."""
    lone = settings.pop((1, ""))
    print("\n| parts | both reached | factor: median | lower, upper quartile | more, fewer | Spearman with edges |")
    print("|---|---:|---:|---|---|---:|")
    for (parts, frame), cut in settings.items():
        names = sorted(lone.keys() & cut.keys())
        pairs = [(lone[name], cut[name]) for name in names]
        both = [(a, b) for a, b in pairs if not a["censored"] and not b["censored"]]
        factors = np.array([b["steps"] / a["steps"] for a, b in both])
        more = sum(b["steps"] > a["steps"] for a, b in pairs if not a["censored"])
        fewer = sum(b["steps"] < a["steps"] for a, b in pairs if not b["censored"])
        low, middle, high = np.quantile(factors, (0.25, 0.5, 0.75))
        rank = stats.spearmanr([a["boundaries"] for a, _ in both], factors).statistic
        print(
            f"| {parts}{frame} | {len(both)} of {len(pairs)} | {middle:.2f} | {low:.2f}, {high:.2f} | "
            f"{more}, {fewer} | {rank:+.2f} |"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", help="run directories, or folders of them")
    parser.add_argument("-o", "--output", type=Path, help="also draw a figure: a PNG to write")
    given = parser.parse_args()
    laws = settings_of(given.folders)
    show_laws(laws)
    show_factors(rows_by_setting(given.folders))
    if given.output is not None:
        write_growth(laws, given.output)
