"""The least-squares optimum of backbone=bicubic on each Kodak image: one grid for the whole image, no training.

    python experiments/kodak/bicubic.py kodak > experiments/kodak/bicubic.csv
    python experiments/kodak/bicubic.py --show bicubic.csv whole.csv

Cubic B-splines on a grid are products of those along its axes, so the least-squares fit is one along each axis after
the other. No optimiser can do better with the same grid, and Adam comes within 0.1 dB of it. ``--show`` prints the
means beside those of experiment=fast after 10 s.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path
from statistics import mean

import torch
from torch.nn import functional

from partinr.backbones import Bicubic
from partinr.coords import axis_coords
from partinr.metrics import psnr
from partinr.signals import ImageData

BUDGETS = (50_000, 100_000, 262_000, 500_000, 1_000_000)
SECONDS = "10"


@cache
def projection(samples: int, side: int) -> torch.Tensor:
    """The least-squares fit of samples along an axis by as many splines, sample by sample: ``[samples, samples]``."""
    at = axis_coords(samples).double().unsqueeze(-1)
    coefficients = {"coefficients": torch.eye(side, dtype=torch.float64)}
    basis = Bicubic(hidden_features=side).apply(coefficients, at, functional.linear)
    return basis @ torch.linalg.pinv(basis)


def optimum(image: torch.Tensor, parameters: int) -> tuple[int, float]:
    """Parameters of the grid, and the PSNR of its best fit to ``[H, W, C]``."""
    height, width, channels = image.shape
    grid = Bicubic(match_params=parameters, aspect=(height, width)).sized(1, 2, channels)
    rows, columns = (projection(*each) for each in zip((height, width), grid.sides(2), strict=True))
    fit = torch.einsum("ij,jkc,lk->ilc", rows, image.double(), columns)
    return grid.parameters(2, channels), psnr(fit.float(), image)


def show(own: Path, others: Path) -> None:
    """Print the means of both."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in csv.DictReader(own.read_text(encoding="utf-8").splitlines()):
        found[row["budget"]].append(float(row["psnr"]))
    fast: dict[str, list[float]] = defaultdict(list)
    for row in csv.DictReader(others.read_text(encoding="utf-8").splitlines()):
        if row["budget_seconds"] == SECONDS:
            fast[row["budget_parameters"]].append(float(row["psnr"]))
    print("| parameters | bicubic grid, optimum | `experiment=fast`, 10 s |\n|---:|---:|---:|")
    for budget, values in found.items():
        print(f"| {int(budget):,} | {mean(values):.2f} | {mean(fast[budget]):.2f} |")


def main() -> None:
    """Fit, or show."""
    if sys.argv[1] == "--show":
        show(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(["image", "budget", "parameters", "psnr"])
    for path in sorted(Path(sys.argv[1]).glob("*.png")):
        image = ImageData(path=str(path)).load()
        for budget in BUDGETS:
            parameters, found = optimum(image, budget)
            out.writerow([path.stem, budget, parameters, f"{found:.3f}"])
            sys.stdout.flush()


if __name__ == "__main__":
    main()
