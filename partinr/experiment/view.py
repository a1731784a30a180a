"""``partinr view``: writes a page to pan and zoom in an image and its fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from partinr.api import load
from partinr.base.errors import PartinrError
from partinr.base.notes import print_note
from partinr.coords import scaled_shape
from partinr.report.viewer import check_size, shrunk, shrunk_shape, write_view
from partinr.runs.directory import RunDirectory
from partinr.runs.fitted import fitted_image
from partinr.runs.layout import of_image

VIEW = "view.html"


def make_view(run: Path, output: Path | None, *, image: str | None = None, scale: float = 1) -> Path:
    """Write the page of a run. A picture that is too large for a page is shrunk, and a note says how far.

    Args:
        run: the run directory.
        output: the file; by default ``view.html`` next to the pictures.
        image: the name of one image, for a run that fitted several.
        scale: factor on the image's resolution for drawing the fit, 1 or more.

    Returns:
        path of the page.

    Raises:
        PartinrError: the run has no fit of an image or no image to compare it with, or ``scale`` makes it too large
            for a page.
    """
    directory = RunDirectory.open(run)
    model = load(run, image)
    shape = model.partition.shape
    if len(shape) != 2:
        raise PartinrError(f"{run} fitted a {len(shape)}-D signal, which is no picture; use partinr.load(…).render()")
    larger, smaller = scaled_shape(shape, scale), shrunk_shape(shape)
    if larger != shape:
        check_size(larger)
    pixels = fitted_image(directory, image, (*shape, model.channels))
    fit: Any = model.render()
    labels = model.partition.labels
    manifest = directory.manifest()
    name = image or manifest.get("signal", {}).get("name") or directory.path.resolve().name
    psnr = manifest.get("metrics", {}).get("psnr") if image is None else manifest["images"][image].get("psnr")
    facts = [
        f"{shape[0]}×{shape[1]} pixels",
        f"{model.partition.regions:,} region{'s' * (model.partition.regions > 1)}",
        f"{model.parameter_count:,} parameters",
    ]
    if isinstance(psnr, float):
        facts.append(f"{psnr:.2f} dB")
    if larger != shape:
        facts.append(f"the fit is drawn at {larger[0]}×{larger[1]}")
    if smaller != shape:
        said = f"{smaller[0]}×{smaller[1]} pixels, {max(smaller) / max(shape):.3g} of the resolution"
        print_note(f"the picture is too large for a page, and is shown at {said}; partinr render draws all of it")
        facts.append(f"shown at {said}")
        pixels, fit = shrunk(pixels, smaller) / 255, shrunk(fit, smaller) / 255
        rows, columns = (torch.arange(few) * many // few for few, many in zip(smaller, shape, strict=True))
        labels = labels[rows[:, None], columns]
    return write_view(
        directory.file(of_image(image, VIEW)) if output is None else output,
        pixels,
        fit,
        labels.numpy(),
        fine=None if larger == shape else model.render(scale),
        title=f"{name}, {manifest.get('name') or directory.path.resolve().name}",
        facts=facts,
    )
