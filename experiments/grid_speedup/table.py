"""The table of this study, from the run directories of its sweep.

    python experiments/grid_speedup/table.py outputs/grid_speedup

Mean ± sample standard deviation over seeds. Crossings are linear between two evaluations, seed by seed; k/n where only
k of n seeds crossed. "to lone's end": what the group spends until it has the PSNR with which the lone network ended.
"lone to this end": what the lone network spends until it has the PSNR with which the group ended. "sooner": the lone
network's seconds for that, over the group's.
"""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict

import numpy as np

from partinr.report import RunRecord, collect
from partinr.runs.records import Axis

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
    found = np.flatnonzero(np.array(record.curve["step"]) == step)
    return float(record.curve["psnr"][found[0]]) if len(found) else None


def main(folders: list[str]) -> None:
    """Print the table as Markdown, image by image."""
    records = [record for record in collect(folders) if record.status == "completed"]
    groups: dict[tuple[str, int], dict[int, RunRecord]] = defaultdict(dict)
    for record in records:
        groups[record.manifest["signal"]["name"], record.manifest["regions"]][record.manifest["seed"]] = record
    at = "".join(f" PSNR at {step} |" for step in STEPS)
    print(
        f"| image | regions | parameters |{at} ms a step | steps to lone's end | seconds to lone's end "
        "| lone to this end: steps | seconds | sooner |"
    )
    print("|---|---|---:|" + "---:|" * (len(STEPS) + 6))
    for image, regions in sorted(groups):
        seeds = groups[image, regions]
        pairs = [(record, groups[image, 1][seed]) for seed, record in seeds.items()]

        def to_lone(axis: Axis, pairs: list[tuple[RunRecord, RunRecord]] = pairs) -> list[float | None]:
            return [record.reaches(float(lone.curve["psnr"][-1]), axis) for record, lone in pairs]

        def lone_to(axis: Axis, pairs: list[tuple[RunRecord, RunRecord]] = pairs) -> list[float | None]:
            return [lone.reaches(float(record.curve["psnr"][-1]), axis) for record, lone in pairs]

        sooner = [
            None if seconds is None else seconds / float(record.curve["seconds"][-1])
            for seconds, (record, _) in zip(lone_to("seconds"), pairs, strict=True)
        ]
        cells = [
            image,
            "none" if regions == 1 else f"grid #{regions}",
            f"{next(iter(seeds.values())).manifest['parameters']:,}",
            *(spread([psnr_at(record, step) for record in seeds.values()], 2) for step in STEPS),
            spread([1e3 * r.curve["seconds"][-1] / r.curve["step"][-1] for r in seeds.values()], 0),
            spread(to_lone("step"), 0),
            spread(to_lone("seconds"), 1),
            spread(lone_to("step"), 0),
            spread(lone_to("seconds"), 1),
            spread(sooner, 1),
        ]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
