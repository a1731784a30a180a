"""What loggers get of a run besides its curve: figures, pictures, and the final table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from partinr.base.stopping import signal_of
from partinr.base.text import seen
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import (
    ADAPTATION,
    BEST,
    CURVE_COLUMNS,
    ERROR,
    OBSERVATION,
    PARTITION,
    RECONSTRUCTION,
    crossing,
    of_image,
)
from partinr.runs.sharing import sharing

AXES = ("step", "seconds", "cpu_seconds", "macs")
"""Columns of ``curve.csv`` that can be the horizontal axis."""

LEVELS = (20, 25, 30, 35, 40, 45, 50)
"""PSNR levels [dB]; the summary of a run says when it first reached each."""

PROVENANCE = "provenance"
"""Key for what can change a curve, which ``partinr rerun wandb:…`` compares."""

PICTURES = {
    "partition": PARTITION,
    "observation": OBSERVATION,
    "reconstruction": RECONSTRUCTION,
    "reconstruction_best": f"{BEST}.png",
    "error": ERROR,
    "adaptation": ADAPTATION,
}
"""The key that a logger gets for each picture of a run directory."""


def exit_code(manifest: Mapping[str, Any]) -> int:
    """The exit code of a run: 0 completed, 128 + the number of the signal that stopped it, else 1."""
    if manifest["status"] == "completed":
        return 0
    number = signal_of(str(manifest.get("message")))
    return 128 + number if manifest["status"] == "interrupted" and number else 1


def summary(manifest: Mapping[str, Any], curve: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """A row of W&B's table of runs: figures of ``run.json``, and whether and when the run reached each PSNR level."""
    found: dict[str, Any] = {
        key: manifest[key]
        for key in (
            "status",
            "message",
            "stop",
            "steps",
            "parameters",
            "regions",
            "macs_per_pixel",
            "peak_memory_bytes",
        )
        if manifest.get(key) is not None
    }
    provenance = {key: manifest[key] for key in ("versions", "git", "signal", "inputs", "code") if manifest.get(key)}
    threads = (manifest.get("hardware") or {}).get("threads")  # it affects the rounding of sums
    found[PROVENANCE] = seen({**provenance, "hardware": {"threads": threads}})
    metrics = dict(manifest.get("metrics") or {})
    seam = metrics.pop("seam", None) or {}
    metrics.update({f"seam/{key}": value for key, value in seam.items()})
    found.update({key: value for key, value in metrics.items() if value is not None and key not in CURVE_COLUMNS})
    if curve:
        # Infinity is in the curve, but JSON has no form for it.
        last = curve[-1]
        found.update({key: last[key] for key in ("psnr", "ssim") if not math.isnan(last.get(key, math.nan))})
    for name, value in (manifest.get("seconds") or {}).items():
        if value is not None:
            found[f"time/{name}"] = value
    for name, value in (manifest.get("cpu_seconds") or {}).items():
        if value is not None:
            found[f"cpu_time/{name}"] = value
    if (said := sharing(manifest)) is not None:
        found["shared_machine"] = said
    psnr = [row["psnr"] for row in curve]
    for axis, word in zip(AXES, ("steps", "seconds", "cpu_seconds", "macs"), strict=True):
        for level in LEVELS:
            reached = crossing([row.get(axis, math.nan) for row in curve], psnr, level)
            if reached is not None:
                found[f"{word}_to/{level}dB"] = reached
    # A run that never arrives has no cost, but counts in the share of those that do.
    found.update({f"reached/{level}dB": int(f"steps_to/{level}dB" in found) for level in LEVELS})
    return found


def results(manifest: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of the final table, one row per image."""
    columns = ["image", "seed", "regions", "parameters", "psnr", "ssim"]
    images = manifest.get("images")
    signal = manifest.get("signal")
    if isinstance(images, Mapping):
        of = {str(name): each for name, each in images.items() if isinstance(each, Mapping)}
    else:
        name = signal.get("name") if isinstance(signal, Mapping) else None
        of = {str(name): {**manifest, **(manifest.get("metrics") or {})}}
    lines = []
    for image, each in of.items():
        known = {**each, "image": image, "seed": manifest.get("seed")}
        lines.append([known.get(column) for column in columns])
    return columns, lines


def pictures(run: RunDirectory, names: Iterable[str], most: int) -> dict[str, list[tuple[str | None, Path]]]:
    """The pictures of a run directory that exist: for each name the images, with their files.

    Args:
        run: the run directory.
        names: keys of :data:`PICTURES`.
        most: limit of images of a run that fitted several; the only image of a run is None.
    """
    images: list[str | None] = [*run.images()[:most]] or [None]
    files = {name: [(image, run.file(of_image(image, PICTURES[name]))) for image in images] for name in names}
    there = {name: [(image, path) for image, path in found if path.is_file()] for name, found in files.items()}
    return {name: found for name, found in there.items() if found}
