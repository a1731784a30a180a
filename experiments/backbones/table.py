"""All backbones at equal parameters, on crops of photographs.

    python experiments/backbones/table.py IMAGE... > runs.csv
    python experiments/backbones/table.py --show runs.csv
    python experiments/backbones/table.py IMAGE --cost > costs.csv
    python experiments/backbones/table.py --show-costs costs.csv

The centre of each image, 256 pixels square and halved, is fitted by one network and by 4×4 of them (a frame each). The
first command writes a row a run, the second prints them as tables. `--only siren` runs one backbone, `--lr 1e-3` one
learning rate, so that several processes can share the work.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

import partinr
from partinr.backbones import Backbone, load_backbone
from partinr.coords import Frame
from partinr.partition import Grid
from partinr.regimes import Cosine, FitSettings, Optimizer

CONF = Path(__file__).parents[2] / "conf" / "backbone"

PARAMETERS = 25_000
"""For as many pixels as 100,000 have at twice the side."""

SIDE = 128

PER_REGION = "samples along an axis of a region"

# A learning rate that the paper, its code, or a comparison by others takes for images; Adam everywhere.
RUNS: dict[str, tuple[float, dict[str, Any]]] = {
    "siren": (1e-4, {}),
    "siren weight_scale=2": (1e-4, {"weight_scale": 2.0}),
    "relu_pe": (1e-4, {}),
    "fourier": (1e-4, {}),
    "gauss": (1e-3, {}),
    "wire": (5e-3, {}),
    "finer": (5e-4, {}),
    "mfn filter=fourier": (1e-2, {"filter": "fourier"}),
    "mfn filter=gabor": (1e-2, {"filter": "gabor"}),
    "hash_grid": (1e-2, {}),
    "siren batch_norm": (1e-2, {"batch_norm": True}),
    "siren factorisation=1": (1e-4, {"factorisation": 1.0}),
    "staf": (1e-4, {}),
    "sl2a": (1e-3, {}),
    "incode": (9e-4, {}),
    "diner": (1e-4, {"cells": PER_REGION, "coordinates": 1}),
}

SHARED_LRS = (1e-3, 5e-3, 2e-2)
"""Beside each backbone's own: rates for all, as a ranking at one rate is mostly one of rates."""

CUTS: dict[str, tuple[int, Frame]] = {"none": (1, "global"), "grid #16": (4, "local")}

COLUMNS = ("backbone", "image", "cut", "lr", "parameters", "width", "steps", "psnr", "seconds", "failure")

COST_COLUMNS = ("backbone", "cut", "parameters", "macs", "cpu_ms")


def backbone_of(label: str, rows: int) -> Backbone:
    """A backbone as its YAML has it, with the options of the run, for a grid of so many rows and columns."""
    name = label.split()[0]
    options = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    own = {key: SIDE // rows if value is PER_REGION else value for key, value in RUNS[label][1].items()}
    return load_backbone(options.pop("_target_"), {**options, **own, "match_params": PARAMETERS})


def crop(image: Tensor) -> Tensor:
    """The centre square, every pixel the mean of four."""
    row, column = image.shape[0] // 2 - SIDE, image.shape[1] // 2 - SIDE
    square = image[row : row + 2 * SIDE, column : column + 2 * SIDE]
    return square.reshape(SIDE, 2, SIDE, 2, -1).mean(dim=(1, 3))


def runs(paths: list[Path], steps: int, labels: Sequence[str], lr_alone: float | None) -> Iterator[dict[str, Any]]:
    """Every backbone, image, cut and learning rate."""
    for path in paths:
        image = crop(partinr.load_image(path))
        for cut, (rows, frame) in CUTS.items():
            partition = Grid(rows=rows, cols=rows)(image)
            for label in labels:
                own_lr, _ = RUNS[label]
                for lr in sorted({own_lr, *SHARED_LRS} if lr_alone is None else {lr_alone}):
                    model = partinr.PiecewiseINR(partition, backbone_of(label, rows), frame=frame)
                    result = partinr.fit(
                        model,
                        image,
                        steps=steps,
                        optimizer=Optimizer(lr=lr),
                        schedule=Cosine(),
                        settings=FitSettings(evaluate_every=10**9, collapse_db=None),
                    )
                    yield {
                        "backbone": label,
                        "image": path.stem,
                        "cut": cut,
                        "lr": lr,
                        "parameters": model.parameter_count,
                        "width": model.backbone.hidden_features,
                        "steps": result.steps,
                        "psnr": f"{result.psnr:.2f}",
                        "seconds": f"{result.seconds:.1f}",
                        "failure": result.failure or "",
                    }


def costs(path: Path, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The CPU time of a step of every backbone and cut, without the first ten, in which kernels are compiled."""
    image = crop(partinr.load_image(path))
    for cut, (rows, frame) in CUTS.items():
        for label in labels:
            model = partinr.PiecewiseINR(Grid(rows=rows, cols=rows)(image), backbone_of(label, rows), frame=frame)
            settings = FitSettings(evaluate_every=10, collapse_db=None)
            curve = partinr.fit(model, image, steps=20, settings=settings).curve
            seconds = {row["step"]: row["cpu_seconds"] for row in curve}
            yield {
                "backbone": label,
                "cut": cut,
                "parameters": model.parameter_count,
                "macs": model.macs_per_sample,
                "cpu_ms": f"{100 * (seconds[20] - seconds[10]):.1f}",
            }


def show_costs(path: Path) -> None:
    """A row a backbone: multiply-accumulates a pixel, and CPU seconds of 300 steps, of both cuts."""
    with path.open(newline="") as file:
        found = {(row["backbone"], row["cut"]): row for row in csv.DictReader(file)}
    head = " | ".join(f"{what}, {cut}" for what in ("MACs a pixel", "CPU seconds") for cut in CUTS)
    print(f"| backbone | {head} |\n|---|" + "---:|" * 2 * len(CUTS))
    for label in RUNS:
        rows = [found[label, cut] for cut in CUTS]
        cells = [f"{int(row['macs']):,}" for row in rows] + [f"{0.3 * float(row['cpu_ms']):.1f}" for row in rows]
        print(f"| {label} | " + " | ".join(cells) + " |")


def show(path: Path) -> None:
    """A row a backbone, a column an image and cut: the PSNR at its own rate, and at the best rate with that."""
    found: dict[str, dict[tuple[str, str], list[dict[str, str]]]] = defaultdict(lambda: defaultdict(list))
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["backbone"]][row["image"], row["cut"]].append(row)
    columns = list(dict.fromkeys(column for rows in found.values() for column in rows))
    heading = "".join(f" {image}, {cut} |" for image, cut in columns)
    print(f"At the backbone's own rate:\n\n| backbone | lr | parameters |{heading}")
    print("|---|---:|---:|" + "---:|" * len(columns))
    for label, rows in found.items():
        own = [next((row for row in rows[column] if float(row["lr"]) == RUNS[label][0]), None) for column in columns]
        counts = sorted({int(row["parameters"]) for row in own if row})
        said = " to ".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1])))
        cells = [row["psnr"] if row else "" for row in own]
        print(f"| {label} | {RUNS[label][0]:g} | {said} | " + " | ".join(cells) + " |")
    print(f"\nAt the best of all rates (in brackets):\n\n| backbone |{heading}\n|---|" + "---:|" * len(columns))
    for label, rows in found.items():
        best = [max(rows[column], key=lambda row: float(row["psnr"]), default=None) for column in columns]
        cells = [f"{row['psnr']} ({float(row['lr']):g})" if row else "" for row in best]
        print(f"| {label} | " + " | ".join(cells) + " |")


def main() -> None:
    """Run, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--cost", action="store_true", help="measure the CPU time of a step")
    parser.add_argument("--show-costs", action="store_true")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", choices=RUNS)
    parser.add_argument("--lr", type=float, help="this rate alone")
    arguments = parser.parse_args()
    if arguments.show:
        for path in arguments.paths:
            show(path)
        return
    if arguments.show_costs:
        show_costs(arguments.paths[0])
        return
    out = csv.DictWriter(sys.stdout, COST_COLUMNS if arguments.cost else COLUMNS, lineterminator="\n")
    out.writeheader()
    labels = [arguments.only] if arguments.only else list(RUNS)
    found = (
        costs(arguments.paths[0], labels)
        if arguments.cost
        else runs(arguments.paths, arguments.steps, labels, arguments.lr)
    )
    for row in found:
        out.writerow(row)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
