"""Run directories as the report sees them: each is read whole, and none is lost because another is damaged."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from partinr.base.errors import PartinrError
from partinr.runs.directory import (
    CONFIG,
    CURVE,
    CURVE_COLUMNS,
    MANIFEST,
    OVERRIDES,
    RATE,
    Learned,
    RunDirectory,
    Status,
    crossing,
    find_runs,
    learned_by,
)

State = Status | Literal["queued", "damaged"]
"""A ``queued`` run waits for its turn in a sweep: it has no curve and no metrics."""

Axis = Literal["step", "seconds", "macs"]
"""What a curve may be drawn against: a column of ``curve.csv``."""

Curve = dict[str, NDArray[np.float64]]

RATED_IMAGES = 48
"""Of more images than these in a run, bits and PSNR of each are not read: the report does not draw so many lines."""


@dataclass(frozen=True, eq=False)
class RunRecord:
    """What one run directory says, in memory.

    A ``damaged`` record holds what could be read before the damage and a message that names the file.
    """

    path: Path
    status: State
    message: str | None = None
    """One line: why a run did not complete; None for a completed one."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    curve: Curve = field(default_factory=lambda: {name: np.empty(0) for name in CURVE_COLUMNS})
    rates: Sequence[Mapping[str, Any]] = ()
    """Rows of ``rate.csv``, see :data:`RATE_COLUMNS`; none if the weights have changed since then."""
    image_rates: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """The same of each of several images, by its name; empty where one has not been measured, or of very many."""

    @property
    def name(self) -> str:
        """The run's own name, else that of its folder."""
        return str(self.manifest.get("name") or self.path.resolve().name)

    @property
    def seed(self) -> int | None:
        """The seed, None if neither the manifest nor the config has one."""
        seed = self.manifest.get("seed", self.config.get("seed"))
        return seed if isinstance(seed, int) else None

    def number(self, *keys: str) -> float | None:
        """A number of the manifest, as ``number("metrics", "psnr")``; None where there is none."""
        value: Any = self.manifest
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    @property
    def learns(self) -> Learned:
        """What the run learned. The PSNR of a run that learned an initialisation is that of signals it had not seen."""
        return learned_by(self.config)

    @property
    def inner_steps(self) -> int | None:
        """K, the inner steps of a run that learned an initialisation; None for others."""
        regime = self.config.get("regime")
        steps = regime.get("inner_steps") if isinstance(regime, Mapping) else None
        return steps if isinstance(steps, int) else None

    @property
    def psnr_by_inner_step(self) -> list[float]:
        """PSNR [dB] at the end of training after 0, 1, … inner steps, NaN where it is unknown; empty for other runs."""
        found = self.manifest.get("psnr_by_inner_step")
        values = found if isinstance(found, list) else []
        return [float(value) if isinstance(value, (int, float)) else math.nan for value in values]

    def psnr_after(self, inner_steps: int) -> float | None:
        """PSNR at the end of training after so many inner steps; None if they were not looked at."""
        found = self.psnr_by_inner_step
        return found[inner_steps] if inner_steps < len(found) else None

    @property
    def images(self) -> Mapping[str, Mapping[str, Any]]:
        """Of a run that fitted several images, what is known of each, by its name; else empty."""
        found = self.manifest.get("images")
        return found if isinstance(found, Mapping) and all(isinstance(of, Mapping) for of in found.values()) else {}

    @property
    def regions(self) -> int | None:
        """Regions of the image; where there are several, of the one that has most. None if unknown."""
        counts = [count for of in self.images.values() if isinstance(count := of.get("regions"), int)]
        number = self.number("regions")
        return max(counts) if counts else None if number is None else int(number)

    def final(self, metric: Literal["psnr", "ssim"]) -> float | None:
        """``metric`` at the end of training: the manifest's, else the curve's last.

        JSON has no word for infinity, so the infinite PSNR of an image met exactly comes from the curve.
        """
        value = self.number("metrics", metric)
        return value if value is not None else self.last(metric)

    def last(self, column: str) -> float | None:
        """The last value of a column of the curve that is a number (it may be infinite)."""
        values = self.curve[column][~np.isnan(self.curve[column])]
        return float(values[-1]) if values.size else None

    def reaches(self, level: float, axis: Axis) -> float | None:
        """Where the curve first reaches ``level`` dB, in units of ``axis``; see :func:`crossing`."""
        return crossing(self.curve[axis].tolist(), self.curve["psnr"].tolist(), level)

    def steps_to(self, level: float) -> float | None:
        """Optimiser steps to ``level`` dB; see :meth:`reaches`."""
        return self.reaches(level, "step")

    def seconds_to(self, level: float) -> float | None:
        """Seconds of training (evaluation not counted) to ``level`` dB; see :meth:`reaches`."""
        return self.reaches(level, "seconds")


def collect(paths: Iterable[str | Path]) -> list[RunRecord]:
    """Read every run at or below ``paths``.

    Args:
        paths: run directories, sweep directories, or folders of them.

    Returns:
        A record a run, in the order of the paths. Runs that have not completed, or whose files are damaged, are among
        them with their ``status`` and a ``message``.

    Raises:
        PartinrError: a path does not exist, or there is no run at all.
    """
    return Reader().read(paths)


class Reader:
    """Reads runs again and again. A run whose files are as they were is not read again."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[_Print, RunRecord]] = {}

    def read(self, paths: Iterable[str | Path]) -> list[RunRecord]:
        """As :func:`collect`. A run that has not changed since the last call is the same object as then."""
        records = []
        known = {}
        for run in find_runs(*paths):
            # Before it is read: what is written meanwhile is then seen the next time.
            now = _print_of(run)
            before, record = self._known.get(run.path, (None, None))
            if record is None or before != now or (record.status == "running" and not run.alive):
                record = _read(run)
            known[run.path] = (now, record)
            records.append(record)
        self._known = known
        return records


_Print = tuple[tuple[int, int, int] | None, ...]


def _print_of(run: RunDirectory) -> _Print:
    """What changes when one of the files that :func:`_read` reads is replaced; None for one that is not there."""
    found: list[tuple[int, int, int] | None] = []
    for name in (MANIFEST, CURVE, CONFIG, OVERRIDES, RATE):
        try:
            stat = os.stat(run.file(name))
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            found.append(None)
    return tuple(found)


def _read(run: RunDirectory) -> RunRecord:
    """One record; what cannot be read makes it ``damaged``, and what could be read stays in it."""
    parts: dict[str, Any] = {}
    try:
        parts["manifest"] = manifest = run.manifest()
        status = manifest["status"]
        if status != "queued" or run.file(CONFIG).is_file():
            parts["config"] = run.config()
        parts["overrides"] = [str(override) for override in run.overrides()]
        parts["curve"] = _columns(run)
        if status not in _STATES:
            raise PartinrError(f"{run.path} has the unknown status {status!r}; was it edited by hand?")
        if status == "running" and not run.alive:
            return RunRecord(run.path, "interrupted", _KILLED, **parts)
        # It can be made again at any time: a run is not damaged by it.
        with suppress(PartinrError):
            parts["rates"] = _rates(run, manifest, None)
            parts["image_rates"] = _image_rates(run, manifest) if parts["rates"] else {}
    except PartinrError as error:
        return RunRecord(run.path, "damaged", _line(error), **parts)
    message = manifest.get("message")
    return RunRecord(run.path, status, _line(message) if message else _SILENT.get(status), **parts)


_STATES = ("queued", *get_args(Status))
_KILLED = "its process is gone; partinr resume goes on with it"
_SILENT = {
    "queued": "waits for its turn",
    "running": "not finished: it is still running",
    "failed": "ended with an error that left no message",
    "interrupted": "was stopped before its end",
}
"""What is said of a run that did not complete and left no message."""


def _columns(run: RunDirectory) -> Curve:
    rows = run.curve()
    missing = [name for name in CURVE_COLUMNS if rows and name not in rows[0]]
    if missing:
        raise PartinrError(f"cannot read {run.path}: its curve has no column {missing[0]}")
    return {name: np.array([row[name] for row in rows], dtype=np.float64) for name in CURVE_COLUMNS}


def _rates(run: RunDirectory, manifest: Mapping[str, Any], image: str | None) -> list[dict[str, Any]]:
    """Rows of ``rate.csv`` of the weights that are there now."""
    return [row for row in run.rate(image) if row["step"] == manifest.get("steps")]


def _image_rates(run: RunDirectory, manifest: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    images = run.images()
    if len(images) > RATED_IMAGES:
        return {}
    found = {name: _rates(run, manifest, name) for name in images}
    return found if all(found.values()) else {}


def _line(message: object) -> str:
    return " ".join(str(message).split())
