"""The runs of this study: one change to experiment=fast an arm, its rate tuned on other images, at equal CPU seconds.

    S=experiments/sota_image/study.py
    python $S TUNING OTHERS IMAGES                                            # all of it: days on two cores
    python $S TUNING OTHERS IMAGES --size 256 --parameters 50000 --seconds 5  # the size that is committed
    python $S TUNING OTHERS IMAGES --arms fast evos                           # part of it
    python $S TUNING OTHERS IMAGES --factorial                                # do gains add up?

TUNING (for rates), OTHERS (for shared starts) and IMAGES are folders that share no image. The same command continues
where it stopped; after each arm it writes runs.csv beside this file. The rate of an arm is searched in steps of 2 from
that of experiment=fast, until the best has a worse neighbour on both sides. CPU seconds count, so other work on the
machine changes nothing.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from partinr.cli.once import once
from partinr.studies.tuning import climb

HERE = Path(__file__).parent
RATE = 6e-3
"""Of experiment=fast, in the middle of the ladder."""

FAST = "fast"
NO_WAVES = ("~backbone.first_omega_0", "~backbone.omega_0")
"""For a backbone that has no such options."""

WHOLE = "regime.coarse_until=0"
"""Excludes the lattices that experiment=fast begins with."""

GLOBAL = ("coords.frame=global", "backbone.first_omega_0=60")
"""For networks that see more than a small region."""

EVALUATED = "regime.evaluate_every=null"
"""For what changes after an evaluation."""

GATED = 16
"""Regions of a gate, whose work grows with their number."""

ARMS: dict[str, dict[str, tuple[str, ...]]] = {
    "": {FAST: ()},
    "partition": {
        "none": ("partition=none", *GLOBAL),
        "equal widths": ("capacity=equal",),
        "widths by error": ("capacity=error",),
        "semantic": ("partition=semantic", "partition.regions=64", "capacity=area"),
        "overlap": ("overlap=2", "capacity=equal"),
        "adaptive": ("partition=adaptive", "partition.regions=auto", "capacity=equal", EVALUATED),
    },
    "gate": {
        name: (f"partition={name}", f"partition.regions={GATED}", "capacity=equal", WHOLE, *GLOBAL)
        for name in ("experts", "soft_cells")
    },
    "global network": {
        name: (f"global_network={name}", "capacity=equal", "regime.begin_at_mean=false", WHOLE)
        for name in ("add", "layers", "modulate")
    },
    "sampler": {
        "all samples": (WHOLE,),
        **{name: (f"sampler={name}", WHOLE) for name in ("evos", "int", "nint", "expansive")},
        **{name: (f"sampler={name}", "sampler.fraction=0.25", WHOLE) for name in ("uniform", "edges")},
        "error": ("sampler=error", "sampler.fraction=0.25", WHOLE, EVALUATED),
    },
    "start": {"noise": ("start=noise",), "shared": ("start=shared", "start.signals={others}")},
    "backbone": {
        **{name: (f"backbone={name}",) for name in ("finer", "incode", "staf", "diner")},
        **{name: (f"backbone={name}", *NO_WAVES) for name in ("gauss", "relu_pe", "fourier", "mfn", "sl2a")},
        "wire": ("backbone=wire", "~backbone.first_omega_0"),
        "hash_grid": ("backbone=hash_grid", *NO_WAVES, "capacity=equal"),
        "bicubic": (
            *("backbone=bicubic", *NO_WAVES, "~backbone.hidden_layers", "capacity=equal"),
            "regime.begin_at_mean=false",
        ),
        "factorised": ("backbone.factorisation=0.5",),
        "batch norm": ("backbone.batch_norm=true",),
    },
    "optimizer": {
        name: (f"optimizer={name}", "~optimizer.options.betas", "~optimizer.options.eps") for name in ("muon", "soap")
    },
}
"""By group and name, the change to experiment=fast; ``{others}`` stands for the folder OTHERS."""

START = {"none": -4, "relu_pe": -1, "hash_grid": 1}
"""Where the search for the rate begins, in steps of its ladder, if not at 0."""

FACTORS = ("partition", "sampler", "start", "optimizer")
COLUMNS = (
    *("group", "arm", "size", "budget_parameters", "parameters", "limit", "lr"),
    *("image", "seed", "steps", "cpu_seconds", "psnr", "ssim"),
)


class Protocol:
    """How runs of this study are made.

    Args:
        given: the words of the command line.
        parameters: of a run.
    """

    def __init__(self, given: argparse.Namespace, parameters: int) -> None:
        self.given, self.parameters = given, parameters
        limit = f"{given.steps}_steps" if given.steps else f"{given.seconds:g}_s"
        self.limit = limit.replace("_", " " if given.steps else " CPU ")
        self.folder = given.output / f"{given.size}_{parameters}_{limit}"

    def run(self, arm: str, change: Iterable[str], image: Path, step: int, seed: int) -> dict[str, Any]:
        """What ``run.json`` says of a run.

        Args:
            arm: its name.
            change: to experiment=fast.
            image: a file.
            step: of the ladder of rates.
            seed: the seed.
        """
        command = ["experiment=sota_image", f"data.path={image}", f"data.size={self.given.size}"]
        command += ["regime.evaluate_every=1000000", "callbacks.pictures=null"]
        command += [word.replace("{others}", str(self.given.others.resolve())) for word in change]
        command += [f"backbone.match_params={self.parameters}", f"optimizer.lr={RATE * 2.0**step:g}", f"seed={seed}"]
        if self.given.steps:
            command += ["max_seconds=null", f"max_steps={self.given.steps}"]
        else:
            command += [f"max_seconds={self.given.seconds:g}"]
        name = arm.replace(" ", "-").replace("=", "-")
        place = self.folder / f"{name}_rate{step:+d}_{image.parent.name}-{image.stem}_seed{seed}"
        return once(place, command)

    def quality(self, arm: str, change: Sequence[str], step: int) -> float:
        """Mean PSNR on the images for tuning; 0 for one that failed."""
        return fmean(psnr(self.run(arm, change, image, step, 0)) for image in pictures(self.given.tuning))

    def tuned(self, arm: str, change: Sequence[str]) -> int:
        """The best step of the ladder of rates."""
        return climb(lambda step: self.quality(arm, change, step), sum(START.get(word, 0) for word in arm.split("+")))

    def judged(self, group: str, arm: str, change: Sequence[str]) -> list[dict[str, Any]]:
        """The rows of an arm: one an image and seed, at its best rate."""
        best, rows = self.tuned(arm, change), []
        for image, seed in itertools.product(pictures(self.given.images), range(self.given.seeds)):
            said = self.run(arm, change, image, best, seed)
            about = {"group": group, "arm": arm, "size": self.given.size, "budget_parameters": self.parameters}
            about |= {"parameters": said["parameters"], "limit": self.limit, "lr": f"{RATE * 2.0**best:g}"}
            about |= {"image": image.stem, "seed": seed, "steps": said["steps"]}
            about |= {"cpu_seconds": f"{said['cpu_seconds']['training']:.1f}", "psnr": f"{psnr(said):.3f}"}
            rows.append(about | {"ssim": f"{said['metrics']['ssim']:.4f}"})
        return rows


def psnr(said: Mapping[str, Any]) -> float:
    """PSNR of a run; that of no signal if it failed."""
    return float(said["metrics"]["psnr"]) if said["status"] == "completed" else 0.0


def pictures(folder: Path) -> list[Path]:
    """The images of a folder."""
    return sorted(path.resolve() for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg"))


def factorial(protocol: Protocol) -> dict[str, tuple[str, ...]]:
    """All combinations of the best of each factor, found on the images for tuning, and of what fast has."""
    choices: list[list[tuple[str, tuple[str, ...]]]] = []
    for group in FACTORS:
        arms = {"none": ARMS[group]["none"]} if group == "partition" else ARMS[group]
        best = max(arms, key=lambda name: protocol.quality(name, arms[name], protocol.tuned(name, arms[name])))
        choices.append([("", ()), (best, arms[best])])
    found = {}
    for chosen in itertools.product(*choices):
        name = "+".join(word for word, _ in chosen if word) or FAST
        found[name] = tuple(itertools.chain.from_iterable(change for _, change in chosen))
    return found


def write(rows: Sequence[Mapping[str, Any]]) -> None:
    """Put rows in the place of those of the same arms at the same budget."""
    path, key = HERE / "runs.csv", ("group", "arm", "size", "budget_parameters", "limit")
    new = {tuple(str(row[name]) for name in key) for row in rows}
    kept: list[Mapping[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            kept = [row for row in csv.DictReader(file) if tuple(row[name] for name in key) not in new]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*kept, *rows])


def main() -> None:
    """Tune and judge each arm."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tuning", type=Path)
    parser.add_argument("others", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--output", type=Path, default=Path("outputs/sota_image"))
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--parameters", type=int, nargs="+", default=[199_000, 264_000])
    parser.add_argument("--seconds", type=float, default=30.0, help="CPU seconds of training")
    parser.add_argument("--steps", type=int, help="in place of seconds")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--arms", nargs="+", help="by name; all of them without this")
    parser.add_argument("--factorial", action="store_true")
    given = parser.parse_args()
    for parameters in given.parameters:
        protocol = Protocol(given, parameters)
        groups = {"factorial": factorial(protocol)} if given.factorial else ARMS
        for group, arms in groups.items():
            for arm, change in arms.items():
                if not given.arms or arm in given.arms:
                    rows = protocol.judged(group, arm, change)
                    write(rows)
                    print(f"{parameters} {arm}: {fmean(float(row['psnr']) for row in rows):.2f} dB", flush=True)


if __name__ == "__main__":
    main()
