"""The pictures of this folder, from built-in images.

    python experiments/gallery/gallery.py            # all of them: make gallery
    python experiments/gallery/gallery.py backbones  # one

Everything is fitted with fixed seeds and a fixed number of steps, so that the same machine makes the same files. The
one exception is "seconds", which has fixed seconds and needs a quiet machine.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from PIL import Image
from torch import Tensor

import partinr
from partinr.api import load
from partinr.backbones import Siren, load_backbone
from partinr.base.files import write_atomically
from partinr.experiment.conf import conf_dir
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, KMeans, PartitionRule, Random, Semantic, Superpixel, Whole
from partinr.pictures.draw import Panel, contact_sheet, partition_overlay, thumbnail, to_uint8
from partinr.pictures.errors import error_map
from partinr.regimes import Cosine, FitSettings, Optimizer
from partinr.report import collect
from partinr.signals import builtin_image

FIGURES = Path(__file__).parent / "figures"

RULES: dict[str, Callable[[int], PartitionRule]] = {
    "none": lambda regions: Whole(),
    "grid": lambda regions: Grid(regions=regions),
    "semantic": lambda regions: Semantic(regions=regions),
    "superpixel": lambda regions: Superpixel(regions=regions),
    "kmeans": lambda regions: KMeans(regions=regions),
    "random": lambda regions: Random(regions=regions),
}

OPTIONS: dict[str, dict[str, Any]] = {
    # What suits 96 pixels; the defaults are for larger images.
    "siren": {"first_omega_0": 30.0},
    "relu_pe": {"frequencies": 6},
    "fourier": {"scale": 5.0},
    "gauss": {"sigma": 0.1},
    "wire": {"omega_0": 5.0, "scale_0": 5.0},
    "mfn": {"input_scale": 64.0},
    "hash_grid": {"finest": 96},
}

RATES = {"relu_pe": 5e-3, "fourier": 5e-3, "gauss": 5e-3, "wire": 5e-3, "mfn": 2e-2, "hash_grid": 2e-2}
"""What experiments/backbones has found for small networks; 1e-3 for the others."""

LOOK = FitSettings(evaluate_every=10**9, collapse_db=None, begin_at_mean=True)

WIDTH = 1400
"""Pixels of a figure; in 256 colours it is a few hundred kilobytes."""

DETAIL = (slice(96, 160), slice(150, 246))
"""Rows and columns of what "seconds" enlarges."""

LONE = [
    "partition=none",
    "backbone.first_omega_0=30",
    "optimizer.lr=1.5e-3",
    "schedule=cosine",
    "schedule.warmup_steps=10",
    "regime.points_per_step=8192",
    "trainer.precision=bf16-mixed",
    "max_steps=null",
]
"""The best of nine settings of one network on this very image: rates 5e-4, 1e-3 and 1.5e-3 with 4,096, 8,192 and 16,384
points a step. In single precision, with all points a step or with a first ω0 of 60 it ends lower ("chelsea")."""

WAVES = {"none": 30.0, "random": 30.0, "kmeans": 20.0}
"""First ω0 by rule: where regions are as large as the image. Others are a third of it along both axes."""


def compact(sheet: bytes, palette: bool = True) -> bytes:
    """A figure, as small as a page needs it; with a palette of 256 colours or in true colour."""
    picture = Image.open(io.BytesIO(sheet)).convert("RGB")
    height = round(picture.height * WIDTH / picture.width)
    small = picture.resize((WIDTH, height), Image.Resampling.LANCZOS)
    if palette:
        small = small.quantize(256, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    small.save(buffer, "png", optimize=True)
    return buffer.getvalue()


def enlarged(picture: Tensor, factor: int) -> Tensor:
    """Every pixel as a square."""
    return picture.repeat_interleave(factor, 0).repeat_interleave(factor, 1)


def fitted(image: Tensor, model: PiecewiseINR, lr: float, steps: int) -> float:
    """Fit in place; the PSNR."""
    return partinr.fit(model, image, steps=steps, optimizer=Optimizer(lr=lr), schedule=Cosine(), settings=LOOK).psnr


def partitions() -> bytes:
    """What each rule makes of a picture, for 4, 9 and 16 regions."""
    image = builtin_image("chelsea", max_side=320)
    rows = []
    for regions in (4, 9, 16):
        row: list[Panel | None] = []
        for name, rule in RULES.items():
            if name != "none":
                found = rule(regions)(image)
                row.append(Panel(partition_overlay(image, found.labels), f"{name} #{found.regions}"))
        rows.append(row)
    return contact_sheet(rows)


def rules() -> bytes:
    """The same parameters and steps with each rule: the fit, and where it is off."""
    image = builtin_image("astronaut", size=96)
    pictures: list[Panel | None] = [Panel(to_uint8(enlarged(image, 3)), "image", "96 × 96")]
    errors: list[Panel | None] = [None]
    for name, rule in RULES.items():
        partition = rule(9)(image)
        model = PiecewiseINR(partition, Siren(match_params=10_000, first_omega_0=WAVES.get(name, 12.0)), frame="local")
        psnr = fitted(image, model, 2e-3, 300)
        picture = model.render()
        title = "none" if name == "none" else f"{name} #{partition.regions}"
        pictures.append(Panel(to_uint8(enlarged(picture.clamp(0, 1), 3)), title, f"{psnr:.1f} dB"))
        errors.append(Panel(thumbnail(error_map(enlarged(image, 3), enlarged(picture, 3))), "error"))
    return contact_sheet([pictures, errors])


def backbones() -> bytes:
    """Each backbone with the same parameters and steps, and four times as many pixels as it has seen."""
    image = builtin_image("astronaut", size=96)
    partition = Whole()(image)
    panels: list[Panel | None] = [Panel(to_uint8(enlarged(image, 4)), "image", "96 × 96")]
    for file in sorted((conf_dir() / "backbone").glob("*.yaml")):
        options = yaml.safe_load(file.read_text(encoding="utf-8"))
        options |= {"match_params": 20_000, **OPTIONS.get(file.stem, {})}
        model = PiecewiseINR(partition, load_backbone(options.pop("_target_"), options))
        psnr = fitted(image, model, RATES.get(file.stem, 1e-3), 300)
        panels.append(Panel(to_uint8(model.render(scale=4).clamp(0, 1)), file.stem, f"{psnr:.1f} dB on the pixels"))
    return contact_sheet([panels[:3], panels[3:6], panels[6:]])


def regions() -> bytes:
    """The same parameters and steps in 1 to 256 networks."""
    image = builtin_image("astronaut", size=96)
    panels: list[Panel | None] = []
    for rows in (1, 2, 4, 8, 16):
        backbone = Siren(match_params=20_000, hidden_layers=2, first_omega_0=max(10.0, 40.0 / rows))
        model = PiecewiseINR(Grid(rows=rows, cols=rows)(image), backbone, frame="local")
        psnr = fitted(image, model, 2e-3, 300)
        note = f"{psnr:.1f} dB, {model.parameter_count:,} parameters"
        panels.append(Panel(to_uint8(enlarged(model.render().clamp(0, 1), 3)), f"#{rows * rows}", note))
    return contact_sheet([panels])


def seconds() -> bytes:
    """One network and many after the same seconds, with as many parameters: the fit, and a part of it enlarged."""
    image = builtin_image("coffee", max_side=384)
    panels: list[Panel | None] = [Panel(to_uint8(image), "image", "384 × 256")]
    details: list[Panel | None] = [Panel(to_uint8(enlarged(image[DETAIL], 4)), "detail", "four times")]
    for name, settings in {"one SIREN": LONE, "parts": ["experiment=fast"]}.items():
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "partinr", "data.name=coffee", "data.max_side=384", "max_seconds=5"]
            command += ["backbone.match_params=100000", "callbacks.pictures=null", f"hydra.run.dir={folder}/run"]
            subprocess.run([*command, *settings], check=True, stdout=subprocess.DEVNULL)
            (run,) = collect([Path(folder, "run")])
            picture = load(run.path).render().clamp(0, 1)
        title = name if run.manifest["regions"] == 1 else f"{run.manifest['regions']} SIRENs"
        panels.append(
            Panel(to_uint8(picture), title, f"{run.curve['psnr'][-1]:.1f} dB, {run.manifest['steps']:,} steps")
        )
        details.append(Panel(to_uint8(enlarged(picture[DETAIL], 4)), "detail"))
    return contact_sheet([panels, details])


PAGES = {"seconds": seconds, "partitions": partitions, "rules": rules, "backbones": backbones, "regions": regions}

TRUE_COLOUR = {"seconds"}
"""Pages that show how true the colours of a fit are."""


def main(names: list[str]) -> None:
    """Make the pictures of these names, or all."""
    for name in names or PAGES:
        if name not in PAGES:
            raise SystemExit(f"gallery.py: there is no picture {name!r}; choose from {', '.join(PAGES)}")
        write_atomically(FIGURES / f"{name}.png", compact(PAGES[name](), palette=name not in TRUE_COLOUR))
        print(FIGURES / f"{name}.png")


if __name__ == "__main__":
    main(sys.argv[1:])
