"""Reads the CSV file of another program: a curve, or final numbers with one row an image."""

from __future__ import annotations

import csv
import io
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from partinr.base.errors import PartinrError
from partinr.base.text import decoded

NAMES: Mapping[str, Sequence[str]] = {
    "image": ("image", "image_name", "file", "filename"),
    "step": ("step", "steps", "iter", "iters", "iteration", "iterations", "global_step"),
    "seconds": ("seconds", "time", "time_s", "elapsed", "runtime", "training_time", "train_time"),
    "cpu_seconds": ("cpu_seconds", "cpu_time"),
    "loss": ("loss", "mse", "train_loss"),
    "psnr": ("psnr", "psnr_db", "test_psnr", "val_psnr", "eval_psnr"),
    "ssim": ("ssim", "test_ssim", "val_ssim", "eval_ssim"),
    "ms_ssim": ("ms_ssim", "msssim"),
    "lpips": ("lpips",),
    "lr": ("lr", "learning_rate"),
}
"""Columns of a run, and what other programs call them: in lower case, with ``_`` for all but letters and digits.

W&B's ``_step`` and ``_runtime`` and Lightning's ``test/psnr`` are among them. The first name that a file has counts.
"""


@dataclass(frozen=True)
class Foreign:
    """The numbers of a file.

    Attributes:
        columns: the columns of the file, by their names here.
        rows: the curve, in the order of steps or seconds; empty for numbers of images.
        images: final numbers of each image, by its name; empty for a curve.
    """

    columns: Mapping[str, str]
    rows: Sequence[Mapping[str, float]]
    images: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def read_foreign(path: Path, asked: Sequence[str] = ()) -> Foreign:
    """The numbers of a CSV file, with commas, semicolons or tabs.

    Args:
        path: the file.
        asked: ``OURS=THEIRS`` for columns that are called otherwise than in :data:`NAMES`.

    Raises:
        PartinrError: the file cannot be read, lacks a column, or has something else than numbers that rise with steps.
    """
    header, lines = _cells(path)
    columns = _columns(path, header, asked)
    if "psnr" not in columns:
        raise PartinrError(
            f"{path} has no column of PSNR; it has {', '.join(header)}; say which it is: --column psnr=NAME"
        )
    place = {ours: header.index(theirs) for ours, theirs in columns.items()}
    image = place.pop("image", None)
    numbers = [
        {ours: _number(path, line, columns[ours], cells[at]) for ours, at in place.items()}
        for line, cells in enumerate(lines, 2)
    ]
    if all(math.isnan(row["psnr"]) for row in numbers):
        raise PartinrError(
            f"{path} has no number in {columns['psnr']}; say which column is the PSNR: --column psnr=NAME"
        )
    if image is not None:
        names = [cells[image] for cells in lines]
        if double := next((name for name in names if not name or names.count(name) > 1), None):
            raise PartinrError(f"{path} has more than one row for the image {double!r}; give the last of each image")
        return Foreign(columns, (), dict(zip(names, numbers, strict=True)))
    clock = next((name for name in ("step", "seconds") if name in columns), None)
    if clock is None and len(numbers) > 1:
        raise PartinrError(
            f"{path} has {len(numbers)} rows, and no column of steps, seconds or images; say which it is: "
            "--column step=NAME, or seconds=NAME, or image=NAME for one row an image"
        )
    for line, (before, row) in enumerate(itertools.pairwise(numbers), 3):
        if clock is not None and not row[clock] > before[clock]:
            raise PartinrError(f"{path}, line {line}: {columns[clock]} does not rise; give one curve, in its order")
    return Foreign(columns, numbers)


def _cells(path: Path) -> tuple[list[str], list[list[str]]]:
    """The header of a file and its other lines, empty ones left out."""
    try:
        text = decoded(path.read_bytes()).removeprefix("\ufeff")
    except OSError as error:
        raise PartinrError(f"cannot read {path}: {error.strerror}; give a CSV file") from error
    first = text.partition("\n")[0]
    try:
        lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count)))
    except csv.Error as error:
        raise PartinrError(f"cannot read {path}: {error}; give a CSV file") from error
    header, *rows = [[cell.strip() for cell in line] for line in lines if any(map(str.strip, line))] or [[]]
    if not rows:
        raise PartinrError(f"{path} has no row below its header; give a CSV file with a row for each evaluation")
    if (double := next((name for name in header if not name or header.count(name) > 1), None)) is not None:
        raise PartinrError(f"{path} has the column {double!r} twice, or without a name; remove one of them")
    if short := next((line for line, row in enumerate(rows, 2) if len(row) != len(header)), None):
        raise PartinrError(f"{path}, line {short}: it has another number of cells than the header; correct it")
    return header, rows


def _columns(path: Path, header: Sequence[str], asked: Sequence[str]) -> dict[str, str]:
    """The columns of a file by their names here; those without a meaning keep their names."""
    given = dict(each.partition("=")[::2] for each in asked)
    for ours, theirs in given.items():
        if theirs not in header:
            raise PartinrError(
                f"--column {ours}={theirs}: {path} has no such column; choose from {', '.join(header)}"
                if theirs
                else f"--column {ours} names no column; give OURS=THEIRS, such as --column psnr={header[0]}"
            )
    spelt = {_spelt(theirs): theirs for theirs in reversed(header) if theirs not in given.values()}
    known = {
        ours: next(spelt[name] for name in names if name in spelt)
        for ours, names in NAMES.items()
        if ours not in given and any(name in spelt for name in names)
    }
    named = {**given, **known}
    return {**named, **{theirs: theirs for theirs in header if theirs not in (*named, *named.values())}}


def _spelt(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _number(path: Path, line: int, column: str, cell: str) -> float:
    try:
        return float(cell) if cell else math.nan
    except ValueError:
        raise PartinrError(
            f"{path}, line {line}: {column} is {cell!r}, which is no number; correct it, or remove the column"
        ) from None
