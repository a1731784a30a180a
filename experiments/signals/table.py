"""The table of this study, from runs.csv.

    python experiments/signals/table.py experiments/signals/runs.csv

A cell: PSNR [dB], mean ± standard deviation over seeds, and after the comma the measure of the signal; in bold the best
of those with as many steps. The last columns: one network with as many multiply-accumulates as the grid, and its steps.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

MEASURES = {"snr": ("SNR dB", 2), "iou": ("IoU", 3)}


def main() -> None:
    """Print the table."""
    arms: dict[tuple[str, str], dict[tuple[str, bool], list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    with Path(sys.argv[1]).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    longest = max(int(row["steps"]) for row in rows)
    for row in rows:
        arms[row["signal"], row["backbone"]][row["partition"], int(row["steps"]) < longest].append(row)
    print("| signal | backbone | measure | none | grid | of its own | none, arithmetic of the grid | steps of it |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    columns = (("none", False), ("grid", False), ("own", False), ("none", True))
    for (signal, backbone), found in arms.items():
        heading, digits = MEASURES.get(found["none", False][0]["measure"], ("", 0))
        best = max(columns[:3], key=lambda name: mean(float(row["psnr"]) for row in found[name]))
        cells = []
        for name in columns:
            psnrs = [float(row["psnr"]) for row in found[name]]
            cell = f"{mean(psnrs):.2f} ± {stdev(psnrs):.2f}"
            if heading:
                cell += f", {mean(float(row['value']) for row in found[name]):.{digits}f}"
            cells.append(f"**{cell}**" if name == best else cell)
        print(f"| {signal} | {backbone} | {heading} | {' | '.join(cells)} | {found['none', True][0]['steps']} |")


if __name__ == "__main__":
    main()
