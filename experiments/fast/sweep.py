"""The sweep that `experiment=fast` and `partition.regions=auto` come from.

    python experiments/fast/sweep.py settings FOLDER   # one setting after the other, around the chosen ones
    python experiments/fast/sweep.py regions FOLDER    # number of regions against number of parameters
    python experiments/fast/sweep.py budgets FOLDER    # learning rate against seconds
    python experiments/fast/sweep.py starts FOLDER     # how a run begins
    python experiments/fast/sweep.py shares FOLDER     # how parameters and pixels are spent
    python experiments/fast/sweep.py lengths FOLDER    # learning rate against steps
    python experiments/fast/sweep.py --show FILE.csv   # the table of a stage: what differs, and what came of it

FOLDER holds photographs (the results here are from BSDS500's training images): three of them, evenly spaced by name,
are cut to their centre squares. Every run has so many seconds of training, or steps in `lengths`; the PSNR is that of
its last step, mean over the images. Nothing else may run on the machine meanwhile, except during `lengths`.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

import partinr
from partinr.backbones import Siren
from partinr.model import capacity
from partinr.partition import Grid
from partinr.regimes import Cosine, FitSettings, Optimizer

IMAGES = 3

BASE: dict[str, Any] = {
    "side": 256,
    "parameters": 100_000,
    "regions": 256,
    "seconds": 6.0,
    "max_steps": None,
    "layers": 2,
    "first_omega_0": 10.0,
    "omega_0": 30.0,
    "lr": 8e-3,
    "beta1": 0.9,
    "beta2": 0.9,
    "warmup": 30,
    "frame": "local",
    "loss": "image",
    "begin_at_mean": False,
    "balance": 0.0,
    "coarse_until": 0.0,
}

VARIED: dict[str, list[Any]] = {
    "layers": [1, 2, 3],
    "first_omega_0": [5.0, 10.0, 15.0, 20.0],
    "omega_0": [10.0, 20.0, 30.0],
    "lr": [2e-3, 4e-3, 8e-3, 1.2e-2, 1.6e-2],
    "beta1": [0.8, 0.9, 0.95],
    "beta2": [0.8, 0.9, 0.95, 0.99],
    "warmup": [0, 30, 100],
    "frame": ["global", "local"],
}


def settings() -> Iterator[dict[str, Any]]:
    """The base, and each setting varied alone."""
    yield BASE
    for name, values in VARIED.items():
        for value in values:
            if value != BASE[name]:
                # One network in a frame of the whole image needs the whole image's frequencies.
                frequency = {"first_omega_0": 160.0} if value == "global" else {}
                yield {**BASE, name: value, **frequency}


def regions() -> Iterator[dict[str, Any]]:
    """Numbers of regions around the expected optimum, for each number of parameters."""
    for side, parameters in (
        (128, 12_500),
        (128, 50_000),
        (256, 25_000),
        (256, 100_000),
        (256, 400_000),
        (320, 50_000),
        (320, 200_000),
    ):
        for per_region in (130, 190, 280, 390, 550, 800):
            rows = round((parameters / per_region) ** 0.5)
            if side * side / rows**2 >= 16:
                yield {**BASE, "side": side, "parameters": parameters, "regions": rows * rows, "seconds": 3.0}


def budgets() -> Iterator[dict[str, Any]]:
    """Learning rates for short and long runs, few and many parameters."""
    for parameters, number in ((25_000, 64), (100_000, 256), (264_000, 676)):
        for seconds in (2.0, 10.0):
            for lr in (4e-3, 8e-3, 1.2e-2):
                yield {**BASE, "parameters": parameters, "regions": number, "seconds": seconds, "lr": lr}


def starts() -> Iterator[dict[str, Any]]:
    """Lengths of the warm-up, with and without a beginning at the mean."""
    for parameters, number in ((100_000, 256), (800_000, 1089)):
        for begin_at_mean in (False, True):
            for warmup in (0, 5, 10, 30):
                how = {"warmup": warmup, "begin_at_mean": begin_at_mean, "lr": 6e-3, "seconds": 4.0}
                yield {**BASE, "parameters": parameters, "regions": number, **how}


def shares() -> Iterator[dict[str, Any]]:
    """Powers of the detail that regions get parameters by (0: all the same), and lengths of the coarse steps."""
    how = {"side": 320, "parameters": 133_200, "regions": 400, "warmup": 10, "begin_at_mean": True, "lr": 6e-3}
    for seconds in (1.0, 3.0):
        for balance in (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 1.0):
            yield {**BASE, **how, "seconds": seconds, "balance": balance}
        for coarse_until in (0.15, 0.25, 0.35, 0.5):
            yield {**BASE, **how, "seconds": seconds, "balance": 0.2, "coarse_until": coarse_until}
        yield {**BASE, **how, "seconds": seconds, "coarse_until": 0.25}


def lengths() -> Iterator[dict[str, Any]]:
    """Learning rates, in steps of √2, for runs of different length."""
    how = {"seconds": None, "warmup": 10, "begin_at_mean": True, "balance": 0.2, "coarse_until": 0.25}
    for steps, middle in ((300, 10e-3), (1000, 6e-3), (3000, 3.5e-3), (10_000, 2e-3)):
        for half_octaves in range(-2, 3):
            yield {**BASE, **how, "max_steps": steps, "lr": round(middle * 2 ** (half_octaves / 2), 5)}


STAGES = {
    "settings": settings,
    "regions": regions,
    "budgets": budgets,
    "starts": starts,
    "shares": shares,
    "lengths": lengths,
}

LOOK_EVERY = 5
"""Steps between two looks at the PSNR, whose time does not count; it says when 30 dB are reached."""


def load(folder: Path, side: int) -> list[Tensor]:
    """The centre squares of three images."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    chosen = files[:: max(1, len(files) // IMAGES)][:IMAGES]
    images = [partinr.load_image(path) for path in chosen]
    corners = [((image.shape[0] - side) // 2, (image.shape[1] - side) // 2) for image in images]
    return [
        image[row : row + side, column : column + side] for image, (row, column) in zip(images, corners, strict=True)
    ]


def fit(image: Tensor, given: dict[str, Any]) -> tuple[float, int, int, float]:
    """PSNR, steps, parameters, and seconds to 30 dB (NaN where they are not reached) of one run."""
    rows = round(given["regions"] ** 0.5)
    backbone = Siren(
        match_params=given["parameters"],
        hidden_layers=given["layers"],
        first_omega_0=given["first_omega_0"],
        omega_0=given["omega_0"],
    )
    partition = Grid(rows=rows, cols=rows)(image)
    capacity.BALANCE = given["balance"]
    widths = capacity.widths("balanced", backbone, partition, image) if given["balance"] else None
    model = partinr.PiecewiseINR(partition, backbone, frame=given["frame"], widths=widths)
    result = partinr.fit(
        model,
        image,
        steps=given["max_steps"],
        seconds=given["seconds"],
        optimizer=Optimizer(lr=given["lr"], options={"betas": [given["beta1"], given["beta2"]], "eps": 1e-15}),
        schedule=Cosine(warmup_steps=given["warmup"]),
        settings=FitSettings(
            loss=given["loss"],
            evaluate_every=LOOK_EVERY if given["max_steps"] is None else max(LOOK_EVERY, given["max_steps"] // 60),
            collapse_db=None,
            begin_at_mean=given["begin_at_mean"],
            coarse_until=given["coarse_until"],
        ),
    )
    there = next((row["seconds"] for row in result.curve if row["psnr"] >= 30), math.nan)
    return result.psnr, result.steps, model.parameter_count, there


def show(path: Path) -> None:
    """Print a stage as Markdown: the settings that differ between its rows, and what came of them."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {name: {row[name] for row in rows} for name in rows[0]}
    names = [name for name, values in found.items() if len(values) > 1 or (name not in BASE and any(values))]
    print(f"| {' | '.join(names)} |\n|{'---:|' * len(names)}")
    for row in rows:
        print(f"| {' | '.join(row[name] for name in names)} |")


def main() -> None:
    """Run a stage; a row a setting, as CSV on standard output."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=STAGES, nargs="?")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--only", help="of `settings`: this one")
    parser.add_argument("--show", type=Path, metavar="FILE", help="run nothing; print the table of a CSV file")
    arguments = parser.parse_args()
    if arguments.show is not None:
        show(arguments.show)
        return
    if arguments.stage is None or arguments.folder is None:
        parser.error("give a stage and a folder, or --show FILE")
    fit(load(arguments.folder, 64)[0], {**BASE, "regions": 16, "parameters": 4000, "seconds": 0.1})  # compiles
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow([*BASE, "found_parameters", "steps", "psnr", "seconds_to_30"])
    for given in STAGES[arguments.stage]():
        if arguments.only and given is not BASE and given[arguments.only] == BASE[arguments.only]:
            continue
        found = [fit(image, given) for image in load(arguments.folder, given["side"])]
        psnr = statistics.mean(each[0] for each in found)
        # Runs by steps may share the machine, so that their seconds say nothing.
        there = f"{statistics.mean(each[3] for each in found):.3f}" if given["max_steps"] is None else ""
        out.writerow([*given.values(), found[0][2], found[0][1], f"{psnr:.2f}", there])
        sys.stdout.flush()


if __name__ == "__main__":
    main()
