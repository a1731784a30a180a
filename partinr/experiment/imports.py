"""``partinr import``: makes a run directory of the curve, or the final numbers, of another program or a paper."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from partinr.base.errors import PartinrError
from partinr.base.notes import print_note
from partinr.base.section import field as column
from partinr.base.version import __version__
from partinr.experiment.names import safe_name
from partinr.metrics import mean_psnr, psnr, ssim
from partinr.metrics.perceptual import ms_ssim
from partinr.pictures.draw import encode_png
from partinr.pictures.errors import error_map
from partinr.runs.configs import METHOD, PARAMETERS_KEY
from partinr.runs.directory import RunDirectory
from partinr.runs.fitted import fitted_image
from partinr.runs.foreign import Foreign, read_foreign
from partinr.runs.layout import CURVE_COLUMNS, ERROR, IMAGE, MANIFEST, RECONSTRUCTION, WHOLE_COLUMNS
from partinr.runs.words import folders_of_outputs
from partinr.signals import ImageData
from partinr.signals.identity import file_sha256
from partinr.training.facts import signal_facts

FOLDER = "imported"
"""Where imported runs go, below the folder of outputs; and their kind."""

_NONE = "{run} is imported from {imported.file} and has no model; partinr report, table and compare show its numbers"
_REGIME = {
    "kind": FOLDER,
    "instead": dict.fromkeys(("render", "resume", "rerun"), _NONE),
    "table": [
        column("measured", "measured PSNR dB", "metrics.measured.psnr", span="Quality", note="Of the given picture")
    ],
}
APART = 0.1
"""Least difference of a stated and a measured PSNR that a note tells [dB]; 8-bit pictures differ by less."""


@dataclass(frozen=True)
class Imported:
    """What ``partinr import`` made.

    Attributes:
        path: the run directory.
        made: whether it was written; not if it held the same already.
    """

    path: Path
    made: bool


@dataclass(frozen=True)
class _Signal:
    """What was fitted.

    Attributes:
        facts: the entry ``signal`` of ``run.json``; empty if unknown.
        values: float32 ``[H, W, C]``; None if unknown, or no image.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    values: torch.Tensor | None = None


def import_run(
    file: Path,
    name: str,
    *,
    output: Path | None = None,
    parameters: int | None = None,
    hardware: str | None = None,
    signal: Path | None = None,
    reconstruction: Path | None = None,
    columns: Sequence[str] = (),
    replace: bool = False,
) -> Imported:
    """Make a run directory of a CSV file, unless it holds the same already.

    Args:
        file: a curve, or final numbers with one row an image, see :mod:`partinr.runs.foreign`.
        name: name of the method.
        output: the run directory; by default one below ``outputs/imported``, named after method, signal and parameters.
        parameters: number of parameters.
        hardware: what the seconds were measured on.
        signal: what was fitted: an image file, or a run on it.
        reconstruction: the picture of the fit, in the size of the signal.
        columns: ``OURS=THEIRS`` for columns with other names.
        replace: replace an imported run with other content.

    Raises:
        PartinrError: a file cannot be used, or the directory holds another run. Nothing has been written.
    """
    numbers = read_foreign(file, columns)
    fitted = _Signal() if signal is None else _signal(signal)
    picture = None if reconstruction is None else _picture(reconstruction, fitted)
    settings: dict[str, Any] = {METHOD.path[0]: name, **({PARAMETERS_KEY[0]: parameters} if parameters else {})}
    source = {
        "file": file.name,
        "sha256": file_sha256(file),
        "columns": dict(numbers.columns),
        "hardware": hardware,
        "signal_sha256": fitted.facts.get("pixels_sha256"),
        "reconstruction_sha256": None if reconstruction is None else file_sha256(reconstruction),
    }
    content = hashlib.sha256(json.dumps([settings, source], sort_keys=True).encode()).hexdigest()
    words = [name, fitted.facts.get("name"), parameters]
    path = output or folders_of_outputs()[0] / FOLDER / safe_name("_".join(str(word) for word in words if word))
    if _is_there(path, content, replace):
        return Imported(path, made=False)
    facts = _facts(numbers, fitted, picture, hardware)
    facts |= {"name": name, "parameters": parameters, "imported": {**source, "content": content, "by": __version__}}
    _write(path, settings, numbers, {key: value for key, value in facts.items() if value is not None}, fitted, picture)
    return Imported(path, made=True)


def _signal(path: Path) -> _Signal:
    """The signal of a run, or an image file."""
    if path.is_dir():
        run = RunDirectory.open(path)
        facts = run.manifest().get("signal")
        if not isinstance(facts, Mapping):
            raise PartinrError(f"--signal {path}: this run has not read its signal; give another run, or an image file")
        shape = facts.get("shape")
        is_image = isinstance(shape, list) and len(shape) == 3 and run.file(IMAGE).is_file()
        return _Signal(facts, torch.from_numpy(fitted_image(run, None, shape)) if is_image and shape else None)
    reading = ImageData(path=str(path)).read()
    values = reading.values
    return _Signal({"name": path.stem, **signal_facts([""], [values.shape], values, [reading.identity])}, values)


def _picture(path: Path, fitted: _Signal) -> torch.Tensor:
    """A reconstruction, in the shape of its signal."""
    if fitted.values is None:
        raise PartinrError(
            "--reconstruction needs the image that was fitted; give --signal FILE, or a run on one image"
        )
    values = ImageData(path=str(path)).load()
    if values.shape != fitted.values.shape:
        ours, theirs = ("×".join(map(str, each.shape)) for each in (values, fitted.values))
        raise PartinrError(
            f"--reconstruction {path} has {ours} samples, and the signal {theirs}; give both in the same size, or as "
            "--signal a run with the same data.size"
        )
    return values


def _is_there(path: Path, content: str, replace: bool) -> bool:
    """Whether a directory holds the same import already.

    Raises:
        PartinrError: it holds something else that must stay.
    """
    if not (path / MANIFEST).is_file():
        if path.is_dir() and any(path.iterdir()):
            raise PartinrError(f"{path} holds other files; give another folder with -o")
        return False
    known = RunDirectory(path).manifest().get("imported")
    if not isinstance(known, Mapping):
        raise PartinrError(f"{path} holds a run that was not imported; give another folder with -o")
    if known.get("content") != content and not replace:
        raise PartinrError(
            f"{path} was imported from other content ({known.get('file')}); replace it with --replace, or give another "
            "--name, or another folder with -o"
        )
    return known.get("content") == content


def _facts(numbers: Foreign, fitted: _Signal, picture: torch.Tensor | None, hardware: str | None) -> dict[str, Any]:
    """Entries of ``run.json``: results, clocks, signal and hardware."""
    found: dict[str, Any] = {"regime": _REGIME, "signal": dict(fitted.facts) or None}
    found["hardware"] = {"cpu": hardware or "unknown hardware"}
    images = {image: dict(row) for image, row in numbers.images.items()}
    last = {key: _last([row[key] for row in numbers.rows]) for key in (numbers.rows[0] if numbers.rows else ())}
    if images:
        rows = list(images.values())
        last = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
        last["psnr"] = mean_psnr([row["psnr"] for row in rows])
        found["images"] = images
        found["signal"] = found["signal"] or {"name": "images", "images": len(images)}
    found["metrics"] = {key: last[key] for key in ("psnr", "ssim", "ms_ssim", "lpips") if key in last}
    if picture is not None and fitted.values is not None:
        measure = {"psnr": psnr, "ssim": ssim, "ms_ssim": ms_ssim}
        measured = {key: of(picture, fitted.values) for key, of in measure.items()}
        found["metrics"] = {**measured, **found["metrics"], "measured": measured}
        if not abs(measured["psnr"] - last["psnr"]) <= APART:
            print_note(
                f"the file ends at {last['psnr']:.2f} dB, and the reconstruction has {measured['psnr']:.2f} dB against "
                "the signal; is it of another peak, size or step?"
            )
    if "step" in last:
        found["steps"] = int(last["step"])
    found["seconds"] = {"training": last["seconds"]} if "seconds" in last else None
    found["cpu_seconds"] = {"training": last["cpu_seconds"]} if "cpu_seconds" in last else None
    return found


def _last(values: Sequence[float]) -> float:
    """The last number; NaN if there is none."""
    return next((value for value in reversed(values) if not math.isnan(value)), math.nan)


def _whole(key: str, value: float) -> float:
    """The number, as a whole one in columns that have only such."""
    return round(value) if key in WHOLE_COLUMNS and math.isfinite(value) else value


def _write(
    path: Path,
    settings: Mapping[str, Any],
    numbers: Foreign,
    facts: Mapping[str, Any],
    fitted: _Signal,
    picture: torch.Tensor | None,
) -> None:
    """Write the run beside its place, and move it there when it is complete."""
    beside = path.with_name(f".{path.name}.importing")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
    except OSError as error:
        raise PartinrError(f"cannot write {path}: {error.strerror}; choose another with -o") from error
    run = RunDirectory.create(beside, settings)
    lacking = dict.fromkeys(CURVE_COLUMNS, math.nan)
    ends = {key: value for key, value in facts["metrics"].items() if key in CURVE_COLUMNS and value is not None}
    run.write_curve([{**lacking, **{key: _whole(key, row[key]) for key in row}} for row in numbers.rows or [ends]])
    if fitted.values is not None:
        run.write(IMAGE, encode_png(fitted.values))
    if picture is not None:
        run.write(RECONSTRUCTION, encode_png(picture))
        run.write(ERROR, encode_png(error_map(fitted.values, picture)))
    run.write_manifest({**run.manifest(), **facts, "status": "completed"})
    if path.exists():
        shutil.rmtree(path)
    beside.rename(path)
