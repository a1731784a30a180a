"""What networks of regions gain from sharing (``global_network``), at equal parameters: equal steps, equal CPU seconds.

    python experiments/seams/sharing.py KODAK/kodim05.png KODAK/kodim19.png > sharing.csv
    python experiments/seams/sharing.py --show sharing.csv

Each image is the middle square, shrunk to 128×128 pixels. Every method is fitted at two learning rates for `--steps`
steps, and once more at the better one for as many steps as take the CPU seconds of `layers` on the grid #16, on one
thread.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

import partinr
from partinr.metrics.quality import seam
from partinr.model.coupling import GlobalNetwork
from partinr.partition import Grid, Whole
from partinr.regimes import Cosine, FitSettings, Optimizer

PARAMETERS, SIDE = 10_000, 128
RATES = 2e-3, 6e-3
MODES: tuple[GlobalNetwork, ...] = (False, "add", "layers", "modulate")
# Rows and columns, frame, first frequency: that of experiment=fast in local frames, SIREN's default in the global one.
CUTS: dict[str, tuple[int, Any, float]] = {
    "grid #16, local frames": (4, "local", 10.0),
    "grid #64, local frames": (8, "local", 10.0),
    "grid #16, global frame": (4, "global", 60.0),
}
Method = tuple[str, GlobalNetwork]
ONE: Method = ("one network", False)
LIKE: Method = ("grid #16, local frames", "layers")
COLUMNS = (
    "image",
    "limit",
    "cut",
    "shares",
    "lr",
    "steps",
    "cpu",
    "parameters",
    "macs",
    "psnr",
    "psnr_band",
    "jump_error",
)


def square(path: Path) -> Tensor:
    """The middle square of an image, shrunk."""
    image = partinr.load_image(path)
    side = min(image.shape[:2])
    row, column = ((n - side) // 2 for n in image.shape[:2])
    part = image[row : row + side, column : column + side].movedim(-1, 0).unsqueeze(0)
    return interpolate(part, size=(SIDE, SIDE), mode="area")[0].movedim(0, -1).clamp(0, 1).contiguous()


def fitted(image: Tensor, cut: str, shares: GlobalNetwork, lr: float, steps: int) -> dict[str, Any]:
    """One fit as a row."""
    side, frame, omega = CUTS.get(cut, (1, "global", 60.0))
    partition = (Grid(rows=side, cols=side) if side > 1 else Whole())(image)
    backbone = partinr.backbones.Siren(match_params=PARAMETERS, hidden_layers=2, first_omega_0=omega)
    model = partinr.PiecewiseINR(partition, backbone, frame=frame, global_network=shares)
    begin = time.process_time()
    result = partinr.fit(
        model,
        image,
        steps=steps,
        optimizer=Optimizer(lr=lr, options={"betas": [0.9, 0.9], "eps": 1e-15}),
        schedule=Cosine(warmup_steps=min(30, steps // 5)),
        settings=FitSettings(evaluate_every=10**9, collapse_db=None),
        progress=False,
    )
    cpu = time.process_time() - begin
    row = {"cut": cut, "shares": str(shares or "nothing"), "lr": lr, "steps": steps, "cpu": f"{cpu:.2f}"}
    row |= {"parameters": model.parameter_count, "macs": model.macs_per_sample, "psnr": f"{result.psnr:.3f}"}
    found = seam(model.render(), image, partition) if side > 1 else {}
    return row | {name: f"{found.get(name, float('nan')):.4g}" for name in ("psnr_band", "jump_error")}


def runs(paths: list[Path], steps: int) -> Iterator[dict[str, Any]]:
    """Every image and method, in equal steps, then in equal CPU seconds."""
    methods: list[Method] = [(cut, shares) for cut in CUTS for shares in MODES] + [ONE]
    for path in paths:
        image, best = square(path), {}
        for method in methods:
            fitted(image, *method, RATES[0], 3)  # loads what engines compile
            rows = [fitted(image, *method, lr, steps) for lr in RATES]
            best[method] = max(rows, key=lambda row: float(row["psnr"]))
            yield from ({"image": path.stem, "limit": "steps", **row} for row in rows)
        budget = float(best[LIKE]["cpu"])
        for method, row in best.items():
            affordable = max(10, round(steps * budget / float(row["cpu"])))
            yield {"image": path.stem, "limit": "CPU seconds", **fitted(image, *method, row["lr"], affordable)}


def show(path: Path) -> None:
    """A table: a row a method, each at its better rate, means over the images."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    limits = list(dict.fromkeys(row["limit"] for row in rows))
    print(
        "| regions | share | parameters | MACs | "
        + " | ".join(f"same {limit}: steps | PSNR | band" for limit in limits)
        + " |"
    )
    print("|---|---|" + "---:|" * (2 + 3 * len(limits)))
    for cut, shares in dict.fromkeys((row["cut"], row["shares"]) for row in rows):
        own = [row for row in rows if (row["cut"], row["shares"]) == (cut, shares)]
        cells = [cut, shares, f"{int(own[0]['parameters']):,}", f"{int(own[0]['macs']):,}"]
        for limit in limits:
            best: dict[str, dict[str, str]] = {}
            for row in own:
                if row["limit"] == limit and float(row["psnr"]) > float(
                    best.get(row["image"], {"psnr": "-inf"})["psnr"]
                ):
                    best[row["image"]] = row
            means = {
                name: sum(float(row[name]) for row in best.values()) / len(best)
                for name in ("steps", "psnr", "psnr_band")
            }
            band = "–" if means["psnr_band"] != means["psnr_band"] else f"{means['psnr_band']:.2f}"
            cells += [f"{means['steps']:,.0f}", f"{means['psnr']:.2f}", band]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Read the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="FILE", help="images, or with --show the file of the runs"
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--show", action="store_true")
    arguments = parser.parse_args()
    if arguments.show:
        show(arguments.paths[0])
        return
    torch.set_num_threads(1)
    out = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    out.writeheader()
    for row in runs(arguments.paths, arguments.steps):
        out.writerow(row)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
