"""The table of this study, from runs.csv.

    python experiments/experts/table.py experiments/experts/runs.csv

PSNR [dB], its distance from the grid that stays on the same image with the same seed, and the cost of a run; means over
images and seeds, with ± the standard deviation between these runs where there are several.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

FIXED = "grid that stays"


def figure(values: Sequence[float], digits: int = 2) -> str:
    """A mean with its deviation, if there is one."""
    return f"{mean(values):.{digits}f}" + (f" ± {stdev(values):.{digits}f}" if len(values) > 1 else "")


def main() -> None:
    """Print the table."""
    arms: dict[tuple[int, str], dict[tuple[str, str], dict[str, str]]] = defaultdict(dict)
    with Path(sys.argv[1]).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            arms[int(row["steps"]), row["arm"]][row["image"], row["seed"]] = row
    print("| steps | regions | runs | PSNR dB | against the grid dB | SSIM | parameters | GMACs | CPU s |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|---:|")
    for (steps, arm), runs in sorted(arms.items(), key=lambda each: each[0][0]):
        psnr = {which: float(row["psnr"]) for which, row in runs.items()}
        gain = [value - float(arms[steps, FIXED][which]["psnr"]) for which, value in psnr.items()]
        parameters, macs, seconds = (
            mean(float(row[name]) for row in runs.values()) for name in ("parameters", "macs", "cpu_seconds")
        )
        cells = [f"{steps:,}", arm, str(len(runs)), figure(list(psnr.values())), "" if arm == FIXED else figure(gain)]
        cells += [figure([float(row["ssim"]) for row in runs.values()], 3), f"{parameters:,.0f}"]
        print(f"| {' | '.join([*cells, f'{macs / 1e9:.0f}', f'{seconds:.0f}'])} |")


if __name__ == "__main__":
    main()
