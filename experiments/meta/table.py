"""The table of this study, from its run directories.

    python experiments/meta/table.py FOLDER...            # settings of learning to learn against each other
    python experiments/meta/table.py start LEVEL FOLDER...  # a learned start against a random one, in steps to LEVEL dB

Mean and standard deviation over seeds.
"""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from partinr.report import RunRecord, collect

STEPS = (0, 1, 2, 3, 10)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Mean ± standard deviation."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def settings(records: Sequence[RunRecord]) -> None:
    """One row a setting."""
    groups: dict[tuple[Any, ...], list[RunRecord]] = defaultdict(list)
    for record in records:
        regime, said = record.config["regime"], record.manifest
        where = regime["partition_in"]
        rule = "–" if where == "neither" else said["partition"]["test"]
        frame = "–" if where == "neither" else record.config["coords"]["frame"]
        groups[where, rule, regime["initialisation"], frame, said["parameters"]].append(record)
    order = ["neither", "test", "both"]
    head = " | ".join(f"{step} steps" if step != 1 else "1 step" for step in STEPS)
    print(f"| partition in | rule | initialisation | frame | parameters | seeds | {head} | ms a step | peak MB |")
    print("|---|---|---|---|---:|---:|" + "---:|" * (len(STEPS) + 2))
    for key, runs in sorted(groups.items(), key=lambda item: (order.index(item[0][0]), *map(str, item[0][1:]))):
        where, rule, initialisation, frame, parameters = key
        by_step = [run.manifest["psnr_by_inner_step"] for run in runs]
        cells = " | ".join(spread([each[step] for each in by_step]) for step in STEPS)
        pace = statistics.median(1e3 * run.manifest["seconds"]["training"] / run.manifest["steps"] for run in runs)
        peak = statistics.median(run.manifest["peak_memory_bytes"] / 2**20 for run in runs)
        print(
            f"| {where} | {rule} | {initialisation} | {frame} | {parameters:,} | {len(runs)} | {cells} "
            f"| {pace:.0f} | {peak:.0f} |"
        )


def start(level: float, records: Sequence[RunRecord]) -> None:
    """Steps and seconds to a level of PSNR, mean over the images, from a learned and from a random start."""
    groups: dict[tuple[Any, ...], list[RunRecord]] = defaultdict(list)
    for record in records:
        learned = record.config.get("init") is not None
        groups[record.manifest["signal"]["name"], learned, record.config["optimizer"]["lr"]].append(record)
    print(f"| images | start | learning rate | seeds | steps to {level:g} dB | seconds | PSNR at the end |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for (name, learned, rate), runs in sorted(groups.items()):
        reached = {axis: [run.reaches(level, axis) for run in runs] for axis in ("step", "seconds")}
        cells = [
            "not reached" if None in values else spread([value for value in values if value is not None])
            for values in reached.values()
        ]
        last = spread([run.manifest["metrics"]["psnr"] for run in runs])
        print(
            f"| {name} | {'learned' if learned else 'random'} | {rate:g} | {len(runs)} | {' | '.join(cells)} | {last} |"
        )


if __name__ == "__main__":
    if len(sys.argv) > 3 and sys.argv[1] == "start":
        start(float(sys.argv[2]), collect(sys.argv[3:]))
    elif len(sys.argv) > 1:
        settings(collect(sys.argv[1:]))
    else:
        sys.exit(__doc__)
