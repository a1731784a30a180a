"""What one network and sixteen restore of a signal that they see through an observation, beside a classical method.

    python experiments/observations/table.py > runs.csv
    python experiments/observations/table.py --show runs.csv

The first command writes a row a run, the second prints them as a table. `--only denoising` runs the tasks that begin
so, and `--seed 1` another seed, so that several processes can share the work.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from scipy.interpolate import griddata
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor

import partinr
from partinr.backbones import Siren
from partinr.metrics import psnr
from partinr.partition import Grid
from partinr.regimes import Cosine, FitSettings, Optimizer
from partinr.signals import PhantomData
from partinr.signals.observations import Downsample, Mask, Noise, Observation, Observed, Radon

PHANTOM = {"parameters": 5_000, "steps": 1000, "omega": 20.0, "lr": 3e-3}
"""Projections say little of fine structure, so that it takes many steps to learn: the phantom is small."""

PHOTOGRAPH = {"parameters": 12_500, "steps": 200, "omega": 10.0, "lr": 1e-3}

SETTINGS = {"CT": PHANTOM, "denoising": {**PHOTOGRAPH, "steps": 500, "omega": 20.0}}
"""Settings of tasks that begin so; noise is fitted with enough steps and frequencies. Others are :data:`PHOTOGRAPH`."""

CUTS: dict[str, dict[str, Any]] = {
    "none": {"rows": 1, "frame": "global", "faster": 1.0},
    "grid #16": {"rows": 4, "frame": "local", "faster": 3.0},
}
"""Small networks in frames of their own have a lower first frequency and take a higher learning rate."""

COLUMNS = ("task", "seed", "method", "prior", "parameters", "steps", "psnr_best", "step_best", "psnr", "psnr_observed")


def phantom() -> Tensor:
    """The Shepp-Logan phantom."""
    return PhantomData(shape=[64, 64]).load()


def camera() -> Tensor:
    """The photographer, of scikit-image."""
    return partinr.builtin_image("camera", size=128)


def back_projection(seen: Observed) -> Tensor:
    """The filtered back-projection."""
    return seen.estimate


def interpolated(seen: Observed) -> Tensor:
    """Linear between the seen pixels, the nearest of them beyond."""
    assert seen.weights is not None
    at = np.argwhere(seen.weights[..., 0].numpy() > 0)
    everywhere = np.argwhere(np.ones(seen.targets.shape[:2], dtype=bool))
    values = griddata(at, seen.targets[..., 0].numpy()[tuple(at.T)], everywhere, method="linear")
    found = torch.from_numpy(values.reshape(seen.targets.shape)).float()
    return torch.where(found.isnan(), seen.estimate, found)


def bicubic(seen: Observed) -> Tensor:
    """The averages, resized by cubic interpolation."""
    return torch.from_numpy(cv2.resize(seen.picture.numpy(), (128, 128), interpolation=cv2.INTER_CUBIC))[..., None]


def smoothed(seen: Observed) -> Tensor:
    """Chambolle's total-variation denoising."""
    return torch.from_numpy(denoise_tv_chambolle(seen.targets.numpy(), weight=0.1, channel_axis=-1))


Method = tuple[str, Callable[[Observed], Tensor]]

FBP: Method = ("back-projection", back_projection)

TASKS: dict[str, tuple[Callable[[], Tensor], Callable[[int], Observation], Method, float]] = {
    "CT, 100 angles": (phantom, lambda seed: Radon(angles=100), FBP, 1e-3),
    "CT, 50 angles": (phantom, lambda seed: Radon(angles=50), FBP, 1e-3),
    "CT, 20 angles": (phantom, lambda seed: Radon(angles=20), FBP, 1e-3),
    "inpainting, 20 %": (camera, lambda seed: Mask(fraction=0.2, seed=seed), ("linear", interpolated), 0.02),
    "super-resolution, ×4": (camera, lambda seed: Downsample(factor=4), ("bicubic", bicubic), 5e-3),
    "denoising, σ = 0.1": (camera, lambda seed: Noise(sigma=0.1, seed=seed), ("Chambolle", smoothed), 0.15),
}
"""The signal, its observation, a classical method, and a weight of the total variation, which was not tuned."""


def runs(only: str, seed: int) -> Iterator[dict[str, Any]]:
    """The classical method of every task, then every cut and prior."""
    for task, (load, observation, (method, restore), weight) in TASKS.items():
        if not task.startswith(only):
            continue
        signal, observe, of = load(), observation(seed), SETTINGS.get(task.partition(",")[0], PHOTOGRAPH)
        seen = observe.observe(signal, 0)
        yield {"task": task, "seed": seed, "method": method, "psnr": f"{psnr(restore(seen), signal):.2f}"}
        for cut, how in CUTS.items():
            for prior in (None, weight):
                model = partinr.PiecewiseINR(
                    Grid(rows=how["rows"], cols=how["rows"])(seen.estimate),
                    Siren(match_params=int(of["parameters"]), first_omega_0=of["omega"] / how["rows"]),
                    channels=1,
                    frame=how["frame"],
                    seed=seed,
                )
                result = partinr.fit(
                    model,
                    signal,
                    steps=int(of["steps"]),
                    optimizer=Optimizer(lr=of["lr"] * how["faster"]),
                    schedule=Cosine(),
                    settings=FitSettings(
                        evaluate_every=int(of["steps"]) // 20, collapse_db=None, total_variation=prior
                    ),
                    observe=observe,
                    seed=seed,
                    progress=False,
                )
                best = max(result.curve, key=lambda row: row["psnr"])
                yield {
                    "task": task,
                    "seed": seed,
                    "method": cut,
                    "prior": "" if prior is None else f"{prior:g}",
                    "parameters": model.parameter_count,
                    "steps": result.steps,
                    "psnr_best": f"{best['psnr']:.2f}",
                    "step_best": best["step"],
                    "psnr": f"{result.psnr:.2f}",
                    "psnr_observed": f"{result.curve[-1]['psnr_observed']:.2f}",
                }


def show(path: Path) -> None:
    """A row a task and method: the best point and the last, means over seeds."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    print("| task | method | prior | best | at step | last | observed |\n|---|---|---:|---:|---:|---:|---:|")
    for task, method, prior in dict.fromkeys((row["task"], row["method"], row["prior"]) for row in rows):
        own = [row for row in rows if (row["task"], row["method"], row["prior"]) == (task, method, prior)]

        def mean(key: str, digits: int, own: list[dict[str, str]] = own) -> str:
            known = [float(row[key]) for row in own if row[key]]
            return f"{sum(known) / len(known):.{digits}f}" if known else ""

        cells = (mean("psnr_best", 2), mean("step_best", 0), mean("psnr", 2), mean("psnr_observed", 2))
        print(f"| {task} | {method} | {prior} | " + " | ".join(cells) + " |")


def main() -> None:
    """Run, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", type=Path, metavar="FILE.csv")
    parser.add_argument("--only", default="", help="tasks that begin so")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.show is not None:
        show(arguments.show)
        return
    out = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    out.writeheader()
    for row in runs(arguments.only, arguments.seed):
        out.writerow(row)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
