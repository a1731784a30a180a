"""PSNR after more inner steps than an initialisation was trained for, with the rates of the last step and with ours.

    python experiments/meta/beyond.py FOLDER IMAGES > beyond.csv   # runs of learning to learn, and held-out images
    python experiments/meta/beyond.py --show beyond.csv            # the table: mean ± standard deviation over seeds

A run trains its rates for a few steps. "last": later steps repeat the rates of the last. "median": they take the median
over the trained steps, and 0 where that is negative (partinr.regimes.meta.InnerRates).
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from partinr.partition import Grid
from partinr.regimes.meta import LearnedStart, TaskBatch
from partinr.regimes.meta.inner import adapt
from partinr.report import collect
from partinr.signals import FolderData

IMAGES = 50
SHOWN = (1, 2, 3, 4, 5, 10, 20, 50, 100)
COLUMNS = ("partition", "parameters", "seed", "rates", "step", "psnr")


def psnr_by_step(start: LearnedStart, batch: TaskBatch, rates: str) -> Iterator[tuple[int, float]]:
    """Mean PSNR over the images after each step of :data:`SHOWN`."""
    context = batch.context(start.inner_loss)

    def at(step: int) -> dict[str, Tensor | float]:
        step = min(step, start.inner_steps - 1) if rates == "last" else step
        return {name: rate.detach() for name in start.adapted if isinstance(rate := start.rates.at(step, name), Tensor)}

    steps = adapt(start.objective(context), start.start(batch), at, SHOWN[-1], order="none")
    for number, params in enumerate(steps, 1):
        if number in SHOWN:
            with torch.no_grad():
                errors = batch.squared_errors(start.networks(batch.coords, batch.sizes, params))
            yield number, float(-10 * errors.log10().mean())


def measure(folder: Path, images: Path) -> None:
    """Print a row for each run, kind of rates and number of steps, as CSV."""
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(COLUMNS)
    for record in collect([folder]):
        start = LearnedStart.load(record.path / "initialisation.safetensors")
        partitioned = record.config["regime"]["partition_in"] == "both"
        signals = [item.load() for item in FolderData(path=str(images), size=64).train()[:IMAGES]]
        rule = Grid(regions=4 if partitioned else 1)
        batch = TaskBatch.of(signals, [rule(signal) for signal in signals], start.frame)
        about = ("grid" if partitioned else "none", record.manifest["parameters"], record.manifest["seed"])
        for rates in ("last", "median"):
            for step, psnr in psnr_by_step(start, batch, rates):
                out.writerow([*about, rates, step, f"{psnr:.3f}"])


def show(path: Path) -> None:
    """Print the table."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    print(f"| partition | parameters | rates beyond the third step | {' | '.join(map(str, SHOWN))} |")
    print(f"|---|---:|---|{'---:|' * len(SHOWN)}")
    groups: dict[tuple[str, int, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        key = row["partition"], int(row["parameters"]), row["rates"]
        groups[key][int(row["step"])].append(float(row["psnr"]))
    for (partition, parameters, rates), by_step in sorted(groups.items(), key=lambda group: group[0][1:]):
        cells = [f"{statistics.mean(by_step[step]):.2f} ± {statistics.stdev(by_step[step]):.2f}" for step in SHOWN]
        print(f"| {partition} | {parameters:,} | {rates} | {' | '.join(cells)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="run directories")
    parser.add_argument("images", type=Path, nargs="?")
    parser.add_argument("--show", type=Path, metavar="FILE", help="run nothing; print the table of a CSV file")
    given = parser.parse_args()
    if given.show is not None:
        show(given.show)
    elif given.folder is None or given.images is None:
        parser.error("give a folder of runs and one of images, or --show FILE")
    else:
        measure(given.folder, given.images)
