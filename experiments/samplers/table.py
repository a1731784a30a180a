"""The table of this study, from runs.csv.

    python experiments/samplers/table.py runs.csv

A cell: PSNR [dB], mean over images and seeds, and in brackets the number of steps; bold: the best of a column.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

SETUPS = {
    "one": "one network",
    "nine": "nine networks",
    "fast": "`experiment=fast`",
    "steps": "one network, equal steps",
}


def main() -> None:
    """Print the table."""
    cells: dict[str, dict[str, list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    with Path(sys.argv[1]).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            cells[row["sampler"]][row["setup"]].append(row)
    setups = [name for name in SETUPS if any(name in each for each in cells.values())]

    def psnr(sampler: str, setup: str) -> float:
        return mean(float(row["psnr"]) for row in cells[sampler][setup])

    best = {
        setup: max((each for each in cells if setup in cells[each]), key=lambda s: psnr(s, setup)) for setup in setups
    }
    print(f"| sampler | {' | '.join(SETUPS[each] for each in setups)} |")
    print(f"|---|{'---:|' * len(setups)}")
    for sampler, found in cells.items():
        shown = []
        for setup in setups:
            if setup not in found:
                shown.append("")
                continue
            steps = round(mean(int(row["steps"]) for row in found[setup]))
            value = f"{psnr(sampler, setup):.2f}"
            shown.append(f"{f'**{value}**' if best[setup] == sampler else value} ({steps:,})")
        print(f"| {sampler} | {' | '.join(shown)} |")


if __name__ == "__main__":
    main()
