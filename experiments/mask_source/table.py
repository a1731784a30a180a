"""The tables and the figure of this study, from the run directories of its sweeps.

    python experiments/mask_source/table.py outputs/mask_source --figures experiments/mask_source/figures

Prints Markdown. A rule's number on an image is the mean over seeds; a number over images is the mean of those, and ± is
the standard deviation between images. Differences are paired: on the same image, to the grid. ``steps to lone's end``
is where the PSNR first comes to that at which the lone network of the same image and seed ended, linear between two
evaluations; where a seed does not come to it, it is counted in ``reached`` and not in the mean.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from partinr.report import RunRecord, collect

STEPS = (32, 100, 200, 300)
NAMES = {
    "Whole": "none",
    "Grid": "grid",
    "Semantic": "HFS",
    "Superpixel": "SLIC",
    "KMeans": "k-means",
    "Random": "random",
    "Mask": "human",
}

Runs = dict[str, dict[str, dict[int, RunRecord]]]
"""Runs by rule, image and seed."""


def by_rule(records: Sequence[RunRecord]) -> Runs:
    """Completed runs in the order of :data:`NAMES`; another merging or capacity under a name of its own."""
    found: Runs = defaultdict(lambda: defaultdict(dict))
    for record in records:
        if record.status != "completed" or record.seed is None:
            continue
        name = NAMES[record.config["partition"]["_target_"].rpartition(".")[2]]
        capacity, merge = record.config.get("capacity", "equal"), record.config["partition"].get("merge")
        name += ", boundary" if merge == "boundary" else ""
        name += f", {capacity} capacity" if capacity != "equal" else ""
        found[name][record.manifest["signal"]["name"]][record.seed] = record
    order = list(NAMES.values())
    return dict(sorted(found.items(), key=lambda item: (order.index(item[0].partition(",")[0]), item[0])))


def psnr_at(record: RunRecord, step: int) -> float:
    """PSNR of the evaluation at a step, in dB."""
    return float(record.curve["psnr"][record.curve["step"].index(step)])


def per_image(runs: Runs, rule: str, of: Callable[[RunRecord], float]) -> dict[str, float]:
    """A number of a rule on each image, mean over seeds."""
    return {image: mean(of(record) for record in seeds.values()) for image, seeds in runs[rule].items()}


def spread(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation."""
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}" if len(values) > 1 else f"{values[0]:.{digits}f}"


def crossings(runs: Runs, rule: str) -> list[float | None]:
    """Steps of every image and seed to the PSNR at which the lone network of that image and seed ended."""
    return [
        record.steps_to(float(runs["none"][image][seed].curve["psnr"][-1]))
        for image, seeds in runs[rule].items()
        for seed, record in seeds.items()
    ]


def over_images(runs: Runs) -> list[list[str]]:
    """A row a rule, over all images."""
    rows = []
    for rule, images in runs.items():
        end, grid = (per_image(runs, name, lambda record: psnr_at(record, STEPS[-1])) for name in (rule, "grid"))
        differences = [end[image] - grid[image] for image in images if image in grid]
        steps = crossings(runs, rule)
        reached = [step for step in steps if step is not None]
        records = [record for seeds in images.values() for record in seeds.values()]
        regions = sorted({int(record.number("regions") or 0) for record in records})
        rows.append(
            [
                rule,
                f"{regions[0]}–{regions[-1]}" if len(regions) > 1 else str(regions[0]),
                *(spread(list(per_image(runs, rule, lambda r, at=at: psnr_at(r, at)).values()), 2) for at in STEPS),
                "–" if rule == "grid" else f"{spread(differences, 2)}",
                "–" if rule == "grid" else f"{sum(d > 0 for d in differences)}/{len(differences)}",
                f"{mean(reached):.0f}" if reached else "–",
                f"{len(reached)}/{len(steps)}",
                f"{mean(record.number('macs_per_pixel') or 0 for record in records) / 1000:.1f}k",
                f"{mean(record.number('seconds.partition') or 0 for record in records):.3f}",
                f"{mean(record.number('partition.bits') or 0 for record in records):,.0f}",
            ]
        )
    return rows


def by_image(runs: Runs) -> list[list[str]]:
    """A row an image: the PSNR at the end under each rule, mean ± deviation over seeds."""
    images = list(runs["grid"])
    return [
        [image]
        + [
            spread([psnr_at(record, STEPS[-1]) for record in runs[rule][image].values()], 2)
            for rule in runs
            if image in runs[rule]
        ]
        for image in images
    ]


def markdown(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column is text, the others are numbers."""
    lines = [heading, ["---", *["---:"] * (len(heading) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def figure(runs: Runs) -> Figure:
    """Left: difference to the grid, a dot an image. Right: mean curve of each rule."""
    rules = [rule for rule in runs if "," not in rule]
    colours = dict(
        zip(rules, ("#5c6570", "#0072b2", "#d55e00", "#e69f00", "#009e73", "#cc79a7", "#56b4e9"), strict=False)
    )
    made = Figure(figsize=(6.9, 2.7), layout="constrained")
    left, right = made.subplots(1, 2, width_ratios=(1, 1))
    grid = per_image(runs, "grid", lambda record: psnr_at(record, STEPS[-1]))
    others = [rule for rule in rules if rule != "grid"]
    for at, rule in enumerate(others):
        end = per_image(runs, rule, lambda record: psnr_at(record, STEPS[-1]))
        differences = [end[image] - grid[image] for image in end]
        jitter = np.linspace(-0.18, 0.18, len(differences))
        left.plot(at + jitter, sorted(differences), "o", ms=3, color=colours[rule], alpha=0.7, mew=0)
        left.plot([at - 0.28, at + 0.28], [mean(differences)] * 2, color=colours[rule], lw=1.8)
    left.axhline(0, color="#5c6570", lw=0.6, ls=(0, (1, 2)), zorder=0)
    left.set_xticks(range(len(others)), others)
    left.set_ylabel(f"PSNR − grid's after {STEPS[-1]} steps [dB]")
    for rule in rules:
        curves = [record.curve for seeds in runs[rule].values() for record in seeds.values()]
        psnr = np.mean([curve["psnr"] for curve in curves], axis=0)
        right.plot(curves[0]["step"], psnr, color=colours[rule], lw=1.2, label=rule)
    right.set_xscale("log")
    right.set_xlim(left=10)
    right.set_ylim(bottom=14)
    right.set_xticks([10, 30, 100, 300], ["10", "30", "100", "300"])
    right.minorticks_off()
    right.set_xlabel("optimiser steps")
    right.set_ylabel("mean PSNR [dB]")
    right.legend(frameon=False, fontsize=7, handlelength=1.4, labelspacing=0.25)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return made


def write_csv(runs: Runs, path: Path) -> None:
    """Every run: rule, image, seed and its numbers."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        heading = ["rule", "image", "seed", "regions", "parameters", "macs_per_pixel", "partition_seconds", "map_bits"]
        writer.writerow([*heading, *(f"psnr_{step}" for step in STEPS), "steps_to_lone_end"])
        for rule, images in runs.items():
            for image, seeds in images.items():
                for seed, record in sorted(seeds.items()):
                    level = float(runs["none"][image][seed].curve["psnr"][-1])
                    crossing = record.steps_to(level)
                    writer.writerow(
                        [
                            rule,
                            image,
                            seed,
                            *(int(record.number(key) or 0) for key in ("regions", "parameters", "macs_per_pixel")),
                            f"{record.number('seconds.partition'):.4f}",
                            int(record.number("partition.bits") or 0),
                            *(f"{psnr_at(record, step):.3f}" for step in STEPS),
                            "" if crossing is None else f"{crossing:.1f}",
                        ]
                    )


def main() -> None:
    """Print the tables and write the figure and the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--figures", type=Path)
    given = parser.parse_args()
    runs = by_rule(collect(given.folders))
    heading = ["regions from", "regions", *(f"PSNR at {step}" for step in STEPS), f"to grid at {STEPS[-1]}"]
    heading += ["better on", "steps to lone's end", "reached", "MACs/pixel", "mask s", "mask bits"]
    print(markdown(heading, over_images(runs)), "\n")
    print(markdown(["image", *runs], by_image(runs)))
    if given.figures is not None:
        given.figures.mkdir(parents=True, exist_ok=True)
        settings = {"font.size": 8, "axes.linewidth": 0.6, "savefig.dpi": 200, "text.parse_math": False}
        with rc_context(settings):
            figure(runs).savefig(given.figures / "rules.png")
        write_csv(runs, given.figures.parent / "runs.csv")


if __name__ == "__main__":
    main()
