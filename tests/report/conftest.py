"""Runs that never ran: real run directories with curves and pictures of the right kind, made in milliseconds."""

from __future__ import annotations

import functools
import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from partinr.pictures.draw import encode_png
from partinr.pictures.errors import error_map
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import ERROR, IMAGE, PARTITION, RECONSTRUCTION

WriteRun = Callable[..., Path]

SIZE = 64
"""Side of the images [pixels]."""

FAILURE = "the loss is not finite at step 412; try a smaller optimizer.lr"


def geometric_steps(last: int) -> list[int]:
    """0 and then steps a fifth of an octave apart, as evaluations are spaced; the last one is among them."""
    return sorted({0, *(round(2 ** (k / 5)) for k in range(1 + math.floor(5 * math.log2(last)))), last})


def realistic_curve(regions: int, seed: int, steps: int, hardness: float = 1.0) -> list[dict[str, float]]:
    """Rows of a curve: more regions learn faster and end higher, seeds scatter by a few tenths of a dB."""
    rng = np.random.default_rng((regions, seed, round(100 * hardness)))
    gain = (16 + 0.9 * math.log2(regions)) / hardness + rng.normal(0, 0.25)
    tau = 420 / regions**0.15 * hardness * math.exp(rng.normal(0, 0.04))
    macs = 65536 * 262_400 / regions**0.8
    rows = []
    for step in geometric_steps(steps):
        psnr = 9.5 + gain * (1 - math.exp(-((step / tau) ** 0.55))) + (rng.normal(0, 0.08) if step else 0)
        rows.append(
            {
                "step": step,
                "seconds": step * 0.05 / regions**0.2 * (1 + 0.01 * seed),
                "cpu_seconds": step * 0.095 / regions**0.25 * (1 + 0.01 * seed),
                "macs": int(step * macs),
                "loss": 10 ** (-psnr / 10),
                "psnr": psnr,
                "ssim": 1 - 0.9 * math.exp(-psnr / 12),
                "lr": 1e-4,
            }
        )
    return rows


def config(image: str = "astronaut", regions: int = 1, seed: int = 0, steps: int = 1500) -> dict[str, Any]:
    """A composed config like the program's."""
    whole = {"_target_": "partinr.partition.Whole"}
    grid = {"_target_": "partinr.partition.Grid", "rows": None, "cols": None, "regions": regions}
    return {
        "seed": seed,
        "max_steps": steps,
        "max_seconds": None,
        "target_psnr": None,
        "ckpt_path": None,
        "output_dir": "outputs",
        "data": {"_target_": "partinr.signals.ImageData", "name": image, "path": None, "size": SIZE, "max_side": None},
        "partition": whole if regions == 1 else grid,
        "backbone": {
            "_target_": "partinr.backbones.Siren",
            "hidden_features": 256,
            "hidden_layers": 3,
            "omega_0": 30.0,
            "first_omega_0": 60.0,
            "match_params": 100_000,
        },
        "coords": {"frame": "global"},
        "engine": "auto",
        "regime": {"_target_": "partinr.regimes.Fit", "points_per_step": None},
        "optimizer": {"name": "adam", "lr": 1e-4},
        "schedule": {"name": "constant"},
        "trainer": {"_target_": "lightning.Trainer", "precision": "32-true", "max_steps": steps},
    }


def manifest(
    rows: Sequence[Mapping[str, float]], image: str, regions: int, seed: int, status: str, message: str | None
) -> dict[str, Any]:
    last = rows[-1] if rows else {}
    return {
        "status": status,
        "message": message,
        "name": f"{'none' if regions == 1 else f'grid-{regions}'} siren {image}",
        "config_hash": hashlib.sha256(f"{image}{regions}{seed}".encode()).hexdigest()[:16],
        "seed": seed,
        "regions": regions,
        "parameters": 99_843 + 7 * regions,
        "macs_per_pixel": round(99_000 / regions),
        "metrics": {"psnr": last.get("psnr"), "ssim": last.get("ssim"), "psnr_best": last.get("psnr")},
        "steps": last.get("step", 0),
        "stop": "max_steps",
        "partition": {
            "bits": 0 if regions == 1 else 5000 + regions,
            "smallest": 9,
            "largest": 99,
            "notice": None,
        },
        "seconds": {
            "partition": 0.25 if regions > 1 else 0.0,
            "setup": 0.41,
            "training": last.get("seconds", 0.0),
            "evaluation": 1.93,
        },
        "cpu_seconds": {"training": last.get("cpu_seconds"), "evaluation": 3.55},
        "peak_memory_bytes": 734_003_200,
        "signal": {"name": image, "shape": [SIZE, SIZE, 3], "sha256": hashlib.sha256(image.encode()).hexdigest()},
        "hardware": {"devices": 1, "device": "cpu", "cpu": "AMD EPYC 7763", "cores": 2, "threads": 2, "gpu": None},
        "versions": {"partinr": "0.1.0", "torch": "2.13.0", "lightning": "2.6.6", "python": "3.11.7"},
        "git": {"commit": "4b825dc642cb6eb9a060e54bf8d69288fbee4904", "dirty": False},
        # A running run is written by this process, which started later than this time.
        **({} if status == "running" else {"started": f"2026-11-23T14:0{seed % 10}:00+00:00"}),
        "finished": f"2026-11-23T14:1{seed % 10}:00+00:00",
    }


@functools.cache
def picture_files(image: str, regions: int, size: int) -> Mapping[str, bytes]:
    """A scene, its grid, a blurred copy and the error, as PNG files."""
    rng = np.random.default_rng(list(image.encode()))
    ramp = np.linspace(0, 1, size)
    y, x = ramp[:, None], ramp[None, :]
    sky = np.stack([0.35 + 0.3 * y + 0.1 * x, 0.5 + 0.2 * y + 0 * x, 0.8 - 0.3 * y + 0 * x], axis=-1)
    picture = Image.fromarray((sky.clip(0, 1) * 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(14):
        cx, cy, r = *rng.uniform(0, size, 2), rng.uniform(size / 20, size / 5)
        colour = tuple(int(c) for c in rng.integers(30, 240, 3))
        (draw.ellipse if rng.random() < 0.6 else draw.rectangle)((cx - r, cy - r, cx + r, cy + r), fill=colour)
    blurred = picture.filter(ImageFilter.GaussianBlur(size / 24 / regions**0.5))
    grid = picture.copy()
    side = round(regions**0.5)
    for k in range(1, side):
        for line in ((k * size / side, 0, k * size / side, size), (0, k * size / side, size, k * size / side)):
            ImageDraw.Draw(grid).line(line, fill="white", width=max(1, size // 64))
    wanted, got = (np.asarray(p, dtype=np.float32) / 255 for p in (picture, blurred))
    return {
        IMAGE: _png(picture),
        PARTITION: _png(grid),
        RECONSTRUCTION: _png(blurred),
        ERROR: encode_png(error_map(wanted, got)),
    }


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def write_run() -> WriteRun:
    """A function that writes a run directory and returns its path; see :func:`_write_run`."""
    return _write_run


def _write_run(
    path: Path,
    *,
    image: str = "astronaut",
    regions: int = 1,
    seed: int = 0,
    steps: int = 1500,
    status: str = "completed",
    message: str | None = None,
    rows: Sequence[Mapping[str, float]] | None = None,
    pictures: int | None = SIZE,
    settings: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    hardness: float = 1.0,
) -> Path:
    """Write one run through the program's own writer.

    Args:
        path: the run directory.
        image: name of the image.
        regions: 1 is no partition, else a grid.
        seed: of the run.
        steps: where the curve ends.
        status: of the run.
        message: of the run.
        rows: the curve, if another than the realistic one.
        pictures: side of the pictures [pixels]; None for none.
        settings: dotted keys of the config to change.
        facts: keys of the manifest to change.
        hardness: of the image; 1 is ordinary.
    """
    asked = config(image, regions, seed)
    for key, value in (settings or {}).items():
        *above, name = key.split(".")
        section = asked
        for part in above:
            section = section[part]
        section[name] = value
    overrides = [f"partition={'none' if regions == 1 else 'grid'}", f"data.name={image}", f"seed={seed}"]
    run = RunDirectory.create(path, asked, overrides)
    rows = realistic_curve(regions, seed, steps, hardness) if rows is None else rows
    run.write_curve(rows)
    run.write_manifest({**manifest(rows, image, regions, seed, status, message), **(facts or {})})
    for name, data in (picture_files(image, regions, pictures) if pictures else {}).items():
        run.write(name, data)
    return path


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep: none against grid #4, #9 and #16, three seeds, two images; one run failed, one still runs."""
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    return folder


def write_study(folder: Path, pictures: int = SIZE) -> None:
    for image, hardness in (("astronaut", 1.0), ("coffee", 1.15)):
        for regions in (1, 4, 9, 16):
            for seed in range(3):
                how: dict[str, Any] = {}
                if (image, regions, seed) == ("coffee", 16, 2):
                    how = {"status": "failed", "message": FAILURE, "steps": 400}
                if (image, regions, seed) == ("astronaut", 16, 1):
                    how = {"status": "running", "steps": 600}
                how |= {"image": image, "regions": regions, "seed": seed, "hardness": hardness, "pictures": pictures}
                _write_run(folder / f"{image}-{regions:02}-{seed}", **how)
