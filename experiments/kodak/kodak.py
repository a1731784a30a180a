"""The fast setting on whole images, by parameters and seconds.

    python experiments/kodak/kodak.py FOLDER                                         # all of it: some three hours
    python experiments/kodak/kodak.py FOLDER --parameters 500000 --seconds 2.2 10    # part of it
    python experiments/kodak/kodak.py FOLDER --size 512 --parameters 199000 264000 --seconds 5
    python experiments/kodak/kodak.py --show whole.csv                               # the table alone
    python experiments/kodak/kodak.py FOLDER --parameters 500000 --steps 18600       # on a machine that is not quiet

FOLDER has the images. Each image, number of parameters and number of seconds is a run of its own. The same command
continues where it stopped, and more values add runs. It prints the table of all runs of the output so far, and writes a
row a run to a CSV file. Nothing else may run on the machine: the last column of the table counts runs that partinr
itself marks as made on a shared machine. A budget of steps gives the same picture on a busy machine; its seconds say
nothing.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from partinr.api import load
from partinr.report import RunRecord, collect
from partinr.report.notices import commit_of, machine_of
from partinr.signals import load_image

LEVELS = (40, 44, 46)
"""In dB: the seconds to reach them are in the table."""


def sweep(images: Sequence[Path], given: argparse.Namespace) -> None:
    """Make the runs that are not there yet."""
    command = [sys.executable, "-m", "partinr", "-m", "experiment=fast", "data=image", "callbacks.pictures=null"]
    command += [f"data.path={','.join(str(each.resolve()) for each in images)}"]
    command += [f"backbone.match_params={','.join(map(str, given.parameters))}"]
    command += [f"hydra.sweep.dir={given.output}"]
    if given.steps:
        command += ["max_seconds=null", f"max_steps={','.join(map(str, given.steps))}"]
    else:
        command += [f"max_seconds={','.join(f'{each:g}' for each in given.seconds)}"]
    subprocess.run([*command, *([f"data.size={given.size}"] if given.size else [])], check=True)


def perceptual(run: RunRecord) -> float | None:
    """LPIPS (Zhang et al. 2018) of a run's image, by the AlexNet that torchvision has stored; None without it."""
    if not any(Path(torch.hub.get_dir(), "checkpoints").glob("alexnet*.pth")):
        return None
    from torchmetrics.functional.image.lpips import learned_perceptual_image_patch_similarity as lpips

    data = run.config["data"]
    images = load(run.path).render().clamp(0, 1), load_image(data["path"], size=data["size"])
    fitted, given = (each.permute(2, 0, 1).unsqueeze(0) * 2 - 1 for each in images)
    return float(lpips(fitted, given, net_type="alex"))


def rows_of(records: Sequence[RunRecord]) -> list[dict[str, object]]:
    """A row a run."""
    found: list[dict[str, object]] = []
    for run in records:
        said, curve = run.manifest, run.curve
        signal, pixels = said["signal"], int(np.prod(said["signal"]["shape"][:2]))
        timed = run.config["max_seconds"] is not None
        reached = {f"seconds_to_{level}": run.reaches(level, "seconds") if timed else None for level in LEVELS}
        found.append(
            {
                "image": signal["name"],
                "budget_parameters": run.config["backbone"]["match_params"],
                "parameters": said["parameters"],
                "regions": said["regions"],
                "budget_seconds": run.config["max_seconds"],
                "budget_steps": run.config["max_steps"],
                "seconds": said["seconds"]["training"] if timed else None,
                "steps": said["steps"],
                "psnr": float(curve["psnr"][-1]),
                "ssim": float(curve["ssim"][-1]),
                "lpips": perceptual(run),
                "bits_per_pixel": 8 * (run.path / "inr.safetensors").stat().st_size / pixels,
                **reached,
                "shared": run.shared,
            }
        )
    return sorted(found, key=lambda row: (*budget_of(row), row["image"]))


def budget_of(row: dict[str, object]) -> tuple[object, object, object]:
    """Parameters, steps and seconds, of which 0 stands for no limit."""
    return row["budget_parameters"], row["budget_steps"] or 0, row["budget_seconds"] or 0


def mean(rows: Sequence[Mapping[str, Any]], name: str, digits: int) -> str:
    """The mean of a column; with the number of rows that have a value, if some have none."""
    values = [float(row[name]) for row in rows if row[name] not in (None, "")]
    if not values:
        return "–"
    return f"{statistics.mean(values):,.{digits}f}" + (f" ({len(values)})" if len(values) < len(rows) else "")


def show(path: Path) -> None:
    """Print the table of a CSV file as Markdown."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    means = {"steps": ("steps", 0), "PSNR dB": ("psnr", 2), "SSIM": ("ssim", 4), "LPIPS": ("lpips", 4)}
    means |= {"bits a pixel": ("bits_per_pixel", 1)}
    means |= {f"s to {level} dB": (f"seconds_to_{level}", 2) for level in LEVELS}
    if not any(row["lpips"] for row in rows):
        del means["LPIPS"]
    print(f"| parameters | seconds | images | {' | '.join(means)} | shared |")
    print("|---:|" + "---:|" * (3 + len(means)))
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        groups[row["budget_parameters"], row["budget_seconds"]].append(row)
    for (parameters, seconds), own in groups.items():
        cells = [f"{int(parameters):,}", f"{float(seconds):g}", str(len(own))]
        cells += [mean(own, name, digits) for name, digits in means.values()]
        print(f"| {' | '.join([*cells, str(sum(bool(row['shared']) for row in own))])} |")


def main() -> None:
    """Make the runs, and print and write what came of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of the images; with --show, a CSV file")
    parser.add_argument("--parameters", type=int, nargs="+", default=[50_000, 100_000, 262_000, 500_000, 1_000_000])
    parser.add_argument("--seconds", type=float, nargs="+", default=[1, 2.2, 10, 60])
    parser.add_argument("--steps", type=int, nargs="+", help="budgets of steps, in place of seconds")
    parser.add_argument("--size", type=int, help="crop the centre square and resize it to this side")
    parser.add_argument("--output", type=Path, default=Path("outputs/kodak"))
    parser.add_argument("--csv", type=Path, help="a row a run; by default runs.csv in the output")
    parser.add_argument("--show", action="store_true", help="run nothing; print the table of a CSV file")
    given = parser.parse_args()
    if given.show:
        show(given.folder)
        return
    images = sorted(given.folder.glob("*.png"))
    if not images:
        sys.exit(f"there is no PNG in {given.folder}")
    sweep(images, given)
    records = [record for record in collect([given.output]) if record.status == "completed"]
    rows, path = rows_of(records), given.csv or given.output / "runs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"Seed 0. {machine_of(records[0])}; torch {torch.__version__}; commit {commit_of(records[0])}\n")
    show(path)


if __name__ == "__main__":
    main()
