"""The runs of this study, tuned and judged.

    python experiments/phase_diagram/study.py TUNING IMAGES --output outputs/phase_diagram              # all of it
    python experiments/phase_diagram/study.py TUNING IMAGES --output outputs/phase_diagram --values 8   # part of it

TUNING and IMAGES are folders of eight images each, which share none. The same command continues where it stopped. After
each arm it writes tuned.csv and judged.csv beside this file.

An arm is a number of values per parameter, a rule, and a number of regions. Its rate and its first ω0 are tuned on the
images of TUNING: the rate first, then ω0 at the best rate, then the rate again at the best ω0, on ladders of factor 2.
Each search goes on until its best point has a worse neighbour on both sides. Then the arm is judged on IMAGES.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from partinr.cli.once import once
from partinr.studies.tuning import climb

HERE = Path(__file__).parent

SIDE = 128
CHANNELS = 3

VALUES = (8.0, 2.7, 1.0, 0.5)
"""Values per parameter, the cheapest first."""

RULES = {
    "grid global": ["partition=grid", "coords.frame=global"],
    "grid local": ["partition=grid", "coords.frame=local"],
    "HFS local": ["partition=semantic", "coords.frame=local", "capacity=area"],
    "SLIC local": ["partition=superpixel", "coords.frame=local"],
}
REGIONS = (4, 9, 16, 64)

TUNING_STEPS = 500
STEPS = 1000
FRONTIER = (16, 31, 62, 125, 250, 500)
"""Shorter runs of the lone network: what it has after the work of an arm whose steps cost less."""

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Arm:
    """One way to spend the parameters.

    Attributes:
        values: values of an image per parameter.
        rule: key of :data:`RULES`; "none" for the lone network.
        regions: number of regions.
    """

    values: float
    rule: str = "none"
    regions: int = 1

    def __str__(self) -> str:
        return f"{self.values:g}-{self.rule.replace(' ', '-')}-{self.regions}"

    @property
    def settings(self) -> list[str]:
        """What makes this arm, for the command line."""
        rule = [*RULES[self.rule], f"partition.regions={self.regions}"] if self.regions > 1 else ["partition=none"]
        return [*rule, f"backbone.match_params={round(SIDE * SIDE * CHANNELS / self.values)}"]

    @property
    def start(self) -> tuple[int, int]:
        """Where the searches for rate and ω0 begin, in steps of their ladders.

        Smaller networks need higher rates, and a network with a frame of its own needs fewer waves.
        """
        local = self.regions > 1 and self.rule.endswith("local")
        return round(math.log2(self.regions) / 2), -round(math.log2(self.regions) / 2) if local else 0


def rate(step: int) -> float:
    """Adam's rate at a step of the ladder."""
    return 1e-3 * 2.0**step


def omega(step: int) -> float:
    """First ω0 at a step of the ladder."""
    return 30.0 * 2.0**step


def arms(values: float) -> Iterator[Arm]:
    """The arms with this many values per parameter."""
    yield Arm(values)
    for regions in REGIONS:
        for rule in RULES:
            yield Arm(values, rule, regions)


def run(folder: Path, arm: Arm, images: Path, steps: int, seed: int, at: tuple[int, int]) -> Path:
    """A completed run of an arm on all images, in its directory.

    Args:
        folder: where its directory is; an existing run is continued.
        arm: the arm.
        images: folder of images.
        steps: number of steps.
        seed: the seed.
        at: steps of the ladders of rate and ω0.
    """
    place = folder / f"{arm}_rate{at[0]:+d}_omega{at[1]:+d}_steps{steps}_seed{seed}"
    command = ["data=folder", f"data.path={images}", f"data.size={SIDE}", "data.channels=rgb", *arm.settings]
    command += [f"optimizer.lr={rate(at[0])}", f"backbone.first_omega_0={omega(at[1])}", "schedule=cosine"]
    command += [f"max_steps={steps}", f"seed={seed}", "regime.evaluate_every=1000000", "callbacks.pictures=null"]
    once(place, command)
    return place


def psnr(place: Path) -> float:
    """Mean PSNR of the images of a run; that of no image if it failed."""
    said = json.loads((place / "run.json").read_bytes())
    return float(said["metrics"]["psnr"]) if said["status"] == "completed" else 0.0


def tuned(arm: Arm, images: Path, output: Path) -> tuple[int, int]:
    """The best steps of both ladders on the images for tuning."""

    def quality(at: tuple[int, int]) -> float:
        return psnr(run(output / "tuning", arm, images, TUNING_STEPS, 0, at))

    lr, waves = arm.start
    lr = climb(lambda step: quality((step, waves)), lr, first=5)
    waves = climb(lambda step: quality((lr, step)), waves)
    return climb(lambda step: quality((step, waves)), lr), waves


def judged(arm: Arm, images: Path, output: Path, at: tuple[int, int]) -> None:
    """Make the runs that count."""
    for steps in (STEPS, *(FRONTIER if arm.regions == 1 else ())):
        for seed in SEEDS:
            run(output / "judged", arm, images, steps, seed, at)


def write(output: Path, made: dict[Arm, tuple[int, int]]) -> None:
    """Write both CSV files from the runs of these arms."""
    places = {place.name: place for stage in ("tuning", "judged") for place in sorted((output / stage).glob("*"))}
    points, rows = [], []
    for name, place in places.items():
        arm = next((arm for arm in made if name.startswith(f"{arm}_")), None)
        if arm is None:
            continue
        lr, waves = (int(part.lstrip("rateomg")) for part in name.removeprefix(f"{arm}_").split("_")[:2])
        about = {"values_per_parameter": f"{arm.values:g}", "rule": arm.rule, "regions": arm.regions}
        about |= {"lr": f"{rate(lr):g}", "first_omega_0": f"{omega(waves):g}"}
        if place.parent.name == "tuning":
            points.append(about | {"psnr": f"{psnr(place):.3f}"})
            continue
        said = json.loads((place / "run.json").read_bytes())
        if made[arm] != (lr, waves) or said["status"] != "completed":
            continue
        images, pixels = len(said["images"]), SIDE * SIDE
        about |= {"steps": said["steps"], "seed": said["seed"], "parameters": round(said["parameters"] / images)}
        about |= {"found_regions": f"{said['regions'] / images:g}"}
        about |= {"mmacs_per_step": f"{said['macs_per_pixel'] * pixels / 1e6:.2f}"}
        about |= {"cpu_ms_per_step": f"{1000 * said['cpu_seconds']['training'] / said['steps'] / images:.3f}"}
        with (place / "images.csv").open(newline="", encoding="utf-8") as file:
            ends = [row for row in csv.DictReader(file) if int(row["step"]) == said["steps"]]
        rows += [about | {"image": row["image"], "psnr": f"{float(row['psnr']):.3f}"} for row in ends]
    for name, table in (("tuned.csv", points), ("judged.csv", rows)):
        if table:
            with (HERE / name).open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, table[0], lineterminator="\n")
                writer.writeheader()
                writer.writerows(table)


def main() -> None:
    """Tune and judge each arm."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tuning", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--output", type=Path, default=Path("outputs/phase_diagram"))
    parser.add_argument("--values", type=float, nargs="+", default=VALUES, help="values per parameter")
    given = parser.parse_args()
    made: dict[Arm, tuple[int, int]] = {}
    for values in given.values:
        for arm in arms(values):
            made[arm] = tuned(arm, given.tuning, given.output)
            judged(arm, given.images, given.output, made[arm])
            write(given.output, made)
            print(f"{arm}: lr {rate(made[arm][0]):g}, first ω0 {omega(made[arm][1]):g}", flush=True)


if __name__ == "__main__":
    main()
