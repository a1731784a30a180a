"""The runs of this study: a fixed grid and gates that begin with the regions of other rules.

    python experiments/experts/study.py --output outputs/experts              # the runs of the table
    python experiments/experts/study.py --output outputs/experts --steps 5000 # longer ones

The images are built in. The same command continues where it stopped, and adds its rows to runs.csv beside this file.
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
COLUMNS = ("image", "seed", "arm", "steps", "parameters", "psnr", "ssim", "macs", "cpu_seconds")
BEGINNINGS = {"random": "random", "k-means": "kmeans", "grid": "grid", "semantic": "semantic", "nothing": "null"}
ARMS = {
    "grid that stays": ("partition=grid",),
    **{f"gate from {name}": ("partition=experts", f"partition.pretrain={rule}") for name, rule in BEGINNINGS.items()},
    "random that stays": ("partition=random",),
    "one network": ("partition=none",),
}
COMMON = (
    *("data.size=128", "backbone=siren", "backbone.match_params=99000", "backbone.hidden_layers=2"),
    *("optimizer.lr=1e-3", "schedule=cosine", "regime.evaluate_every=50", "trainer.threads=1", "logger=csv"),
)


def run(folder: Path, image: str, seed: int, arm: str, steps: int) -> dict[str, Any]:
    """The row of a run, which is made if it is not there."""
    regions = () if arm == "one network" else ("partition.regions=4",)
    if not (folder / "run.json").is_file() or json.loads((folder / "run.json").read_text())["status"] != "completed":
        given = (f"data.name={image}", f"seed={seed}", f"max_steps={steps}", f"hydra.run.dir={folder}")
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            partinr([*ARMS[arm], *regions, *COMMON, *given])
    found = json.loads((folder / "run.json").read_text())
    if found["status"] != "completed":
        sys.exit(f"{folder} is {found['status']}: {found.get('message')}; delete it and give the command again")
    with (folder / "curve.csv").open(newline="", encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    own = {"image": image, "seed": seed, "arm": arm, "steps": steps, "parameters": found["parameters"]}
    return {**own, **{name: last[name] for name in ("psnr", "ssim", "macs", "cpu_seconds")}}


def main() -> None:
    """Make the runs that are missing, and write the table's data."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--images", nargs="+", default=["astronaut", "coffee"], help="names of built-in images")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    given = parser.parse_args()
    table = HERE / "runs.csv"
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    if table.is_file():
        with table.open(newline="", encoding="utf-8") as file:
            rows = {tuple(row[name] for name in COLUMNS[:4]): dict(row) for row in csv.DictReader(file)}
    for seed in given.seeds:
        for image in given.images:
            for arm in given.arms:
                folder = given.output / f"{image}-{seed}-{arm.replace(' ', '_')}-{given.steps}"
                row = run(folder, image, seed, arm, given.steps)
                rows[tuple(str(row[name]) for name in COLUMNS[:4])] = row
                print(*(row[name] for name in ("image", "seed", "arm", "psnr", "cpu_seconds")), flush=True)
                with table.open("w", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(rows.values())


if __name__ == "__main__":
    main()
