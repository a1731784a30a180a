"""The table of settings against each other, image by image, from run directories.

    python experiments/fast/table.py FOLDER...

Mean over seeds. Seconds are of training; a level that a run does not reach counts as "> its seconds".
"""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence

from partinr.report import RunRecord, collect


def reach(records: Sequence[RunRecord], level: float) -> str:
    """Mean seconds until a level of PSNR."""
    crossings = [record.reaches(level, "seconds") for record in records]
    reached = [crossing for crossing in crossings if crossing is not None]
    if len(reached) < len(crossings):
        least = min(float(record.curve["seconds"][-1]) for record in records)
        return f"> {least:.0f}" + (f" ({len(reached)} of {len(crossings)} do)" if reached else "")
    return f"{statistics.mean(reached):.2f}"


def compare(records: Sequence[RunRecord]) -> None:
    """One row an image, number of regions and number of parameters."""
    groups: dict[tuple[str, int, int, str], list[RunRecord]] = defaultdict(list)
    for record in records:
        said = record.manifest
        way = "fast" if record.config["schedule"]["_target_"].endswith("Cosine") else "paper"
        groups[said["signal"]["name"], said["parameters"], said["regions"], way].append(record)
    print("| image | parameters | regions | settings | seeds | s to 30 dB | s to 40 dB | seconds | PSNR | best PSNR |")
    print("|---|---:|---:|---|---:|---:|---:|---:|---:|---:|")
    for (image, parameters, regions, way), runs in sorted(groups.items()):
        seconds = statistics.mean(float(run.curve["seconds"][-1]) for run in runs)
        last = [float(run.curve["psnr"][-1]) for run in runs]
        best = statistics.mean(float(max(run.curve["psnr"])) for run in runs)
        spread = f" ± {statistics.stdev(last):.2f}" if len(last) > 1 else ""
        print(
            f"| {image} | {parameters:,} | {regions:,} | {way} | {len(runs)} | {reach(runs, 30)} | {reach(runs, 40)} "
            f"| {seconds:.0f} | {statistics.mean(last):.2f}{spread} | {best:.2f} |"
        )


if __name__ == "__main__":
    compare([record for record in collect(sys.argv[1:]) if record.status == "completed"])
