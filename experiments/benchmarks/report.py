"""How long it takes to make the HTML report of many runs, how large it is, and how fast it opens.

The runs are made up: real run directories with the program's own configuration, curves of some 55 evaluations, and
pictures of 256×256 noisy pixels; five partitions, two learning rates, ten images, five seeds. They are written to a
temporary folder. Opening is measured in Chromium, from the start of the navigation until the page has drawn its curves
and answers; on a machine without Chromium there is a dash.
"""

from __future__ import annotations

import argparse
import copy
import functools
import hashlib
import itertools
import math
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from _common import where
from omegaconf import OmegaConf

from partinr.experiment.conf import conf_dir
from partinr.partition import Grid
from partinr.pictures.draw import encode_png, partition_overlay
from partinr.pictures.errors import error_map
from partinr.report import collect, write_html
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import ERROR, IMAGE, PARTITION, RECONSTRUCTION

SIDE = 256
OPENED = "performance.getEntriesByName('usable')[0].startTime / 1000"


def write_runs(folder: Path, count: int) -> None:
    """Write ``count`` run directories below ``folder``."""
    regions = (1, 4, 9, 16, 25)
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        configs = {
            number: OmegaConf.to_container(
                hydra.compose("train", ["partition=none"] if number == 1 else [f"partition.regions={number}"])
            )
            for number in regions
        }
    choices = itertools.product(range(10), (1e-4, 1e-3), regions, range(5))
    for index, (image, lr, number, seed) in enumerate(itertools.islice(choices, count)):
        config: Any = copy.deepcopy(configs[number])
        config["seed"], config["optimizer"]["lr"], config["data"]["name"] = seed, lr, f"image{image}"
        run = RunDirectory.create(folder / f"{index:03}", config, [f"partition.regions={number}", f"seed={seed}"])
        rng = np.random.default_rng(index)
        steps = sorted({0, *(round(2 ** (k / 5)) for k in range(54)), 1500})
        psnr = [10 + 2 * math.log2(1 + step) * (1 + 0.05 * math.log2(number)) + rng.normal(0, 0.1) for step in steps]
        run.write_curve(
            {"step": s, "seconds": s / 30, "macs": s * 10**9, "loss": 0.1, "psnr": p, "ssim": 0.8, "lr": lr}
            for s, p in zip(steps, psnr, strict=True)
        )
        run.write_manifest(
            {
                "status": "completed",
                "name": f"{number} regions",
                "seed": seed,
                "regions": number,
                "parameters": 100_000,
                "metrics": {"psnr": psnr[-1], "ssim": 0.8},
                "steps": 1500,
                "seconds": {"partition": 0.1, "setup": 0.5, "training": 50.0, "evaluation": 2.0},
                "signal": {
                    "name": f"image{image}",
                    "shape": [SIDE, SIDE, 3],
                    "sha256": hashlib.sha256(str(image).encode()).hexdigest(),
                },
            }
        )
        for name, picture in pictures(image, number, rng).items():
            run.write(name, picture)


def pictures(image: int, regions: int, rng: np.random.Generator) -> dict[str, bytes]:
    """The four pictures of a run."""
    wanted, files = shared(image, regions)
    got = np.clip(wanted + rng.normal(0, 0.03, wanted.shape), 0, 1)
    return {**files, RECONSTRUCTION: encode_png(got), ERROR: encode_png(error_map(wanted, got))}


@functools.cache
def shared(image: int, regions: int) -> tuple[np.ndarray, dict[str, bytes]]:
    """An image, and the pictures that are the same in every run of an image and a partition."""
    ramp = np.linspace(0, 1, SIDE)
    noise = np.random.default_rng(image).normal(0, 0.06, (SIDE, SIDE, 3))
    wanted = np.clip(ramp[:, None, None] * np.sin(6 * ramp)[None, :, None] + noise, 0, 1)
    labels = Grid(regions=regions)(torch.from_numpy(wanted)).labels
    return wanted, {IMAGE: encode_png(wanted), PARTITION: encode_png(partition_overlay(wanted, labels))}


def opened(page: Path, times: int) -> list[float]:
    """Seconds until the page is usable, each time in a new context; empty without Chromium."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        return []
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        found = []
        for _ in range(times):
            tab = browser.new_context(offline=True).new_page()
            tab.goto(page.resolve().as_uri())
            found.append(float(tab.evaluate(OPENED)))
            tab.context.close()
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 100, 500])
    parser.add_argument("--times", type=int, default=5, help="how often each page is opened")
    options = parser.parse_args()
    print(f"\nThe report of many runs. {where()}\n")
    print("| runs | read s | write s | page MB | opened s (median, slowest) |\n|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as temporary:
        for count in options.runs:
            folder = Path(temporary) / str(count)
            write_runs(folder, count)
            begun = time.perf_counter()
            records = collect([folder])
            read = time.perf_counter()
            page = write_html(records, folder / "report.html")
            written = time.perf_counter()
            seconds = opened(page, options.times)
            said = f"{statistics.median(seconds):.2f}, {max(seconds):.2f}" if seconds else "–"
            size = os.path.getsize(page) / 1e6
            print(f"| {count} | {read - begun:.2f} | {written - read:.2f} | {size:.1f} | {said} |", flush=True)


if __name__ == "__main__":
    main()
