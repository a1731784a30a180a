"""The runs of this study: sweeps of the first ω0 against auto, and three starts.

    python experiments/starts/study.py --output outputs/starts                  # all of it
    python experiments/starts/study.py --output outputs/starts --parts omega    # a part

The signals are built in. The same command continues where it stopped; each part writes its CSV beside this file.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from partinr.cli.once import once
from partinr.runs.directory import RunDirectory

HERE = Path(__file__).parent
IMAGE = ("data.size=128", "regime.points_per_step=2048")
SOUND = ("data=audio", "data.rate=4000", "data.seconds=1")
SIGNALS = {
    "astronaut": ("data.name=astronaut", *IMAGE),
    "coffee": ("data.name=coffee", *IMAGE),
    "rocket": ("data.name=rocket", *IMAGE),
    "melody": ("data.name=melody", *SOUND),
    "chirps": ("data.name=chirps", *SOUND),
}
SOUNDS = ("melody", "chirps")
COMMON = ("backbone.match_params=10000", "optimizer.lr=1e-3", "callbacks.pictures=null", "trainer.threads=1")
OMEGAS = (5, 10, 20, 30, 60, 120)
HIGHER = (250, 500, 1000, 2000, 4000, 8000)
"""Further values for sounds, which none of the others fits."""

BEGINNINGS = {
    "astronaut 128²": ("data.name=astronaut", "data.size=128"),
    "coffee 256²": ("data.name=coffee", "data.size=256"),
    "melody": (*SIGNALS["melody"], "data.seed=100", "backbone.first_omega_0=auto"),
}
OTHERS = {
    "astronaut 128²": "{_target_:partinr.signals.FolderData,names:[rocket,chelsea,retina,immunohistochemistry]}",
    "coffee 256²": "{_target_:partinr.signals.FolderData,names:[rocket,chelsea,retina,immunohistochemistry]}",
    "melody": "{_target_:partinr.signals.MelodiesData,seconds:1.0,rate:4000,train_items:4}",
}
"""Signals that the shared layers are trained on."""

CUTS = {"none": ("partition=none",), "grid 16": ("partition=grid", "partition.regions=16")}
STARTS = ("random", "noise", "shared")
STEPS = (50, 200, 1000)
SEEDS = (0, 1)
TRAINED = ("start.count=4", "start.steps=500", "start.points_per_step=1024")


def omega(output: Path) -> Iterator[dict[str, Any]]:
    """A row for each frequency of each signal; that of ``auto`` has the number that was settled."""
    for signal, words in SIGNALS.items():
        for value in (*OMEGAS, *(HIGHER if signal in SOUNDS else ()), "auto"):
            asked = [*words, *COMMON, "partition=none", "schedule=cosine", "max_steps=500"]
            asked += [f"backbone.first_omega_0={value}", "regime.evaluate_every=500"]
            said = once(output / f"omega_{signal}_{value}", asked)
            settled = said.get("settled", {}).get("backbone.first_omega_0", value)
            psnr, snr = (said["metrics"].get(name) for name in ("psnr", "snr"))
            row = {"signal": signal, "given": value, "first_omega_0": f"{settled:g}", "psnr": f"{psnr:.3f}"}
            yield {**row, "snr": "" if snr is None else f"{snr:.3f}"}


def starts(output: Path) -> Iterator[dict[str, Any]]:
    """A row for each start of each signal, partition and seed at each number of steps."""
    for seed, signal, cut, start in itertools.product(SEEDS, BEGINNINGS, CUTS, STARTS):
        asked = [*BEGINNINGS[signal], *COMMON, *CUTS[cut], "schedule=cosine", f"max_steps={STEPS[-1]}", f"seed={seed}"]
        asked += ["regime.points_per_step=1024", "regime.evaluate_every=1000000"]
        asked += [f"regime.evaluate_at=[{','.join(map(str, STEPS))}]"]
        if start != "random":
            asked += [f"start={start}", *TRAINED]
        if start == "shared":
            asked.append(f"start.signals={OTHERS[signal]}")
        place = output / f"{signal}_{cut}_{start}_{seed}".replace(" ", "-")
        said = once(place, asked)
        curve = RunDirectory.open(place).curve()
        took = said.get("start", {}).get("macs", 0) / curve[-1]["macs"] * STEPS[-1]
        for row in curve:
            if row["step"] in STEPS:
                about = {"signal": signal, "partition": cut, "start": start, "seed": seed, "steps": row["step"]}
                yield {**about, "psnr": f"{row['psnr']:.3f}", "start_in_steps": round(took)}


def write(name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as ``name``.csv."""
    with (HERE / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


PARTS = {"omega": omega, "starts": starts}


def main() -> None:
    """Make the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("outputs/starts"))
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    given = parser.parse_args()
    for part in given.parts:
        rows: list[dict[str, Any]] = []
        for row in PARTS[part](given.output):
            rows.append(row)
            print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        write(part, rows)


if __name__ == "__main__":
    main()
