"""How runs stand: their state, progress and time to go, by ``run.json`` and the config alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from partinr.base.errors import PartinrError
from partinr.base.version import __version__
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CONFIG, MANIFEST

STATES = ("running", "queued", "completed", "interrupted", "died", "failed", "damaged")
"""States in the order in which they are counted.

They are those of ``run.json``, and ``died``: it says that it is running, but the process that wrote it is gone; and
``damaged``: its ``run.json`` cannot be read.
"""


@dataclass(frozen=True)
class Standing:
    """How one run stands.

    Attributes:
        run: its directory.
        state: one of :data:`STATES`.
        steps: optimiser steps done.
        max_steps: the run ends after these; None if it has no such end, or is over.
        seconds: of training so far.
        max_seconds: likewise.
        eta: seconds until a running run ends; None if unknown. ``target_psnr`` may end it sooner.
        took: seconds from its start to now or its end, without what a killed process had not written down.
        psnr: in dB, at its last evaluation.
        reason: why it is not completed, in one line.
        version: of the partinr that made it; None if unknown.
    """

    run: RunDirectory
    state: str
    steps: int | None = None
    max_steps: int | None = None
    seconds: float | None = None
    max_seconds: float | None = None
    eta: float | None = None
    took: float | None = None
    psnr: float | None = None
    reason: str | None = None
    version: str | None = None

    @property
    def of_another_version(self) -> bool:
        """Whether another version of partinr made it."""
        return self.version is not None and self.version != __version__

    @property
    def progress(self) -> str:
        """``600/1,500 steps``; in seconds where that end is nearer; empty before the first step."""
        if self.steps is None:
            return ""
        by_steps = self.steps / self.max_steps if self.max_steps else 0.0
        by_seconds = (self.seconds or 0.0) / self.max_seconds if self.max_seconds else 0.0
        if self.max_seconds and by_seconds >= by_steps:
            return f"{self.seconds or 0:,.0f}/{self.max_seconds:,.0f} s"
        return f"{self.steps:,}/{self.max_steps:,} steps" if self.max_steps else f"{self.steps:,} steps"


def standing(run: RunDirectory, now: float) -> Standing:
    """How a run stands at a time, in seconds since 1970. Damaged files are reported in it; nothing is raised."""
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
    if state != "completed":
        try:
            config = run.config()
            max_steps, max_seconds = _number(config, "max_steps"), _number(config, "max_seconds")
        except PartinrError as error:
            reason = reason or str(error).replace(str(run.file(CONFIG)), CONFIG)
    steps, seconds = _number(manifest, "steps"), _number(manifest, "seconds", "training")
    evaluation = _number(manifest, "seconds", "evaluation") or 0.0
    took = (_number(manifest, "seconds", "setup") or 0.0) + (seconds or 0.0) + evaluation
    eta = None
    if state == "running" and steps and seconds:
        ends = [(max_steps - steps) * seconds / steps] if max_steps is not None else []
        ends += [max_seconds - seconds] if max_seconds is not None else []
        if ends:
            # Evaluations take their share of the time to go as well, and run.json is as old as the last one.
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
        eta,
        took or None,
        _number(manifest, "metrics", "psnr"),
        reason,
        version if isinstance(version, str) else None,
    )


def eta_of_all(standings: Collection[Standing]) -> float | None:
    """Seconds until the last of the running and queued runs ends; None if there is none, or nothing to go by.

    It assumes that as many runs go on at a time as now, and that a queued run takes as long as the others on average.
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
    """A number in nested mappings; None where there is none."""
    for key in keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, (int, float)) and not isinstance(node, bool) else None
