"""The table of this study, from what `partinr table` writes of its sweep.

    partinr table outputs/grid_speedup -o experiments/grid_speedup/table.csv
    python experiments/grid_speedup/table.py table.csv

Mean ± sample standard deviation over seeds; k/n where only k of n seeds got there, and – where none did. "sooner": the
mean seconds of the single network to a level over those of the grid to the same level.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

LEVELS = (25, 30, 35)
"""In dB."""


def spread(row: dict[str, str], name: str, digits: int, factor: float = 1.0) -> str:
    """A number of a group."""
    reached, seeds = int(row[f"{name}_reached"]), int(row["seeds"])
    if reached < seeds:
        return f"{reached}/{seeds}" if reached else "–"
    return f"{factor * float(row[name]):,.{digits}f} ± {factor * float(row[f'{name}_std']):,.{digits}f}"


def sooner(row: dict[str, str], lone: dict[str, str], name: str) -> str:
    """The single network's mean seconds over the group's, if all seeds of both got there."""
    if row is lone or any(int(each[f"{name}_reached"]) < int(each["seeds"]) for each in (row, lone)):
        return "–"
    return f"{float(lone[name]) / float(row[name]):.1f}"


def main(path: Path) -> None:
    """Print the table as Markdown, image by image."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (row["image"], float(row["regions"])))
    steps = "".join(f" steps to {level} dB |" for level in LEVELS)
    seconds = "".join(f" s to {level} dB | sooner |" for level in LEVELS[:2])
    print(f"| image | regions | parameters | PSNR dB after 500 |{steps} ms a step |{seconds}")
    print("|---|---|---:|" + "---:|" * (len(LEVELS) + 6))
    for row in rows:
        lone = next(each for each in rows if each["image"] == row["image"] and float(each["regions"]) == 1)
        cells = [
            row["image"],
            "none" if row is lone else row["group"],
            f"{float(row['parameters']):,.0f}",
            spread(row, "psnr", 2),
            *(spread(row, f"steps_{level}", 0) for level in LEVELS),
            spread(row, "seconds_per_step", 0, 1000),
        ]
        for level in LEVELS[:2]:
            name = f"seconds_{level}"
            cells += [spread(row, name, 1), sooner(row, lone, name)]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
