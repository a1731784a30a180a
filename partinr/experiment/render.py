"""``partinr render``: draws the fitted image or its derivatives into a file of any size."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from partinr.api import load
from partinr.base.environment import door
from partinr.base.errors import FULL, PartinrError
from partinr.coords import AxisSamples
from partinr.model.derivatives import Field
from partinr.model.inr import Crop, PiecewiseINR
from partinr.pictures.write import Depth, check_shape, file_bytes
from partinr.runs.directory import RunDirectory
from partinr.signals.kind import Asked, SignalKind

_PROBE = 256
"""Samples along an axis that determine the range of a derivative's picture."""

_PROBE_SHARE = 0.995
"""Fraction of samples within the range; the rest is clipped."""

_PROGRESS_FROM = 2**20
"""Number of pixels from which a progress bar is shown."""


def render_run(
    run: Path,
    output: Path,
    *,
    image: str | None = None,
    scale: float | None = None,
    size: str | None = None,
    rate: float | None = None,
    spacing: float | None = None,
    crop: str | None = None,
    depth: Depth | None = None,
    field: Field = "value",
    top: float | None = None,
    smooth: bool = False,
) -> str:
    """Render the fit of a run into a file, at the resolution that its kind of signal makes of the arguments.

    Args:
        run: a run directory, or an ``inr.safetensors``.
        output: the file: PNG, TIFF, NPY, or what the kind writes, by its ending.
        image: name of one image of a run with several.
        scale: factor on the resolution of the fitted image; None for 1.
        size: ``H,W`` in pixels, instead of ``scale``.
        rate: samples or frames per second, for kinds that have a time.
        spacing: distance of two samples, for kinds that have a length.
        crop: ``y0:y1,x0:x1`` in pixels of the fitted image; a range for each axis of other kinds.
        depth: bits, or ``float``; None for the default of the kind of file.
        field: the field to draw.
        top: white value of a derivative that is drawn in whole numbers; None for a suitable one.
        smooth: smooth the borders between regions.

    Returns:
        a line that says what was written.

    Raises:
        PartinrError: an argument is out of range, or the file cannot be written.
    """
    if scale is not None and size is not None:
        raise PartinrError("--scale and --size both say how large the picture is; give one of them")
    if not run.is_file():
        RunDirectory.open(run)
    elif image is not None:
        raise PartinrError(f"{run} holds one image; leave out --image {image}")
    model = load(run, image)
    kind = model.kind(0)
    depth = kind.depth_of(output, depth)
    _check_field(output, kind, field, depth, top)
    asked = Asked(scale, None if size is None else _size(size, kind, len(model.partition.shape)), rate, spacing)
    window = None if crop is None else _crop(crop, kind, len(model.partition.shape))
    axes, kind = _raster(model, kind, asked, window)
    shape = tuple(map(len, axes))
    # Only an array can store both components of a gradient; a picture shows its length.
    vector = field == "gradient" and output.suffix.lower() == ".npy" and depth == "float"
    whole = (*shape, model.channels, *((len(shape),) if vector else ()))
    if kind.is_picture:
        check_shape(output, whole)
    _check_place(output, whole, depth)
    array = output.suffix.lower() == ".npy"
    sides = "×".join(map(str, whole if array else shape))
    said = f"{output}  {sides if array or kind.is_picture else kind.size(shape)}"
    if field != "value" and depth != "float":
        top = _range(model, axes, field, smooth) if top is None else top
        said += f"  black is {-top if field == 'laplacian' else 0:.3g}, white {top:.3g}"
        said += " per pixel" + (" squared" if field == "laplacian" else "")
    bands = (
        _drawn(band, field, vector, top)
        for band in _with_progress(model.bands(axes, smooth=smooth, field=field), shape[0], math.prod(shape))
    )
    try:
        kind.write(output, bands, whole, depth)
    except OSError as error:
        raise _unwritable(output, error) from error
    return said


def _check_field(output: Path, kind: SignalKind, field: Field, depth: Depth, top: float | None) -> None:
    """Refuse options of derivatives that do not go together.

    Raises:
        PartinrError: they do not.
    """
    if top is not None and (field == "value" or depth == "float"):
        raise PartinrError("--range is for --show gradient or laplacian with --depth 8 or 16; leave it out")
    if top is not None and not 0 < top < float("inf"):
        raise PartinrError(f"--range {top:g} is no range; give a number above 0")
    if field != "value" and not kind.is_picture and output.suffix.lower() != ".npy":
        raise PartinrError(f"--show {field} is for images, and for a file that ends in .npy; leave it out")


def _raster(
    model: PiecewiseINR, kind: SignalKind, asked: Asked, window: Crop | None
) -> tuple[tuple[AxisSamples, ...], SignalKind]:
    """The samples to render along each axis, and the facts of the signal at that resolution.

    Raises:
        PartinrError: the resolution is not for this kind, or is too high.
    """
    grid: Sequence[Any] = model.partition.shape
    if window is not None:
        model.raster(crop=window)  # refuses a part that is none
        grid = [Fraction(high) - Fraction(low) for low, high in window]
        asked = replace(asked, start=tuple(Fraction(low) for low, _ in window))
    shape = kind.shape_for(grid, asked)
    if max(shape) > kind.most_samples:
        said = [f"--{name} {value:g}" for name, value in vars(asked).items() if isinstance(value, (int, float))]
        said += [f"--size {','.join(map(str, asked.size))}"] if asked.size else []
        size = "×".join(f"{n:,}" for n in shape)
        raise PartinrError(f"{' '.join(said)} makes {size} {kind.units}; give sides of up to {kind.most_samples:,}")
    return model.raster(shape=shape, crop=window), kind.resampled(grid, shape, asked)


def _size(text: str, kind: SignalKind, axes: int) -> tuple[int, ...]:
    found = tuple(map(int, re.findall(r"\d+", text)))
    sides = kind.sides or kind.axes
    if re.fullmatch(r"\s*\d{1,9}\s*(,\s*\d{1,9}\s*)*", text) is None or len(found) != (len(sides) or axes):
        listed = f"{', '.join(sides[:-1])} and {sides[-1]}" if len(sides) > 1 else "".join(sides)
        wanted = f"{listed} in {kind.units}" if sides else f"{axes} whole numbers"
        example = "1080,1920" if kind.units == "pixels" else ",".join(["128"] * (len(sides) or axes))
        raise PartinrError(f"--size {text} is no size; give {wanted}, such as --size {example}")
    return found


def _crop(text: str, kind: SignalKind, axes: int) -> Crop:
    number = r"\s*(\d{1,9}(?:\.\d{0,6})?)\s*"
    found = re.fullmatch(",".join([f"{number}:{number}"] * axes), text)
    if found is None:
        example = ",".join(("0:64", "128:192.5", "0:32")[:axes])
        what, ranges = (
            ("an image", "rows and columns of the fitted image")
            if kind.is_picture
            else ("a signal", "a range of samples for each axis")
        )
        raise PartinrError(f"--crop {text} is no part of {what}; give {ranges}, such as --crop {example}")
    ends = [Fraction(each) for each in found.groups()]
    return tuple(zip(ends[::2], ends[1::2], strict=True))


def _check_place(output: Path, shape: Sequence[int], depth: Depth) -> None:
    """Refuse a file that cannot be written, before any work is done for it.

    Raises:
        PartinrError: the file cannot be written.
    """
    if output.is_dir():
        raise PartinrError(f"cannot write {output}: Is a directory; choose another with -o")
    # Others are compressed, so their size is unknown in advance.
    needed = file_bytes(shape, depth) if output.suffix.lower() in (".tif", ".tiff", ".npy") else 0
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(output.parent).free
    except OSError as error:
        raise _unwritable(output, error) from error
    if needed > free:
        raise PartinrError(
            f"{output} would take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free; "
            "make room, or make it smaller"
        )


def _unwritable(output: Path, error: OSError) -> PartinrError:
    cure = "make room" if error.errno in FULL else "choose another with -o"
    return PartinrError(f"cannot write {output}: {error.strerror}; {cure}")


def _range(model: PiecewiseINR, axes: Sequence[AxisSamples], field: Field, smooth: bool) -> float:
    """An upper bound of nearly all values of a derivative, from samples all over the picture."""
    probed = [axis.part(0, len(axis), -(-len(axis) // _PROBE)) for axis in axes]
    found = torch.cat(list(model.bands(probed, smooth=smooth, field=field)))
    length = found.norm(dim=-1) if field == "gradient" else found.abs()
    length = length[length.isfinite()].double()
    top = float(length.quantile(_PROBE_SHARE)) if len(length) else 0.0
    return top if top > 0 else 1.0


@door
def _drawn(band: torch.Tensor, field: Field, vector: bool, top: float | None) -> NDArray[np.float32]:
    """A band as written to the file."""
    if field == "gradient" and not vector:
        band = band.norm(dim=-1)
    if top is not None:
        band = (band / top + 1) / 2 if field == "laplacian" else band / top
    array: NDArray[np.float32] = band.numpy()
    return array


def _with_progress(bands: Iterator[torch.Tensor], rows: int, pixels: int) -> Iterator[torch.Tensor]:
    """The same bands, with a progress bar on a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal or pixels < _PROGRESS_FROM:
        yield from bands
        return
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task("rendering", total=rows)
        for band in bands:
            yield band
            progress.advance(task, len(band))
