"""State, progress and remaining time of runs, from ``run.json`` and the config alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from partinr.base.errors import PartinrError
from partinr.base.version import __version__
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CONFIG, MANIFEST
from partinr.runs.sharing import sharing

STATES = ("running", "queued", "completed", "interrupted", "died", "failed", "damaged")
"""States in the order in which they are counted.

Two are added to those of ``run.json``. ``died``: ``run.json`` says ``running``, but its process is gone. ``damaged``:
``run.json`` cannot be read.
"""


@dataclass(frozen=True)
class Standing:
    """State and progress of a run.

    Attributes:
        run: the run directory.
        state: one of :data:`STATES`.
        steps: number of optimiser steps so far.
        max_steps: the run's limit of steps; None without a limit or after the end.
        seconds: training time so far.
        cpu_seconds: CPU seconds of the training so far; None for runs of older versions.
        shared: what shows that other work shared the machine, see :func:`~partinr.runs.sharing.sharing`; else None.
        max_seconds: the run's limit of training time; None likewise.
        spent: training time that counts against this limit: CPU seconds with ``clock=cpu``.
        eta: seconds until a running run ends; None if unknown. ``target_psnr`` may end it sooner.
        took: seconds from the start to now or to the end, without time that a killed process had not recorded.
        psnr: PSNR in dB at the last evaluation.
        reason: one line that says why the run is not completed.
        version: version of partinr that made the run; None if unknown.
    """

    run: RunDirectory
    state: str
    steps: int | None = None
    max_steps: int | None = None
    seconds: float | None = None
    max_seconds: float | None = None
    spent: float | None = None
    eta: float | None = None
    took: float | None = None
    psnr: float | None = None
    reason: str | None = None
    version: str | None = None
    cpu_seconds: float | None = None
    shared: str | None = None

    @property
    def of_another_version(self) -> bool:
        """Whether another version of partinr made the run."""
        return self.version is not None and self.version != __version__

    @property
    def progress(self) -> str:
        """``600/1,500 steps``, or in seconds if that limit is closer; empty before the first step."""
        if self.steps is None:
            return ""
        by_steps = self.steps / self.max_steps if self.max_steps else 0.0
        by_seconds = (self.spent or 0.0) / self.max_seconds if self.max_seconds else 0.0
        if self.max_seconds and by_seconds >= by_steps:
            return f"{self.spent or 0:,.0f}/{self.max_seconds:,.0f} s"
        return f"{self.steps:,}/{self.max_steps:,} steps" if self.max_steps else f"{self.steps:,} steps"


def standing(run: RunDirectory, now: float) -> Standing:
    """The standing of a run at a time in seconds since 1970. Damaged files are reported in it, not raised."""
    try:
        manifest = run.manifest()
        age = now - run.file(MANIFEST).stat().st_mtime
        state = manifest["status"]
        if not isinstance(state, str):
            raise PartinrError(f"{run.file(MANIFEST)} is damaged: its status is {state!r}")
        died = state == "running" and not run.alive
    except (PartinrError, OSError) as error:
        return Standing(run, "damaged", reason=str(error).replace(str(run.file(MANIFEST)), MANIFEST))
    reason = manifest.get("message") if isinstance(manifest.get("message"), str) else None
    if died:
        state, reason = "died", f"the process that wrote it is gone; its last sign was {duration(age)} ago"
    max_steps = max_seconds = None
    counted = "seconds"
    if state != "completed":
        try:
            config = run.config()
            max_steps, max_seconds = _number(config, "max_steps"), _number(config, "max_seconds")
            counted = "cpu_seconds" if config.get("clock") == "cpu" else counted
        except PartinrError as error:
            reason = reason or str(error).replace(str(run.file(CONFIG)), CONFIG)
    steps, seconds = _number(manifest, "steps"), _number(manifest, "seconds", "training")
    spent = None if max_seconds is None else _number(manifest, counted, "training")
    evaluation = _number(manifest, "seconds", "evaluation") or 0.0
    took = (_number(manifest, "seconds", "setup") or 0.0) + (seconds or 0.0) + evaluation
    eta = None
    if state == "running" and steps and seconds:
        ends = [(max_steps - steps) * seconds / steps] if max_steps is not None else []
        ends += [(max_seconds - spent) * seconds / spent] if max_seconds and spent else []
        if ends:
            # Remaining evaluations take time too, and run.json is as old as the last one.
            since = max(0.0, age)
            eta = max(0.0, min(ends) * (seconds + evaluation) / seconds - since)
            took += since
    version = manifest.get("versions")
    version = version.get("partinr") if isinstance(version, Mapping) else None
    return Standing(
        run,
        state,
        None if steps is None else int(steps),
        None if max_steps is None else int(max_steps),
        seconds,
        max_seconds,
        spent,
        eta,
        took or None,
        _number(manifest, "metrics", "psnr"),
        reason,
        version if isinstance(version, str) else None,
        _number(manifest, "cpu_seconds", "training"),
        sharing(manifest),
    )


def eta_of_all(standings: Collection[Standing]) -> float | None:
    """Estimated seconds until all running and queued runs end; None without running runs or known times.

    The estimate assumes that as many runs are executed in parallel as now, and that a queued run takes the average
    time.
    """
    running = [each for each in standings if each.state == "running"]
    queued = sum(each.state == "queued" for each in standings)
    if not running:
        return None
    whole = [each.took for each in standings if each.state == "completed" and each.took]
    whole = whole or [each.took + each.eta for each in running if each.took and each.eta is not None]
    average = sum(whole) / len(whole) if whole else None
    left = [average if each.eta is None else each.eta for each in running]
    known = [each for each in left if each is not None]
    if len(known) < len(left) or (queued and average is None):
        return None
    return max(max(known), (sum(known) + queued * (average or 0.0)) / len(running))


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``: two units at most."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    days, hours = divmod(round(minutes / 60), 24)
    first, rest = (f"{days} d", f" {hours} h") if minutes >= 24 * 60 else (f"{minutes // 60} h", f" {minutes % 60} min")
    return first if rest.split()[0] == "0" else first + rest


def _number(node: Any, *keys: str) -> float | None:
    """A number in nested mappings, or None."""
    for key in keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, (int, float)) and not isinstance(node, bool) else None
