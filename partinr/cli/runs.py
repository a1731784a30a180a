"""``partinr runs``: how the runs of a sweep stand. Reads ``run.json`` alone and imports no torch."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.cells import cell_len, chop_cells

from partinr.base.errors import PartinrError
from partinr.base.terminal import short, terminal
from partinr.base.version import __version__
from partinr.runs.directory import RunDirectory, find_runs
from partinr.runs.layout import CONFIG, MANIFEST

STATES = {
    "running": "cyan",
    "queued": "blue",
    "completed": "green",
    "interrupted": "yellow",
    "died": "red",
    "failed": "red",
    "damaged": "red",
}
"""States in the order in which they are counted, and their colours.

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
        max_steps: after which it ends; None if it has no such end, or is over.
        seconds: of training so far.
        max_seconds: likewise.
        eta: seconds until it ends, of a running one; None if unknown. ``target_psnr`` may end it sooner.
        took: seconds from its start to now or its end, without what a killed process had not written down.
        psnr: in dB, at its last evaluation.
        reason: why it is not completed, in one line.
        version: of partinr, that made it; None if unknown.
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
        """``600/1,500 steps``; in seconds where that end is the nearer one; empty before the first step."""
        if self.steps is None:
            return ""
        by_steps = self.steps / self.max_steps if self.max_steps else 0.0
        by_seconds = (self.seconds or 0.0) / self.max_seconds if self.max_seconds else 0.0
        if self.max_seconds and by_seconds >= by_steps:
            return f"{self.seconds or 0:,.0f}/{self.max_seconds:,.0f} s"
        return f"{self.steps:,}/{self.max_steps:,} steps" if self.max_steps else f"{self.steps:,} steps"


def show_runs(paths: Sequence[Path], states: str | None = None, as_json: bool = False) -> None:
    """Print how runs stand, a line each and one for all of them.

    Args:
        paths: run directories, sweep directories, or folders of them.
        states: which to list, comma by comma; None for all. What is said of all of them counts the others too.
        as_json: for a script: an object with ``runs``, ``counts`` and ``eta_seconds``.

    Raises:
        PartinrError: there is no run, or no such state.
    """
    wanted = _wanted(states)
    now = time.time()
    standings = [standing(run, now) for run in find_runs(*paths)]
    shown = [each for each in standings if each.state in wanted] if wanted else standings
    if as_json:
        click.echo(json.dumps(_as_json(standings, shown), indent=2, ensure_ascii=False))
        return
    root = paths[0] if len(paths) == 1 else None
    width = terminal().width
    for line in _table(shown, root, width):
        click.echo(line)
    click.echo(("\n" if shown else "") + _summary(standings))
    for line in _hints(standings, width):
        click.echo(line)


def standing(run: RunDirectory, now: float) -> Standing:
    """How a run stands at a time, in seconds since 1970. What is damaged of it is said and never raised."""
    try:
        manifest = run.manifest()
        written = run.file(MANIFEST).stat().st_mtime
        state = manifest["status"]
        if not isinstance(state, str):
            raise PartinrError(f"{run.file(MANIFEST)} is damaged: its status is {state!r}")
        died = state == "running" and not run.alive
    except (PartinrError, OSError) as error:
        return Standing(run, "damaged", reason=str(error).replace(str(run.file(MANIFEST)), MANIFEST))
    message = manifest.get("message")
    reason = message if isinstance(message, str) else None
    if died:
        state, reason = "died", f"the process that wrote it is gone; its last sign was {duration(now - written)} ago"
    steps, seconds = _number(manifest, "steps"), _number(manifest, "seconds", "training")
    clocks = [_number(manifest, "seconds", name) for name in ("setup", "training", "evaluation")]
    max_steps = max_seconds = eta = None
    if state != "completed":
        try:
            config = run.config()
            max_steps, max_seconds = _number(config, "max_steps"), _number(config, "max_seconds")
        except PartinrError as error:
            reason = reason or str(error).replace(str(run.file(CONFIG)), CONFIG)
    took = sum(clock or 0.0 for clock in clocks)
    if state == "running" and steps and seconds:
        # Evaluations take their time as well, and go on taking it.
        stretch = (seconds + (clocks[2] or 0.0)) / seconds
        ends = [(max_steps - steps) * seconds / steps] if max_steps is not None else []
        ends += [max_seconds - seconds] if max_seconds is not None else []
        if ends:
            # run.json is as old as the last evaluation.
            since = max(0.0, now - written)
            eta = max(0.0, min(ends) * stretch - since)
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
    """Seconds until the last of the runs that are running or queued ends; None if there is none, or nothing to go by.

    As many as are running now are taken to run at a time, and a queued one to take as long as the others on average.
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
    """``40 s``, ``12 min``, ``3 h 20 min``, ``2 d 4 h``: two words at most."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        hours, rest = divmod(minutes, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, rest = divmod(round(minutes / 60), 24)
    return f"{days} d {rest} h" if rest else f"{days} d"


def shortened(text: str, width: int) -> str:
    """A text of at most so many columns; of a longer one the middle is left out, since names differ at their ends."""
    if cell_len(text) <= width:
        return text
    head = chop_cells(text, (width - 1) // 2)[0]
    tail = chop_cells(text[::-1], width - 1 - cell_len(head))[0][::-1]
    return f"{head}…{tail}"


def _wanted(states: str | None) -> list[str]:
    wanted = [] if states is None else [state.strip() for state in states.split(",")]
    for state in wanted:
        if state not in STATES:
            raise PartinrError(f"--status={states}: there is no state {state!r}; choose from {', '.join(STATES)}")
    return wanted


def _table(standings: Sequence[Standing], root: Path | None, width: int) -> list[str]:
    """A heading and a line a run; under those that are not well the reason. No line is wider than ``width``."""
    if not standings:
        return []
    rows = [
        (
            _name(each, root),
            each.state,
            each.progress,
            "" if each.eta is None else duration(each.eta) if each.eta >= 1 else "soon",
            "" if each.psnr is None else f"{each.psnr:.2f}",
            f"by {each.version}" if each.of_another_version else "",
        )
        for each in standings
    ]
    headings = ("run", "state", "progress", "ETA", "PSNR dB", "")
    widths = [max(map(cell_len, column)) for column in zip(headings, *rows, strict=True)]
    rest = sum(each + 2 for each in widths[1:] if each)
    widths[0] = min(widths[0], max(12, width - rest))
    lines = [click.style(_line(headings, widths, None), bold=True)]
    for each, row in zip(standings, rows, strict=True):
        lines.append(_line((shortened(row[0], widths[0]), *row[1:]), widths, STATES.get(each.state)))
        if each.reason is not None:
            reason = f"    {' '.join(each.reason.split())}"
            lines.append(reason if cell_len(reason) <= width else f"{chop_cells(reason, width - 1)[0]}…")
    return lines


def _line(cells: Sequence[str], widths: Sequence[int], colour: str | None) -> str:
    parts = []
    for column, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        if width:
            space = " " * (width - cell_len(cell))
            styled = click.style(cell, fg=colour) if column == 1 and colour else cell
            parts.append(space + styled if column in (2, 3, 4) else styled + space)
    return "  ".join(parts).rstrip()


def _name(each: Standing, root: Path | None) -> str:
    """Where a run is, as seen from the one folder that was given, or from here."""
    if root is None:
        return short(each.run.path)
    below = str(each.run.path.relative_to(root))
    return each.run.path.resolve().name if below == "." else below


def _counts(standings: Collection[Standing]) -> dict[str, int]:
    counted = Counter(each.state for each in standings)
    return {state: counted[state] for state in (*STATES, *sorted(counted.keys() - STATES)) if counted[state]}


def _summary(standings: Collection[Standing]) -> str:
    """``60 runs: 4 running, 56 completed``."""
    many = f"{len(standings):,} run{'s' if len(standings) != 1 else ''}"
    return f"{many}: {', '.join(f'{count:,} {state}' for state, count in _counts(standings).items())}"


def _hints(standings: Sequence[Standing], width: int) -> Iterator[str]:
    """What else to know, a line each."""
    counts = _counts(standings)
    if (eta := eta_of_all(standings)) is not None:
        yield f"the last is done in about {duration(eta)}"
    elif counts.get("queued") and not counts.get("running"):
        yield "nothing is running now"
    if other := sum(each.of_another_version for each in standings):
        yield f"by another version of partinr than this one ({__version__}): {other}"
    stopped = next((each for each in standings if each.state in ("died", "interrupted")), None)
    if stopped is not None:
        hint = "go on with one that died or was interrupted: partinr resume "
        path = short(stopped.run.path)
        yield hint + (path if cell_len(hint + path) <= width else "RUN_DIR")


def _as_json(standings: Sequence[Standing], shown: Sequence[Standing]) -> dict[str, Any]:
    return {
        "runs": [
            {
                "path": str(each.run.path),
                "status": each.state,
                "steps": each.steps,
                "max_steps": each.max_steps,
                "seconds": each.seconds,
                "max_seconds": each.max_seconds,
                "eta_seconds": each.eta,
                "psnr": each.psnr,
                "reason": each.reason,
                "version": each.version,
                "another_version": each.of_another_version,
            }
            for each in shown
        ],
        "counts": _counts(standings),
        "eta_seconds": eta_of_all(standings),
    }


def _number(node: Any, *keys: str) -> float | None:
    """A number in nested mappings; None where there is none."""
    for key in keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node if isinstance(node, (int, float)) and not isinstance(node, bool) else None
