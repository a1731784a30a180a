"""Reads and writes the CSV files of a run directory."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partinr.base.errors import PartinrError
from partinr.base.files import write_atomically
from partinr.base.text import decoded, utf8
from partinr.runs.layout import (
    CURVE,
    CURVE_COLUMNS,
    IMAGE_CURVE,
    LOGGED,
    NEW_COLUMNS,
    RATE,
    RATE_COLUMNS,
    STEPS,
    WHOLE_COLUMNS,
    of_image,
)


@dataclass(frozen=True)
class Tables:
    """The files of a run directory, and the rows of its CSV files."""

    path: Path

    def file(self, name: str) -> Path:
        """Path of a file, by its name in :mod:`partinr.runs.layout`."""
        return self.path / name

    def write(self, name: str, data: bytes) -> Path:
        """Write one file atomically and return its path."""
        path = self.file(name)
        write_atomically(path, data)
        return path

    def write_curve(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Write ``curve.csv``. Numbers keep every digit, so equal curves give equal files.

        Further columns follow those of :data:`CURVE_COLUMNS`. NaN stands where a row lacks one of them or a new column.
        """
        rows = list(rows)
        further = dict.fromkeys(name for row in rows for name in row if name not in CURVE_COLUMNS)
        optional = {*NEW_COLUMNS, *further}
        columns = [*CURVE_COLUMNS, *further]
        lines = [[row.get(name, math.nan) if name in optional else row[name] for name in columns] for row in rows]
        self.write(CURVE, _csv(columns, lines))

    def write_logged(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write ``logged.csv``. NaN stands where a row lacks a column."""
        columns = list(dict.fromkeys(name for row in rows for name in row))
        self.write(LOGGED, _csv(columns, [[row.get(name, math.nan) for name in columns] for row in rows]))

    def logged(self) -> list[dict[str, float]]:
        """The rows of ``logged.csv``, each with the columns that it has; empty without the file.

        Raises:
            PartinrError: the file is damaged.
        """
        if not self.file(LOGGED).is_file():
            return []
        rows = self._rows(LOGGED, lambda row: {name: float(value) for name, value in row.items()})
        return [{name: value for name, value in row.items() if not math.isnan(value)} for row in rows]

    def write_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a CSV file of a regime, such as ``images.csv``; all rows have the columns of the first."""
        self.write(name, _csv(list(rows[0]), [list(row.values()) for row in rows]))

    def steps(self) -> list[dict[str, Any]]:
        """The rows of ``steps.csv``; ``cells`` is None for an image.

        Raises:
            PartinrError: the file is missing or damaged.
        """
        return self._rows(STEPS, _steps_row)

    def write_rate(self, rows: Iterable[Mapping[str, Any]], image: str | None = None) -> None:
        """Write ``rate.csv``, see :data:`RATE_COLUMNS`; ``image`` names one of several images."""
        self.write(of_image(image, RATE), _csv(RATE_COLUMNS, [[row[name] for name in RATE_COLUMNS] for row in rows]))

    def rate(self, image: str | None = None) -> list[dict[str, Any]]:
        """The rows of ``rate.csv``, see :data:`RATE_COLUMNS`; empty without the file.

        Args:
            image: name of one of several images; None for all together.

        Raises:
            PartinrError: the file is damaged.
        """
        kinds: dict[str, Callable[[str], Any]] = {"coder": str, "setting": str, "bpp": float, "psnr": float}
        file = of_image(image, RATE)
        if not self.file(file).is_file():
            return []
        return self._rows(file, lambda row: {name: kinds.get(name, int)(row[name]) for name in RATE_COLUMNS})

    def curve(self) -> list[dict[str, float]]:
        """The rows of ``curve.csv``, with whole numbers for ``step`` and ``macs``; empty before the first row.

        Raises:
            PartinrError: the file is damaged.
        """
        if not self.file(CURVE).is_file():
            return []
        return self._rows(CURVE, lambda row: {name: _cell(name, value) for name, value in row.items()})

    def image_curve(self) -> list[dict[str, Any]]:
        """The rows of ``images.csv``, see :data:`IMAGE_COLUMNS`; empty without the file.

        Raises:
            PartinrError: the file is damaged.
        """
        kinds: dict[str, Callable[[str], Any]] = {"image": str, "step": int}
        if not self.file(IMAGE_CURVE).is_file():
            return []
        return self._rows(IMAGE_CURVE, lambda row: {name: kinds.get(name, float)(value) for name, value in row.items()})

    def _rows(self, name: str, read: Callable[[dict[str, str]], dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows of a CSV file.

        Raises:
            PartinrError: the file is missing or damaged.
        """
        path = self.file(name)
        try:
            return [read(row) for row in csv.DictReader(io.StringIO(decoded(path.read_bytes()), newline=""))]
        except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
            raise PartinrError(f"cannot read {path}: {error}") from error


def _csv(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_digits(value) for value in line] for line in lines)
    return utf8(text.getvalue())


def _cell(name: str, value: str) -> float:
    """A number of a curve; NaN where an imported curve lacks a whole one."""
    return int(value) if name in WHOLE_COLUMNS and value != "nan" else float(value)


def _digits(value: float | str | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, (int, str)) else repr(float(value))


def _steps_row(row: Mapping[str, str]) -> dict[str, Any]:
    """A row of ``steps.csv``."""
    found: dict[str, Any] = {name: int(row[name]) for name in ("draw", "seed", "parts", "steps", "censored")}
    found |= {name: float(row[name]) for name in ("boundaries", "mse")}
    # Older files have no names, because only step functions existed.
    return {**found, "signal": row.get("signal", ""), "cells": int(row["cells"]) if row["cells"] else None}
