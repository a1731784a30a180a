"""Run directories as the report sees them. A damaged directory does not hide the others."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from partinr.base.errors import PartinrError
from partinr.base.section import lookup
from partinr.base.text import seen, visible
from partinr.runs.directory import RunDirectory, find_runs
from partinr.runs.layout import CONFIG, CURVE, CURVE_COLUMNS, MANIFEST, NEW_COLUMNS, OVERRIDES, RATE, Status, crossing
from partinr.runs.regime_facts import RegimeFacts
from partinr.runs.sharing import sharing
from partinr.runs.subject import Subject

State = Status | Literal["queued", "damaged"]
"""A ``queued`` run waits for its turn in a sweep: it has no curve and no metrics."""

Axis = Literal["step", "seconds", "cpu_seconds", "macs"]
"""The horizontal axis of a curve: a column of ``curve.csv``."""

Curve = dict[str, list[float]]
"""The columns of a curve, all of one length."""

_CURVE_ENDS = {
    "seconds.training": "seconds",
    "cpu_seconds.training": "cpu_seconds",
    "steps": "step",
}
"""Numbers of ``run.json`` that the last value of a curve's column can replace, beside the metrics."""

RATED_IMAGES = 48
"""With more images than this in a run, the rates of single images are not read, since the report does not draw them."""


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One run directory, read into memory.

    A ``damaged`` record holds what could be read before the damage and a message that names the file.
    """

    path: Path
    status: State
    message: str | None = None
    """One line that says why a run did not complete; None for a completed run."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    overrides: Sequence[str] = ()
    curve: Curve = field(default_factory=lambda: {name: [] for name in CURVE_COLUMNS})
    """The columns of ``curve.csv``: :data:`~partinr.runs.layout.CURVE_COLUMNS`, and those of the regime."""
    rates: Sequence[Mapping[str, Any]] = ()
    """Rows of ``rate.csv`` (:data:`partinr.runs.layout.RATE_COLUMNS`); none if the weights have changed since."""
    image_rates: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    """The same rows for each of several images, by name; empty if one was not measured, or there are too many."""

    @property
    def name(self) -> str:
        """The name of the run, else of its folder."""
        return str(self.manifest.get("name") or self.path.resolve().name)

    @property
    def is_picture(self) -> bool:
        """Whether the pictures of the run hold its signal, so that an error can be drawn from them."""
        return self.at("signal.picture") is not False

    @cached_property
    def subject(self) -> Subject:
        """What the run says of its kind of signal."""
        return Subject.of(self.manifest)

    @property
    def titled(self) -> str:
        """Name and seed."""
        return f"{self.name}, seed {self.seed}"

    @property
    def seed(self) -> int | None:
        """The seed; None if neither ``run.json`` nor the config has one."""
        seed = self.manifest.get("seed", self.config.get("seed"))
        return seed if isinstance(seed, int) else None

    @cached_property
    def regime(self) -> RegimeFacts:
        """The facts of the run's regime."""
        return RegimeFacts.of(self.manifest, self.config)

    def at(self, path: str) -> Any:
        """The value at a path (see :func:`partinr.base.section.lookup`), or None.

        The end of the curve replaces numbers that ``run.json`` lacks. A running run has not written them all, and JSON
        has no form for the infinite PSNR of an exact fit.
        """
        found = lookup(path, self.manifest, self.config)
        group, _, key = path.partition(".")
        column = _CURVE_ENDS.get(path, key if group == "metrics" else "")
        return self.last(column) if found is None and column in self.curve else found

    def number(self, path: str) -> float | None:
        """A number, as in ``number("metrics.psnr")``, or None."""
        value = self.at(path)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def numbers(self, path: str) -> list[float]:
        """A list of numbers, with NaN for other values; empty if there is no list."""
        found = self.at(path)
        values = found if isinstance(found, list) else []
        return [float(value) if isinstance(value, (int, float)) else math.nan for value in values]

    @cached_property
    def shared(self) -> str | None:
        """What shows that other work took part of the machine (:mod:`partinr.runs.sharing`); None if nothing does."""
        return sharing(self.manifest)

    @property
    def timed(self) -> bool:
        """Whether the CPU seconds of the training are known."""
        return bool(self.last("cpu_seconds"))

    @property
    def images(self) -> Mapping[str, Mapping[str, Any]]:
        """The entries of ``run.json`` for each image of a run with several, by name; else empty."""
        found = self.manifest.get("images")
        return found if isinstance(found, Mapping) and all(isinstance(of, Mapping) for of in found.values()) else {}

    @property
    def regions(self) -> int | None:
        """Number of regions of the image; for several images, the largest. None if unknown."""
        counts = [count for of in self.images.values() if isinstance(count := of.get("regions"), int)]
        number = self.number("regions")
        return max(counts) if counts else None if number is None else int(number)

    def final(self, metric: str) -> float | None:
        """``metric`` at the end of training, such as ``psnr``."""
        return self.number(f"metrics.{metric}")

    def last(self, column: str) -> float | None:
        """The last value of a column of the curve that is a number (it may be infinite)."""
        return next((value for value in reversed(self.curve.get(column, ())) if not math.isnan(value)), None)

    def reaches(self, level: float, axis: Axis, metric: str = "psnr") -> float | None:
        """Where the curve first reaches a ``level`` of a metric, in units of ``axis``; None if it does not."""
        values = self.curve.get(metric)
        return None if values is None else crossing(self.curve[axis], values, level)

    def steps_to(self, level: float) -> float | None:
        """Optimiser steps to ``level`` dB; see :meth:`reaches`."""
        return self.reaches(level, "step")


def collect(paths: Iterable[str | Path]) -> list[RunRecord]:
    """Read every run at or below ``paths``.

    Args:
        paths: run directories, sweep directories, or folders of them.

    Returns:
        one record per run, in the order of the paths. Incomplete and damaged runs are included, with their ``status``
        and a ``message``.

    Raises:
        PartinrError: a path does not exist, or no run is found.
    """
    return Reader().read(paths)


class Reader:
    """Reads runs repeatedly. Reads a run again only if one of its files changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[_Print, RunRecord]] = {}

    def read(self, paths: Iterable[str | Path]) -> list[RunRecord]:
        """Like :func:`collect`, but an unchanged run is the same object as in the last call."""
        records = []
        known = {}
        for run in find_runs(*paths):
            # Taken before reading, so that the next call notices writes in the meantime.
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
    """A value that changes when a file that :func:`_read` reads is replaced; None stands for a missing file."""
    found: list[tuple[int, int, int] | None] = []
    for name in (MANIFEST, CURVE, CONFIG, OVERRIDES, RATE):
        try:
            stat = os.stat(run.file(name))
            found.append((stat.st_mtime_ns, stat.st_size, stat.st_ino))
        except OSError:
            found.append(None)
    return tuple(found)


def _read(run: RunDirectory) -> RunRecord:
    """The record of a run. An unreadable file makes it ``damaged``; it keeps what could be read."""
    parts: dict[str, Any] = {}
    try:
        manifest = run.manifest()
        parts["manifest"] = seen(manifest)
        status = manifest["status"]
        if status != "queued" or run.file(CONFIG).is_file():
            parts["config"] = seen(run.config())
        parts["overrides"] = [str(override) for override in run.overrides()]
        parts["curve"] = _columns(run)
        if status not in _STATES:
            raise PartinrError(f"{run.path} has the unknown status {status!r}; was it edited by hand?")
        if status == "running" and not run.alive:
            return RunRecord(run.path, "interrupted", _KILLED, **parts)
        # rate.csv can be made again, so a bad one does not make the run damaged.
        with suppress(PartinrError):
            parts["rates"] = _rates(run, manifest, None)
            parts["image_rates"] = _image_rates(run, manifest) if parts["rates"] else {}
    except PartinrError as error:
        return RunRecord(run.path, "damaged", _line(error), **parts)
    message = manifest.get("message")
    return RunRecord(run.path, status, _line(message) if message else _SILENT.get(status), **parts)


_STATES = ("queued", *get_args(Status))
_KILLED = "its process is gone; partinr resume continues it"
_SILENT = {
    "queued": "waits for its turn",
    "running": "not finished: it is still running",
    "failed": "ended with an error that left no message",
    "interrupted": "was stopped before its end",
}
"""Messages for incomplete runs that left none."""


def _columns(run: RunDirectory) -> Curve:
    rows = run.curve()
    missing = [name for name in CURVE_COLUMNS if rows and name not in rows[0] and name not in NEW_COLUMNS]
    if missing:
        raise PartinrError(f"cannot read {run.path}: its curve has no column {missing[0]}")
    names = dict.fromkeys((*CURVE_COLUMNS, *(rows[0] if rows else ())))
    return {name: [float(row.get(name, math.nan)) for row in rows] for name in names}


def _rates(run: RunDirectory, manifest: Mapping[str, Any], image: str | None) -> list[dict[str, Any]]:
    """Rows of ``rate.csv`` that belong to the current weights."""
    return [row for row in run.rate(image) if row["step"] == manifest.get("steps")]


def _image_rates(run: RunDirectory, manifest: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    images = run.images()
    if len(images) > RATED_IMAGES:
        return {}
    found = {name: _rates(run, manifest, name) for name in images}
    return found if all(found.values()) else {}


def _line(message: object) -> str:
    return visible(" ".join(str(message).split()))
