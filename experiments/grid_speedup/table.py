"""The table of this study, from the run directories of its sweep.

    python experiments/grid_speedup/table.py outputs/grid_speedup

Mean ± sample standard deviation over seeds. "to lone" is the first crossing, linear between two evaluations, of the
PSNR at which the lone network with the same seed ended, k/n where only k of n seeds reached it; "÷" is the lone
network's own effort over that.
"""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict

import numpy as np

from partinr.report import RunRecord, collect
from partinr.report.records import Axis

STEPS = (100, 250, 500)


def spread(values: list[float | None], digits: int) -> str:
    """Mean ± deviation, or how many of the values there are."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return f"{len(known)}/{len(values)}"
    deviation = statistics.stdev(known) if len(known) > 1 else 0.0
    return f"{statistics.mean(known):.{digits}f} ± {deviation:.{digits}f}"


def psnr_at(record: RunRecord, step: int) -> float | None:
    """PSNR of the evaluation at a step."""
    found = np.flatnonzero(record.curve["step"] == step)
    return float(record.curve["psnr"][found[0]]) if len(found) else None


def main(folders: list[str]) -> None:
    """Print the table as Markdown, image by image."""
    records = [record for record in collect(folders) if record.status == "completed"]
    groups: dict[tuple[str, int], dict[int, RunRecord]] = defaultdict(dict)
    for record in records:
        groups[record.manifest["signal"]["name"], record.manifest["regions"]][record.manifest["seed"]] = record
    at = "".join(f" PSNR at {step} |" for step in STEPS)
    print(f"| image | regions | parameters |{at} ms a step | steps to lone | seconds to lone | ÷ steps | ÷ seconds |")
    print("|---|---:|---:|" + "---:|" * (len(STEPS) + 5))
    for image, regions in sorted(groups):
        seeds = groups[image, regions]
        lone = groups[image, 1]
        effort: dict[Axis, list[float | None]] = {"step": [], "seconds": []}
        ratio: dict[Axis, list[float | None]] = {"step": [], "seconds": []}
        for axis in effort:
            for seed, record in seeds.items():
                spent = record.reaches(lone[seed].curve["psnr"][-1], axis)
                effort[axis].append(spent)
                ratio[axis].append(None if spent is None else lone[seed].curve[axis][-1] / spent)
        cells = [
            image,
            "none" if regions == 1 else f"grid #{regions}",
            f"{next(iter(seeds.values())).manifest['parameters']:,}",
            *(spread([psnr_at(record, step) for record in seeds.values()], 2) for step in STEPS),
            spread([1e3 * r.curve["seconds"][-1] / r.curve["step"][-1] for r in seeds.values()], 0),
            spread(effort["step"], 0),
            spread(effort["seconds"], 1),
            spread(ratio["step"], 2),
            spread(ratio["seconds"], 2),
        ]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
