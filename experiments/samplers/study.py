"""The runs of this study: a fit with all samples in each step against the same with each sampler.

    python experiments/samplers/study.py photos/kodim19.png --output outputs/samplers
    python experiments/samplers/study.py photos/kodim19.png --setups fast --seconds 10

The same command continues where it stopped; it writes runs.csv beside this file. The budget is in CPU seconds of
training, or in steps (the setup ``steps``). All arms of a setup have the same learning rate.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import sys
from pathlib import Path
from typing import Any

from partinr.cli import main as partinr

HERE = Path(__file__).parent
COLUMNS = ("setup", "image", "sampler", "seed", "budget", "steps", "cpu_seconds", "macs", "parameters", "psnr", "ssim")

SIREN = ("experiment=paper_siren", "data.size=128", "backbone.first_omega_0=30", "optimizer.lr=1e-3", "schedule=cosine")
ONE = (*SIREN, "backbone.hidden_features=48")
SETUPS = {
    "one": ONE,
    "steps": ONE,
    "nine": (*SIREN, "partition=grid", "partition.regions=9", "backbone.hidden_features=16", "coords.frame=local"),
    "fast": ("experiment=fast", "data.size=256", "backbone.match_params=25000"),
}
"""What is fitted: one network, also for a number of steps; nine of a third of the width; experiment=fast."""

SAMPLERS = {
    "all": (),
    "uniform 0.5": ("sampler=uniform", "sampler.fraction=0.5"),
    "uniform 0.2": ("sampler=uniform", "sampler.fraction=0.2"),
    "error 0.5": ("sampler=error", "sampler.fraction=0.5"),
    "edges 0.5": ("sampler=edges", "sampler.fraction=0.5"),
    "expansive": ("sampler=expansive",),
    "evos": ("sampler=evos",),
    "int": ("sampler=int",),
    "nint": ("sampler=nint",),
}
"""Each with its paper's settings, or with half of the samples."""


def run(folder: Path, setup: str, image: Path, sampler: str, seed: int, budget: float) -> dict[str, Any]:
    """A row: what ``run.json`` says of a run; one that exists is not made again."""
    place = folder / f"{setup}_{image.stem}_{sampler.replace(' ', '_')}_{budget:g}_seed{seed}"
    manifest = place / "run.json"
    if not manifest.exists() or json.loads(manifest.read_bytes())["status"] != "completed":
        drawn = [*SAMPLERS[sampler], "regime.coarse_until=0"] if SAMPLERS[sampler] else []
        limit = [f"max_steps={budget:g}", "max_seconds=null"]
        if setup != "steps":
            limit = ["max_steps=null", f"max_seconds={budget:g}", "clock=cpu"]
        given = [
            *SETUPS[setup],
            "data=image",
            f"data.path={image}",
            *drawn,
            *limit,
            f"seed={seed}",
            "trainer.threads=1",
        ]
        command = [*given, "callbacks.pictures=null", f"hydra.run.dir={place}"]
        if manifest.exists():
            command = ["resume", str(place)]
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                partinr(command)
        except SystemExit as end:
            if end.code not in (0, None):
                sys.exit(f"{place}: {said.getvalue()}")
    found = json.loads(manifest.read_bytes())
    with (place / "curve.csv").open(newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    return {
        **{"setup": setup, "image": image.stem, "sampler": sampler, "seed": seed, "budget": f"{budget:g}"},
        **{"steps": found["steps"], "cpu_seconds": f"{float(last['cpu_seconds']):.2f}", "macs": last["macs"]},
        **{
            "parameters": found["parameters"],
            "psnr": f"{float(last['psnr']):.3f}",
            "ssim": f"{float(last['ssim']):.4f}",
        },
    }


def main() -> None:
    """Make the runs of each setup in turn."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, default=Path("outputs/samplers"))
    parser.add_argument("--setups", nargs="+", choices=SETUPS, default=list(SETUPS))
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--steps", type=float, default=250)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for setup in given.setups:
        for image in given.images:
            for seed in given.seeds:
                for sampler in SAMPLERS:
                    budget = given.steps if setup == "steps" else given.seconds
                    rows.append(run(given.output, setup, image, sampler, seed, budget))
                    print(rows[-1], flush=True)
                    with (HERE / "runs.csv").open("w", newline="", encoding="utf-8") as file:
                        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                        writer.writeheader()
                        writer.writerows(rows)


if __name__ == "__main__":
    main()
