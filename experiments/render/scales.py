"""How far off is a fitted image between its pixels? A smooth function, fitted at one resolution, rendered at others.

    python experiments/render/scales.py

Needs no file; the README beside this one has the table that it prints.
"""

from __future__ import annotations

import sys

import torch

import partinr
from partinr.backbones import Backbone
from partinr.model.inr import PiecewiseINR
from partinr.partition import PartitionRule
from partinr.signals import smooth_signal
from partinr.training.schedule import Cosine

SHAPE = (64, 96)
PARAMETERS = 8_000
STEPS = 500
SEEDS = (0, 1, 2)
SCALES = (1, 2, 4)

RULES: dict[str, PartitionRule] = {
    "none": partinr.partition.Whole(),
    "grid #6": partinr.partition.Grid(rows=2, cols=3),
    "superpixel #6": partinr.partition.Superpixel(regions=6),
}
BACKBONES: dict[str, tuple[Backbone, float]] = {
    "siren": (partinr.backbones.Siren(match_params=PARAMETERS, hidden_layers=2, first_omega_0=10.0), 2e-3),
    "relu_pe": (partinr.backbones.ReluPE(match_params=PARAMETERS, hidden_layers=2, frequencies=6), 2e-3),
    "relu_pe, 60 frequencies": (partinr.backbones.ReluPE(match_params=2 * PARAMETERS, hidden_layers=2), 2e-3),
}


def errors(backbone: Backbone, lr: float, rule: PartitionRule, frame: str, seed: int) -> list[float]:
    """Mean squared error against the true function at each scale."""
    image = smooth_signal(SHAPE, 3, seed=[seed])
    model = PiecewiseINR(rule(image), backbone, frame=frame, seed=seed)  # type: ignore[arg-type]
    partinr.fit(model, image, steps=STEPS, lr=lr, schedule=Cosine(), seed=seed)
    found = []
    for scale in SCALES:
        truth = smooth_signal([scale * n for n in SHAPE], 3, seed=[seed])
        found.append(float((model.render(scale) - truth).square().mean(dtype=torch.float64)))
    return found


def main() -> None:
    torch.set_num_threads(1)
    print("| backbone | partition | frame | " + " | ".join(f"scale {scale}" for scale in SCALES) + " |")
    print("|---|---|---|" + "---|" * len(SCALES))
    for name, (backbone, lr) in BACKBONES.items():
        for cut, rule in RULES.items():
            for frame in ("global",) if cut == "none" else ("global", "local"):
                runs = torch.tensor([errors(backbone, lr, rule, frame, seed) for seed in SEEDS], dtype=torch.float64)
                decibels = (-10 * runs.log10()).mean(0).tolist()
                print(f"| {name} | {cut} | {frame} | " + " | ".join(f"{each:.1f}" for each in decibels) + " |")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
