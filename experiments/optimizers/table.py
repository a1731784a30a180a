"""Optimisers, and how points are drawn, on the image of the demo and others that scikit-image carries.

    python experiments/optimizers/table.py rates coffee > rates.csv
    python experiments/optimizers/table.py optimizers astronaut chelsea rocket > optimizers.csv
    python experiments/optimizers/table.py seconds astronaut chelsea > seconds.csv
    python experiments/optimizers/table.py sampling astronaut chelsea rocket > sampling.csv
    python experiments/optimizers/table.py --show FILE.csv

The setting is that of ``experiment=demo``: 128 pixels square, SIREN, 20,000 parameters over all regions, each network
in a frame of its own, 400 steps; but with a cosine, since at a constant rate the last step is a matter of luck. The
first command looks for a learning rate on an image of its own, the second takes what it found, and so does the third,
where the cosine is over seconds, as many for each. A row of the CSV is a run; ``--show`` prints a row a setting and a
column an image and cut.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

import partinr
from partinr.backbones import Siren
from partinr.partition import Grid
from partinr.regimes import Cosine, FitSettings, Optimizer, PerNetwork
from partinr.signals import ImageData

CONF = Path(__file__).parents[2] / "conf" / "optimizer"
SIDE, PARAMETERS = 128, 20_000
CUTS = {"none": 1, "grid #9": 3}

RATES: dict[str, tuple[float, ...]] = {
    "adam": (1e-3, 2e-3, 5e-3, 1e-2),
    "adam, weight_scale=2": (1e-3, 2e-3, 5e-3, 1e-2),
    "muon": (3e-3, 1e-2, 3e-2),
    "soap": (1e-3, 3e-3, 1e-2),
}
"""Those that are tried. AdamW beside Muon has a tenth of its rate, as in conf/optimizer/muon.yaml."""

FOUND = {
    "none": {"adam": 2e-3, "adam, weight_scale=2": 1e-3, "muon": 1e-2, "soap": 3e-3},
    "grid #9": {"adam": 2e-3, "adam, weight_scale=2": 5e-3, "muon": 1e-2, "soap": 3e-3},
}
"""The best of them on ``coffee``."""

SECONDS = 10.0
"""Of training, on one thread."""

POINTS = SIDE * SIDE // 10
SAMPLED_STEPS, SAMPLED_LR = 1000, 1e-3

COLUMNS = ("setting", "image", "cut", "lr", "parameters", "steps", "psnr", "seconds", "failure")


def optimizer_of(label: str, lr: float) -> Optimizer:
    """As its YAML has it, at this rate."""
    options = yaml.safe_load((CONF / f"{label.split(',')[0]}.yaml").read_text(encoding="utf-8"))
    kind = {"partinr.regimes.Optimizer": Optimizer, "partinr.regimes.PerNetwork": PerNetwork}[options.pop("_target_")]
    if options.get("adamw_lr") is not None:
        options["adamw_lr"] *= lr / options["lr"]
    made: Optimizer = kind(**{**options, "lr": lr})
    return made


def run(
    label: str, image: str, cut: str, lr: float, steps: int | None, seconds: float | None = None, **settings: Any
) -> dict[str, Any]:
    """One fit, of so many steps or seconds."""
    signal = ImageData(name=image, size=SIDE).load()
    backbone = Siren(match_params=PARAMETERS, first_omega_0=30.0)
    if "weight_scale=2" in label:
        backbone = replace(backbone, weight_scale=2.0)
    model = partinr.PiecewiseINR(Grid(rows=CUTS[cut], cols=CUTS[cut])(signal), backbone, frame="local")
    result = partinr.fit(
        model,
        signal,
        steps=steps,
        seconds=seconds,
        optimizer=optimizer_of(label, lr),
        schedule=Cosine(),
        settings=FitSettings(collapse_db=None, **settings),
    )
    return {
        "setting": label,
        "image": image,
        "cut": cut,
        "lr": lr,
        "parameters": model.parameter_count,
        "steps": result.steps,
        "psnr": f"{result.psnr:.2f}",
        "seconds": f"{result.seconds:.1f}",
        "failure": result.failure or "",
    }


def runs(
    what: str, images: list[str], cuts: list[str], labels: list[str], steps: int | None
) -> Iterator[dict[str, Any]]:
    """All of a part of the study."""
    for image in images:
        for cut in cuts:
            if what == "sampling":
                for sampling in ("uniform", "error"):
                    row = run(
                        "adam",
                        image,
                        cut,
                        SAMPLED_LR,
                        steps or SAMPLED_STEPS,
                        points_per_step=POINTS,
                        sampling=sampling,
                    )
                    yield {**row, "setting": f"regime.sampling={sampling}"}
                continue
            if what == "seconds":
                for label in labels:
                    yield run(label, image, cut, FOUND[cut][label], None, SECONDS, evaluate_every=10**9)
                continue
            for label in labels:
                for lr in RATES[label] if what == "rates" else (FOUND[cut][label],):
                    yield run(label, image, cut, lr, steps or 400, evaluate_every=10**9)


def show(path: Path) -> None:
    """Print the runs as a table, in dB."""
    found: dict[tuple[str, str], dict[tuple[str, str], str]] = defaultdict(dict)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            found[row["setting"], row["lr"]][row["image"], row["cut"]] = row["psnr"]
    columns = list(dict.fromkeys(column for rows in found.values() for column in rows))
    print("| | lr |" + "".join(f" {image}, {cut} |" for image, cut in columns) + " mean |")
    print("|---|---:|" + "---:|" * (len(columns) + 1))
    for (label, lr), rows in found.items():
        mean = sum(map(float, rows.values())) / len(rows)
        cells = " | ".join(rows.get(column, "") for column in columns)
        print(f"| {label} | {float(lr):g} | {cells} | {mean:.2f} |")


def main() -> None:
    """Run, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("rates", "optimizers", "seconds", "sampling"))
    parser.add_argument("images", nargs="*")
    parser.add_argument("--cut", choices=list(CUTS), action="append", help="one of the cuts")
    parser.add_argument("--only", choices=list(RATES), action="append", help="one of the optimisers")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--show", type=Path)
    arguments = parser.parse_args()
    if arguments.show is not None:
        show(arguments.show)
        return
    out = csv.DictWriter(sys.stdout, COLUMNS, lineterminator="\n")
    out.writeheader()
    cuts, labels = arguments.cut or list(CUTS), arguments.only or list(RATES)
    for row in runs(arguments.what, arguments.images, cuts, labels, arguments.steps):
        out.writerow(row)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
