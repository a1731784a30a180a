"""The table of this study, from runs.csv, and from rates.csv how flat the searches were.

    D=experiments/optimizers
    python $D/judged.py $D/runs.csv $D/rates.csv

PSNR [dB]: the mean over images, ± the standard deviation of that mean over seeds; in bold the best of a cut. CPU
seconds are of the training, means over runs.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from partinr.studies.tuning import flatness

Rows = list[dict[str, str]]


def by_seed(rows: Rows) -> list[float]:
    """The mean PSNR over images of each seed."""
    found = defaultdict(list)
    for row in rows:
        found[row["seed"]].append(float(row["psnr"]))
    return [mean(each) for each in found.values()]


def searches(path: Path) -> str:
    """How many runs the searches took, and how far the best point of each is above the second best."""
    points: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            points[row["cut"], row["optimizer"], row["steps"]].append(float(row["psnr"]))
    return flatness(points.values())


def main() -> None:
    """Print the table."""
    arms: dict[str, dict[str, dict[str, Rows]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    with Path(sys.argv[1]).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            arms[row["cut"]][row["optimizer"]][row["equal"]].append(row)
    print("| | optimiser | PSNR, equal steps | CPU s | PSNR, equal CPU s | steps | CPU s |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for cut, kinds in arms.items():
        best = {equal: max(mean(by_seed(kind[equal])) for kind in kinds.values()) for equal in ("steps", "cpu")}
        for name, kind in kinds.items():
            cells = []
            for equal, rows in kind.items():
                psnrs = by_seed(rows)
                cell = f"{mean(psnrs):.2f} ± {stdev(psnrs):.2f}"
                cells.append(f"**{cell}**" if mean(psnrs) == best[equal] else cell)
                cells += [f"{int(rows[0]['steps']):,}"] * (equal == "cpu")
                cells.append(f"{mean(float(row['cpu_seconds']) for row in rows):.2f}")
            print(f"| {cut} | {name} | {' | '.join(cells)} |")
    print(f"\n{searches(Path(sys.argv[2]))}")


if __name__ == "__main__":
    main()
