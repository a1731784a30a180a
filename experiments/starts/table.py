"""The tables of this study, from its CSVs.

python experiments/starts/table.py omega.csv
python experiments/starts/table.py starts.csv
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from statistics import mean

Rows = list[dict[str, str]]
STARTS = ("random", "noise", "shared")


def omega(rows: Rows) -> None:
    """PSNR of each signal by frequency: the best of the sweep, auto, and the default."""
    print("| signal | best of the sweep | its ω0 | auto | its ω0 | ω0 = 60, the default | auto against the best |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for signal in dict.fromkeys(row["signal"] for row in rows):
        own = {row["given"]: row for row in rows if row["signal"] == signal}
        auto = own.pop("auto")
        best = max(own.values(), key=lambda row: float(row["psnr"]))
        cells = [f"{float(best['psnr']):.2f}", best["given"], f"{float(auto['psnr']):.2f}", auto["first_omega_0"]]
        cells += [f"{float(own['60']['psnr']):.2f}", f"{float(auto['psnr']) - float(best['psnr']):+.2f}"]
        print(f"| {signal} | {' | '.join(cells)} |")


def starts(rows: Rows) -> None:
    """Mean PSNR of each start by signal, partition and steps; differences from random weights of the same seed."""
    steps = list(dict.fromkeys(row["steps"] for row in rows))
    heads = [f"{step} steps, random" if start == "random" else start for step in steps for start in STARTS]
    print(f"| signal | partition | {' | '.join(heads)} |")
    print(f"|---|---|{'---:|' * len(heads)}")
    for signal, cut in dict.fromkeys((row["signal"], row["partition"]) for row in rows):
        mine = [row for row in rows if (row["signal"], row["partition"]) == (signal, cut)]
        cells = []
        for step in steps:
            plain, *others = (
                mean(float(row["psnr"]) for row in mine if (row["start"], row["steps"]) == (start, step))
                for start in STARTS
            )
            cells += [f"{plain:.2f}", *(f"{other - plain:+.2f}" for other in others)]
        print(f"| {signal} | {cut} | {' | '.join(cells)} |")


if __name__ == "__main__":
    file = Path(sys.argv[1])
    with file.open(newline="", encoding="utf-8") as lines:
        {"omega": omega, "starts": starts}[file.stem](list(csv.DictReader(lines)))
