"""The runs of this study: partition and backbone on a sound, a film, a volume and a signed distance.

    python experiments/signals/study.py --output outputs/signals                   # all of it
    python experiments/signals/study.py --output outputs/signals --backbones siren # part of it

The signals are built in. The same command continues where it stopped; it writes runs.csv beside this file. Each arm has
a rate and a first ω0 of its own: with seed 0, the rate is searched in steps of 2, then ω0 at the best rate, then the
rate again; each search ends when its best step has a worse neighbour on both sides. Seeds 1, 2 and 3 count.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partinr.cli.once import once
from partinr.studies.tuning import climb

HERE = Path(__file__).parent
STEPS = 500
SEEDS = (1, 2, 3)
COLUMNS = (
    *("signal", "backbone", "partition", "regions", "parameters", "lr", "first_omega_0", "seed"),
    *("steps", "psnr", "measure", "value", "macs"),
)


@dataclass(frozen=True)
class Signal:
    """A signal and how it is cut.

    Attributes:
        settings: that select it.
        axes: number of its axes.
        side: samples along an axis, about.
        parameters: of all networks together.
        regions: of the grid; the other partition has as many, or two more.
        rule: the partition of its own, with its options.
        omega: first ω0 of one network for the whole.
        measure: its entry in ``metrics`` beside the PSNR.
    """

    settings: tuple[str, ...]
    axes: int
    side: int
    parameters: int
    regions: int
    rule: tuple[str, ...]
    omega: float
    measure: str


ONSETS = ("partition=onsets", "partition.regions=16", "partition.window=256", "partition.shortest=256")
SIGNALS = {
    "audio": Signal(
        ("data=audio", "data.name=melody", "data.seconds=4", "data.rate=4000"),
        *(1, 16_000, 4000, 16, ONSETS, 1500.0, "snr"),
    ),
    "video": Signal(
        ("data=film", "data.frames=16", "data.height=24", "data.width=32"),
        *(3, 24, 4600, 16, ("partition=shots", "partition.regions=16"), 30.0, "psnr"),
    ),
    "volume": Signal(
        ("data=phantom", "data.shape=[24,24,24]"),
        *(3, 24, 1730, 8, ("partition=superpixel", "partition.regions=8"), 30.0, "psnr"),
    ),
    "field": Signal(
        ("data=sdf", "data.name=union", "data.resolution=24"),
        *(3, 24, 3460, 27, ("partition=octree", "partition.regions=29", "partition.level=0.5"), 30.0, "iou"),
    ),
}
Point = tuple[int, int]
"""Steps of the ladders of rate and first ω0."""

PARTITIONS = ("none", "grid", "own")
BACKBONES = ("siren", "hash_grid", "finer")


@dataclass(frozen=True)
class Arm:
    """A signal, a backbone and a partition, by their names."""

    signal: str
    backbone: str
    partition: str

    def __str__(self) -> str:
        return f"{self.signal}-{self.backbone}-{self.partition}"

    @property
    def regions(self) -> int:
        """Number of regions."""
        return 1 if self.partition == "none" else SIGNALS[self.signal].regions

    def settings(self, at: Point) -> list[str]:
        """What makes this arm, for the command line."""
        own = SIGNALS[self.signal]
        rules = {"none": ("partition=none",), "grid": ("partition=grid", f"partition.regions={own.regions}")}
        given = [*own.settings, *rules.get(self.partition, own.rule), "coords.frame=local", f"backbone={self.backbone}"]
        given += [f"backbone.match_params={own.parameters}"]
        given += [f"optimizer.lr={rate(at[0])}"]
        if self.has_omega:
            return [*given, f"backbone.first_omega_0={self.omega(at[1])}"]
        finest = max(8, round(own.side / self.shorter / 2))
        return [*given, "backbone.levels=4", "backbone.coarsest=4", f"backbone.finest={finest}"]

    @property
    def has_omega(self) -> bool:
        """Whether the backbone has a first ω0."""
        return self.backbone != "hash_grid"

    @property
    def shorter(self) -> float:
        """How many times a region is shorter than the signal along each axis."""
        return float(self.regions ** (1 / SIGNALS[self.signal].axes))

    def omega(self, step: int) -> str:
        """First ω0 at a step of its ladder; 0 is the frequency of the whole signal in the frame of a region."""
        return f"{SIGNALS[self.signal].omega / self.shorter * 2.0**step:.4g}"

    @property
    def start(self) -> int:
        """The step of the ladder where the search begins; smaller networks need higher rates."""
        return round(math.log2(self.regions) / 2) + (1 if self.has_omega else 2)


def rate(step: int) -> float:
    """Adam's rate at a step of the ladder."""
    return 1e-3 * 2.0**step


def run(folder: Path, arm: Arm, seed: int, at: Point, steps: int = STEPS) -> dict[str, Any]:
    """What ``run.json`` says of a finished run of an arm; an existing run is continued."""
    place = folder / f"{arm}_rate{at[0]:+d}_omega{at[1]:+d}_steps{steps}_seed{seed}"
    command = [*arm.settings(at), "schedule=cosine", f"max_steps={steps}", f"seed={seed}"]
    return once(place, [*command, "regime.evaluate_every=1000000", "callbacks.pictures=null"])


def psnr(said: dict[str, Any]) -> float:
    """PSNR of a run; that of no signal if it failed."""
    return float(said["metrics"]["psnr"]) if said["status"] == "completed" else 0.0


def tuned(arm: Arm, output: Path) -> Point:
    """The best steps of both ladders."""
    lr, waves = climb(lambda step: psnr(run(output, arm, 0, (step, 0))), arm.start), 0
    if arm.has_omega:
        waves = climb(lambda step: psnr(run(output, arm, 0, (lr, step))), 0)
        lr = climb(lambda step: psnr(run(output, arm, 0, (step, waves))), lr)
    return lr, waves


def judged(arm: Arm, output: Path, share: float = 1.0) -> Iterator[dict[str, Any]]:
    """The rows of an arm, one a seed.

    Args:
        arm: the arm.
        output: the folder of runs.
        share: the fraction of the steps that it has.
    """
    best = tuned(arm, output)
    measure = SIGNALS[arm.signal].measure
    for seed in SEEDS:
        said = run(output, arm, seed, best, round(share * STEPS))
        yield {
            **{"signal": arm.signal, "backbone": arm.backbone, "partition": arm.partition},
            **{"regions": said["regions"], "parameters": said["parameters"], "seed": seed},
            **{"lr": f"{rate(best[0]):g}", "first_omega_0": arm.omega(best[1]) if arm.has_omega else ""},
            **{
                "psnr": f"{psnr(said):.3f}",
                "measure": measure,
                "value": f"{said['metrics'].get(measure, math.nan):.4f}",
            },
            **{"macs": said["macs_per_pixel"], "steps": said["steps"]},
        }


def write(rows: list[dict[str, Any]]) -> None:
    """Write the rows, by signal and then by backbone."""
    with (HERE / "runs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: (list(SIGNALS).index(row["signal"]), row["backbone"])))


def main() -> None:
    """Tune and judge each arm."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("outputs/signals"))
    parser.add_argument("--backbones", nargs="+", choices=BACKBONES, default=BACKBONES)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for backbone, signal in itertools.product(given.backbones, SIGNALS):
        lone, grid, own = ([*judged(Arm(signal, backbone, each), given.output)] for each in PARTITIONS)
        # One network with the arithmetic of the grid.
        share = grid[0]["macs"] / lone[0]["macs"]
        rows += [*lone, *judged(Arm(signal, backbone, "none"), given.output, share), *grid, *own]
        write(rows)
        print(f"{signal}, {backbone}: {lone[0]['psnr']}, {grid[0]['psnr']}, {own[0]['psnr']} dB", flush=True)


if __name__ == "__main__":
    main()
