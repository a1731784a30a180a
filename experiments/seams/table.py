"""Remedies for seams at equal parameters, on crops of photographs.

    python experiments/seams/table.py --steps 400 IMAGE... > steps.csv
    python experiments/seams/table.py --seconds 4 IMAGE... > seconds.csv
    python experiments/seams/table.py --show steps.csv seconds.csv

The centre of each image, 256 pixels square, is fitted by small networks on a grid, and by larger ones on segments, each
in a frame of its own. The first two commands write a row a run, the last prints them as tables. `--side`, `--cut` and
`--method` make it shorter, to try it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

import partinr
from partinr.metrics.quality import SEAM, seam
from partinr.partition import Grid, PartitionRule, Semantic
from partinr.regimes import Cosine, FitSettings, Optimizer

PARAMETERS = 25_000

METHODS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "border_weight=4": ({}, {"border_weight": 4.0}),
    "overlap=2": ({"overlap": 2}, {}),
    "overlap=4": ({"overlap": 4}, {}),
    "global_network": ({"global_network": True}, {}),
    "overlap=2 global_network": ({"overlap": 2, "global_network": True}, {}),
}
"""Options of the model, and of the fit."""

CUTS: dict[str, PartitionRule] = {"grid #64": Grid(rows=8, cols=8), "semantic #16": Semantic(regions=16)}

COLUMNS = ("cut", "method", "image", "limit", "parameters", "macs", "steps", "seconds", "psnr", *SEAM, "failure")

# As experiment=fast has them.
OPTIMIZER = Optimizer(lr=6e-3, options={"betas": [0.9, 0.9], "eps": 1e-15})
SCHEDULE = Cosine(warmup_steps=30)


def crop(image: Tensor, side: int) -> Tensor:
    """The centre square."""
    row, column = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[row : row + side, column : column + side]


def runs(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every cut, image and method."""
    for path in arguments.paths:
        image = crop(partinr.load_image(path), arguments.side)
        for cut in arguments.cut or CUTS:
            partition = CUTS[cut](image)
            for method in arguments.method or METHODS:
                options, settings = METHODS[method]
                backbone = partinr.backbones.Siren(match_params=PARAMETERS, hidden_layers=2, first_omega_0=10.0)
                model = partinr.PiecewiseINR(partition, backbone, frame="local", **options)
                result = partinr.fit(
                    model,
                    image,
                    steps=arguments.steps,
                    seconds=arguments.seconds,
                    optimizer=OPTIMIZER,
                    schedule=SCHEDULE,
                    settings=FitSettings(evaluate_every=10**9, collapse_db=None, **settings),
                )
                yield {
                    "cut": cut,
                    "method": method,
                    "image": path.stem,
                    "limit": "steps" if arguments.seconds is None else "seconds",
                    "parameters": model.parameter_count,
                    "macs": model.macs_per_sample,
                    "steps": result.steps,
                    "seconds": f"{result.seconds:.2f}",
                    "psnr": f"{result.psnr:.3f}",
                    **{name: f"{value:.6g}" for name, value in seam(model.render(), image, partition).items()},
                    "failure": result.failure or "",
                }


def show(paths: list[Path]) -> None:
    """A table a limit and cut: a row a method, means over the images."""
    found: dict[tuple[str, str], dict[str, dict[str, dict[str, str]]]] = {}
    for path in paths:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                methods = found.setdefault((row["limit"], row["cut"]), {})
                methods.setdefault(row["method"], {})[row["image"]] = row
    for (limit, cut), methods in found.items():
        images = list(methods["plain"])
        print(f"\n**{cut.capitalize()}, the same {limit}; means over {', '.join(images)}**\n")
        print(
            "| method | parameters | MACs | steps | PSNR | band | inside | band, by image "
            "| jump | error | slope | error |"
        )
        print("|---|" + "---:|" * 11)
        for method, by_image in methods.items():
            rows = [by_image[image] for image in images]

            def mean(name: str, rows: list[dict[str, str]] = rows) -> float:
                return sum(float(row[name]) for row in rows) / len(rows)

            gains = (
                float(own["psnr_band"]) - float(methods["plain"][image]["psnr_band"])
                for image, own in zip(images, rows, strict=True)
            )
            cells = [
                f"{mean('parameters'):,.0f}",
                f"{mean('macs'):,.0f}",
                f"{mean('steps'):,.0f}",
                *(f"{mean(name):.2f}" for name in ("psnr", "psnr_band", "psnr_inside")),
                ", ".join(f"{gain:+.2f}" for gain in gains),
                f"{mean('jump_ratio'):.3f}",
                f"{mean('jump_error'):.4f}",
                f"{mean('gradient_ratio'):.3f}",
                f"{mean('gradient_error'):.4f}",
            ]
            print(f"| {method} | " + " | ".join(cells) + " |")


def main() -> None:
    """Run, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--cut", action="append", choices=CUTS)
    parser.add_argument("--method", action="append", choices=METHODS)
    arguments = parser.parse_args()
    if arguments.show:
        show(arguments.paths)
        return
    if (arguments.steps is None) == (arguments.seconds is None):
        parser.error("give --steps or --seconds")
    out = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    out.writeheader()
    for row in runs(arguments):
        out.writerow(row)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
