"""The runs of this study: Adam, Muon and SOAP, each at its best rate, for one network and for 16 on a grid.

    python experiments/optimizers/study.py --output outputs/optimizers

The same command continues where it stopped; it writes runs.csv and rates.csv beside this file. Each arm has rates of
its own: on two images with seed 0, the rate is searched in steps of 2 until the best mean PSNR has a worse neighbour on
both sides; for Muon then that of the AdamW beside it, and the first again. Three other images count, with seeds 1, 2
and 3: after equally many steps, and again with as many steps as take the CPU seconds of the costliest optimiser, at
rates searched for so many.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from partinr.cli import main as partinr
from partinr.studies.tuning import climb

HERE = Path(__file__).parent
STEPS = 200
LONGER = 1.5
"""Runs of so many times as many steps have rates of their own."""
ALIKE = 1.25
"""Optimisers whose steps cost less than so many times as much keep their runs of equally many steps."""
SEEDS = (1, 2, 3)
TUNED_ON = ("coffee", "rocket")
TESTED_ON = ("astronaut", "camera", "chelsea")
CUTS = {
    "grid": ("partition=grid", "partition.regions=16", "backbone.first_omega_0=10.0"),
    "none": ("partition=none", "backbone.first_omega_0=30.0"),
}


@dataclass(frozen=True)
class Kind:
    """An optimiser.

    Attributes:
        settings: that select it.
        lr: its rate at step 0 of the ladder.
        beside: the rate of the AdamW beside it, as a part of ``lr``, at step 0 of that ladder; 0 without one.
    """

    settings: tuple[str, ...]
    lr: float
    beside: float = 0.0


KINDS = {
    "adam": Kind(("optimizer=adam",), 2e-3),
    "adam, short memory": Kind(
        ("optimizer=adam", "optimizer.options.betas=[0.9,0.9]", "optimizer.options.eps=1e-15"), 4e-3
    ),
    "muon": Kind(("optimizer=muon",), 1e-2, 0.1),
    "soap": Kind(("optimizer=soap",), 3e-3),
}

Point = tuple[int, int]
"""Steps of the ladders of the rate and of the rate of the AdamW beside it."""


@dataclass(frozen=True)
class Arm:
    """A cut and an optimiser, by their names."""

    cut: str
    kind: str

    def rates(self, at: Point) -> tuple[float, float]:
        """The rate, and that of the AdamW beside it."""
        own = KINDS[self.kind]
        lr = own.lr * 2.0 ** at[0]
        return lr, lr * own.beside * 2.0 ** at[1]

    def settings(self, at: Point) -> list[str]:
        """What makes this arm, for the command line."""
        lr, beside = self.rates(at)
        given = [*CUTS[self.cut], *KINDS[self.kind].settings, f"optimizer.lr={lr:.4g}"]
        return [*given, f"optimizer.adamw_lr={beside:.4g}"] if beside else given


def run(folder: Path, arm: Arm, image: str, seed: int, at: Point, steps: int = STEPS) -> dict[str, Any]:
    """What ``run.json`` says of a finished run of an arm; an existing run is continued."""
    name = f"{arm.cut}-{arm.kind.replace(', ', '-').replace(' ', '-')}-{image}"
    place = folder / f"{name}_rate{at[0]:+d}_beside{at[1]:+d}_steps{steps}_seed{seed}"
    manifest = place / "run.json"
    if not manifest.exists() or json.loads(manifest.read_bytes())["status"] not in ("completed", "failed"):
        command = ["resume", str(place)]
        if not manifest.exists():
            command = ["data=builtin", f"data.name={image}", "data.size=128", *arm.settings(at), "coords.frame=local"]
            command += ["backbone=siren", "backbone.match_params=20000", "schedule=cosine", f"max_steps={steps}"]
            command += ["regime.evaluate_every=1000000", "callbacks.pictures=null", f"seed={seed}"]
            command += [f"hydra.run.dir={place}"]
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                partinr(command)
        except SystemExit as end:
            # A rate at which the loss diverges fails the run: the worst point of its ladder.
            if end.code not in (0, 1, None) or not manifest.exists():
                sys.exit(f"{place}: {said.getvalue()}")
    found: dict[str, Any] = json.loads(manifest.read_bytes())
    return found


def psnr(said: dict[str, Any]) -> float:
    """PSNR of a run; that of no signal if it failed."""
    return float(said["metrics"]["psnr"]) if said["status"] == "completed" else 0.0


def tuned(arm: Arm, output: Path, tried: list[dict[str, Any]], steps: int = STEPS, start: Point = (0, 0)) -> Point:
    """The best points of both ladders for so many steps; ``tried`` gets a row for each point."""

    def quality(at: Point) -> float:
        found = mean(psnr(run(output, arm, image, 0, at, steps)) for image in TUNED_ON)
        lr, beside = arm.rates(at)
        row = {"cut": arm.cut, "optimizer": arm.kind, "steps": steps, "lr": f"{lr:.4g}"}
        row |= {"adamw_lr": f"{beside:.4g}" if beside else "", "psnr": f"{found:.3f}"}
        tried.extend([row] if row not in tried else [])
        return found

    lr, beside = climb(lambda step: quality((step, start[1])), start[0]), 0
    if KINDS[arm.kind].beside:
        beside = climb(lambda step: quality((lr, step)), start[1])
        lr = climb(lambda step: quality((step, beside)), lr)
    return lr, beside


def row_of(arm: Arm, image: str, seed: int, at: Point, equal: str, said: dict[str, Any]) -> dict[str, Any]:
    """The row of a run that counts."""
    lr, beside = arm.rates(at)
    return {
        **{"equal": equal, "image": image, "cut": arm.cut, "optimizer": arm.kind, "seed": seed},
        **{"lr": f"{lr:.4g}", "adamw_lr": f"{beside:.4g}" if beside else "", "parameters": said["parameters"]},
        **{
            "steps": said["steps"],
            "cpu_seconds": f"{said['cpu_seconds']['training']:.2f}",
            "psnr": f"{psnr(said):.3f}",
        },
    }


def judged(arm: Arm, output: Path, at: Point, steps: int, equal: str) -> list[dict[str, Any]]:
    """The rows of an arm, one an image and seed."""
    return [
        row_of(arm, image, seed, at, equal, run(output, arm, image, seed, at, steps))
        for image, seed in itertools.product(TESTED_ON, SEEDS)
    ]


def cost(rows: list[dict[str, Any]]) -> float:
    """CPU seconds of a step."""
    return sum(float(row["cpu_seconds"]) for row in rows) / sum(row["steps"] for row in rows)


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Write the rows."""
    with (HERE / name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    """Tune and judge each arm."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("outputs/optimizers"))
    output = parser.parse_args().output
    tried: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for cut in CUTS:
        arms = [Arm(cut, kind) for kind in KINDS]
        best = {arm: tuned(arm, output, tried) for arm in arms}
        write("rates.csv", tried)
        found = {arm: judged(arm, output, best[arm], STEPS, "steps") for arm in arms}
        rows += itertools.chain.from_iterable(found.values())
        write("runs.csv", rows)
        dearest = max(arms, key=lambda arm: cost(found[arm]))
        for arm in arms:
            share = cost(found[dearest]) / cost(found[arm])
            steps = round(STEPS * share) if share > ALIKE else STEPS
            at = tuned(arm, output, tried, steps, best[arm]) if steps > LONGER * STEPS else best[arm]
            rows += judged(arm, output, at, steps, "cpu")
            write("rates.csv", tried)
            write("runs.csv", rows)
            print(f"{cut}, {arm.kind}: rates {arm.rates(best[arm])}, {steps} steps at {arm.rates(at)}", flush=True)


if __name__ == "__main__":
    main()
