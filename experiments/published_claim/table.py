"""Tables and figures of this study.

    python experiments/published_claim/table.py --collect outputs/published_claim   # curves.csv, from the runs
    python experiments/published_claim/table.py curves.csv                          # the tables
    python experiments/published_claim/table.py curves.csv --figures figures --image IMAGE

"end": mean of the evaluations of the last hundred steps, since single ones fluctuate at a constant rate. Numbers of an
image are means over its seeds; ± is the standard deviation between images, and brackets are 95 % intervals by Student's
t over images. "over lone" is paired: the same image, seed and coordinates. "ahead": on how many of the runs.
"steps to lone's end" is the median over images and seeds of the first step at which the PSNR is that of the lone
network's end. A run that does not get there counts as later than any that does.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median, stdev

from scipy import stats

from partinr.report import collect
from partinr.runs.layout import crossing

HERE = Path(__file__).parent
SIZES = {1000: "full", 500: "half", 250: "quarter", 143: "seventh"}
"""By the longer side in pixels."""
SAMPLED = ", sampled"
"""Of a size whose steps see some of the pixels."""
ARMS = {"Whole": "lone network", "Grid": "PoG#9", "Semantic": "PoS#9"}
LAYOUTS = {None: "right", "public_code": "public code"}
STEPS = (100, 300, 500)
LAST = 100
"""Steps whose evaluations are the end."""

Key = tuple[str, str, str, str, int]
"""Size, coordinates, arm, image, seed."""

Curves = dict[Key, tuple[list[int], list[float]]]
"""Steps and PSNR of each run."""


def write_csv(folders: Sequence[str], path: Path) -> None:
    """The curves of completed runs: a row an evaluation."""
    rows = []
    for record in collect(folders):
        if record.status == "completed":
            sampled = SAMPLED if record.config["regime"]["points_per_step"] else ""
            key = (
                SIZES[max(record.manifest["signal"]["shape"])] + sampled,
                LAYOUTS[record.config["coords"].get("layout")],
                ARMS[record.config["partition"]["_target_"].rpartition(".")[2]],
                record.manifest["signal"]["name"],
                record.seed,
            )
            pairs = zip(record.curve["step"], record.curve["psnr"], strict=True)
            rows += [(*key, int(step), f"{psnr:.3f}") for step, psnr in pairs]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["size", "coordinates", "arm", "image", "seed", "step", "psnr"])
        writer.writerows(sorted(rows))


def read_csv(path: Path) -> Curves:
    """The curves of images and seeds of which all six arms are there."""
    found: Curves = defaultdict(lambda: ([], []))
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            steps, psnr = found[row["size"], row["coordinates"], row["arm"], row["image"], int(row["seed"])]
            steps.append(int(row["step"]))
            psnr.append(float(row["psnr"]))
    arms = [(layout, arm) for layout in LAYOUTS.values() for arm in ARMS.values()]
    return {key: curve for key, curve in found.items() if all((key[0], *arm, *key[3:]) in found for arm in arms)}


def end(curve: tuple[list[int], list[float]]) -> float:
    """PSNR at the end."""
    steps, psnr = curve
    return mean(value for step, value in zip(steps, psnr, strict=True) if step > steps[-1] - LAST)


MEASURES: dict[str, Callable[[tuple[list[int], list[float]]], float]] = {
    "end": end,
    "last evaluation": lambda curve: curve[1][-1],
    "best evaluation": lambda curve: max(curve[1]),
}
"""Numbers of a curve that runs are compared by."""


def by_image(values: dict[tuple[str, int], float]) -> list[float]:
    """The mean over seeds of each image."""
    found: dict[str, list[float]] = defaultdict(list)
    for (image, _), value in values.items():
        found[image].append(value)
    return [mean(each) for each in found.values()]


def spread(values: Sequence[float], sign: str = "") -> str:
    """Mean ± standard deviation."""
    if not values:
        return "–"
    return f"{mean(values):{sign}.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def interval(values: Sequence[float]) -> str:
    """Mean and, of three images or more, its 95 % interval by Student's t."""
    if len(values) < 3:
        return f"{mean(values):+.2f}"
    half = stats.t.ppf(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return f"{mean(values):+.2f} ({mean(values) - half:+.2f} to {mean(values) + half:+.2f})"


class Size:
    """The runs of one size.

    Args:
        curves: those of all sizes.
        size: its name.
    """

    def __init__(self, curves: Curves, size: str) -> None:
        self.name = size
        self.curves = {key[1:]: curve for key, curve in curves.items() if key[0] == size}
        self.runs = sorted({key[2:] for key in self.curves})

    def over_lone(self, layout: str, arm: str, measure: str = "end") -> dict[tuple[str, int], float]:
        """PSNR over that of the lone network, by image and seed."""
        of, lone = MEASURES[measure], ARMS["Whole"]
        return {run: of(self.curves[layout, arm, *run]) - of(self.curves[layout, lone, *run]) for run in self.runs}

    def to_lone(self, layout: str, arm: str) -> str:
        """Median steps to the PSNR at which the lone network ended, and how many runs get there."""
        found = []
        for run in self.runs:
            steps, psnr = self.curves[layout, arm, *run]
            step = crossing(steps, psnr, end(self.curves[layout, ARMS["Whole"], *run]))
            found.append(math.inf if step is None else step)
        reached = sum(map(math.isfinite, found))
        middle = median(found)
        said = f"{middle:,.0f}" if math.isfinite(middle) else f"> {steps[-1]:,}"
        return f"{said} ({reached}/{len(found)})"

    def row(self, layout: str, arm: str) -> list[str]:
        """PSNR on the way and at the end, and against the lone network."""
        own = {run: self.curves[layout, arm, *run] for run in self.runs}
        at = [
            by_image({run: psnr[steps.index(step)] for run, (steps, psnr) in own.items() if step in steps})
            for step in STEPS
        ]
        ends, over = by_image({run: end(curve) for run, curve in own.items()}), self.over_lone(layout, arm)
        lone = arm == ARMS["Whole"]
        return [
            self.name,
            layout,
            arm,
            *map(spread, (*at, ends)),
            "–" if lone else spread(by_image(over), "+"),
            "–" if lone else f"{sum(each > 0 for each in over.values())}/{len(over)}",
            self.to_lone(layout, arm),
        ]

    def turn(self, arm: str, measure: str) -> list[str]:
        """The gain over the lone network with both coordinates, and its change."""
        right, public = (self.over_lone(layout, arm, measure) for layout in LAYOUTS.values())
        change = by_image({run: public[run] - right[run] for run in self.runs})
        images = len({image for image, _ in self.runs})
        return [
            self.name,
            arm,
            measure,
            f"{images} × {len(self.runs) / images:g}",
            *(interval(by_image(each)) for each in (right, public)),
            interval(change),
        ]


def sizes_of(curves: Curves) -> list[Size]:
    """The sizes that were run, the largest first."""
    names = [size + sampled for size in SIZES.values() for sampled in ("", SAMPLED)]
    return [Size(curves, name) for name in names if any(key[0] == name for key in curves)]


def show(curves: Curves) -> None:
    """Print both tables as Markdown."""
    sizes = sizes_of(curves)
    print("| size | arm | PSNR of | images × seeds | over lone, right | over lone, public code | change |")
    print("|---|---|---|---:|---:|---:|---:|")
    for size in sizes:
        for arm in list(ARMS.values())[1:]:
            for measure in MEASURES:
                print(f"| {' | '.join(size.turn(arm, measure))} |")
    print("\n| size | coordinates | arm |" + "".join(f" PSNR at {step} |" for step in STEPS), end="")
    print(" end | over lone | ahead | steps to lone's end (reached) |\n|---|---|---|" + "---:|" * (len(STEPS) + 4))
    for size in sizes:
        for layout in LAYOUTS.values():
            for arm in ARMS.values():
                print(f"| {' | '.join(size.row(layout, arm))} |")


def draw(curves: Curves, folder: Path) -> None:
    """PSNR against steps, a row a size, a column a layout."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from partinr.pictures.palette import SLOTS
    from partinr.pictures.paper import PAGE, SETTINGS

    sizes = sizes_of(curves)
    with rc_context(SETTINGS):
        figure = Figure(figsize=(PAGE, 2.4 * len(sizes)), layout="constrained")
        grid = figure.subplots(len(sizes), 2, squeeze=False, sharey="row")
        for size, row in zip(sizes, grid, strict=True):
            for layout, axes in zip(LAYOUTS.values(), row, strict=True):
                for arm, (colour, _) in zip(ARMS.values(), SLOTS, strict=False):
                    own = [size.curves[layout, arm, *run] for run in size.runs]
                    means = [mean(values) for values in zip(*(psnr for _, psnr in own), strict=True)]
                    axes.plot(own[0][0][1:], means[1:], color=colour, lw=1.2, label=arm)
                axes.set_title(f"{size.name} size, coordinates: {layout}")
                axes.set_xlabel("optimiser steps")
                axes.spines[["top", "right"]].set_visible(False)
            row[0].set_ylabel("mean PSNR [dB]")
        grid[0][0].legend(frameon=False)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / "curves.png", dpi=200)


def picture(path: Path, folder: Path) -> None:
    """An image with its grid of nine, and both as the networks see them with the layout of the public code."""
    import torch
    from PIL import Image

    import partinr
    from partinr.partition import Grid
    from partinr.pictures.draw import to_uint8
    from partinr.pictures.palette import COLOURS

    image = partinr.load_image(path)
    height, width, _ = image.shape
    regions = Grid(regions=9)(image).labels
    colours = [[int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)] for pair in COLOURS for colour in pair]
    tinted = 0.45 * image + 0.55 * torch.tensor(colours)[regions]
    gap = torch.ones(height, width // 16, 3)
    # The plane of the networks has W rows and H columns; with x to the right it has the shape of the image.
    seen = [each.reshape(width, height, 3).transpose(0, 1) for each in (image, tinted)]
    folder.mkdir(parents=True, exist_ok=True)
    shown = torch.cat([image, gap, tinted, gap, seen[0], gap, seen[1]], dim=1)
    Image.fromarray(to_uint8(shown)).save(folder / "scrambled.png")


def main() -> None:
    """Write the CSV, print the tables, or draw the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path, nargs="?", default=HERE / "curves.csv")
    parser.add_argument("--collect", nargs="+", metavar="FOLDER", help="write the CSV from these runs first")
    parser.add_argument("--figures", type=Path, help="draw the curves into this folder")
    parser.add_argument("--image", type=Path, help="also draw this image, scrambled")
    given = parser.parse_args()
    if given.collect:
        write_csv(given.collect, given.csv)
    curves = read_csv(given.csv)
    show(curves)
    if given.figures:
        draw(curves, given.figures)
    if given.figures and given.image:
        picture(given.image, given.figures)


if __name__ == "__main__":
    main()
