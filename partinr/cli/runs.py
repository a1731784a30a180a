"""``partinr runs``: prints state and progress of runs."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import click
from rich.cells import cell_len, chop_cells

from partinr.base.errors import PartinrError
from partinr.base.numbers import ABSENT
from partinr.base.terminal import short, terminal
from partinr.base.text import one_line, utf8, visible
from partinr.base.version import __version__
from partinr.runs.directory import find_runs
from partinr.runs.sharing import SIGN, footnote
from partinr.runs.standing import STATES, Standing, duration, eta_of_all, standing

COLOURS = dict(zip(STATES, ("cyan", "blue", "green", "yellow", "red", "red", "red"), strict=True))

HEADINGS = ("run", "state", "progress", "ETA", "PSNR dB", "seconds", "CPU s", "")


def show_runs(paths: Sequence[Path], states: str | None = None, as_json: bool = False) -> None:
    """Print a line for each run and a summary.

    Args:
        paths: run directories, sweep directories, or folders of them.
        states: states to list, separated by commas; None for all. Sums include the others.
        as_json: print an object with ``runs``, ``counts`` and ``eta_seconds`` for scripts.

    Raises:
        PartinrError: no run is found, or a state is unknown.
    """
    wanted = [] if states is None else [state.strip() for state in states.split(",")]
    for state in wanted:
        if state not in STATES:
            raise PartinrError(f"--status={states}: there is no state {state!r}; choose from {', '.join(STATES)}")
    now = time.time()
    standings = [standing(run, now) for run in find_runs(*paths)]
    shown = [each for each in standings if not wanted or each.state in wanted]
    counted = Counter(each.state for each in standings)
    counts = {state: counted[state] for state in (*STATES, *sorted(counted.keys() - set(STATES))) if counted[state]}
    if as_json:
        content = {"runs": [_plain(each) for each in shown], "counts": counts, "eta_seconds": eta_of_all(standings)}
        click.echo(utf8(json.dumps(content, indent=2, ensure_ascii=False)).decode())
        return
    width = terminal().width
    root = paths[0] if len(paths) == 1 else None
    for line in _table(shown, root, width):
        click.echo(line)
    many = f"{len(standings):,} run{'s' if len(standings) != 1 else ''}"
    said = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    click.echo(("\n" if shown else "") + f"{many}: {said}")
    if note := footnote([(_name(each, root), each.shared) for each in standings]):
        click.echo("\n".join(wrap(note, width)))
    for line in _hints(standings, counts, width):
        click.echo(line)


def shortened(text: str, width: int) -> str:
    """A text of at most ``width`` columns. A longer text loses its middle, since names differ at their ends."""
    if cell_len(text) <= width:
        return text
    head = chop_cells(text, (width - 1) // 2)[0]
    tail = chop_cells(text[::-1], width - 1 - cell_len(head))[0][::-1]
    return f"{head}…{tail}"


def _table(standings: Sequence[Standing], root: Path | None, width: int) -> list[str]:
    """A heading and one line per run, with reasons below unsuccessful runs. No line is wider than ``width``."""
    if not standings:
        return []
    marked = any(each.shared for each in standings)
    rows = [
        (
            _name(each, root),
            each.state,
            each.progress,
            "" if each.eta is None else duration(each.eta) if each.eta >= 1 else "soon",
            "" if each.psnr is None else f"{each.psnr:.2f}",
            *_seconds(each, marked),
            f"by {each.version}" if each.of_another_version else "",
        )
        for each in standings
    ]
    name, *others = (max(map(cell_len, column)) for column in zip(HEADINGS, *rows, strict=True))
    widths = [min(name, max(12, width - sum(each + 2 for each in others if each))), *others]
    lines = [click.style(_line(HEADINGS, widths), bold=True)]
    for each, row in zip(standings, rows, strict=True):
        lines.append(_line((shortened(row[0], widths[0]), *row[1:]), widths, COLOURS.get(each.state)))
        if each.reason is not None:
            reason = f"    {one_line(each.reason)}"
            lines.append(reason if cell_len(reason) <= width else f"{chop_cells(reason, width - 1)[0]}…")
    return lines


def _seconds(each: Standing, marked: bool) -> tuple[str, str]:
    """Wall and CPU seconds of the training; empty before it begins. ``marked``: leave room for the sign of others."""
    if each.seconds is None:
        return "", ""
    cpu = ABSENT if each.cpu_seconds is None else f"{each.cpu_seconds:,.1f}"
    return f"{each.seconds:,.1f}{SIGN if each.shared else ' ' * marked}", cpu


def _line(cells: Sequence[str], widths: Sequence[int], colour: str | None = None) -> str:
    """A row with a coloured state and right-aligned numbers."""
    parts = []
    for heading, cell, width in zip(HEADINGS, cells, widths, strict=True):
        space = " " * (width - cell_len(cell))
        styled = click.style(cell, fg=colour) if heading == "state" and colour else cell
        if width:
            parts.append(space + styled if heading in HEADINGS[2:7] else styled + space)
    return "  ".join(parts).rstrip()


def _name(each: Standing, root: Path | None) -> str:
    """The path of a run, relative to the given folder or the working directory."""
    if root is None:
        return short(each.run.path)
    below = str(each.run.path.relative_to(root))
    return visible(each.run.path.resolve().name if below == "." else below)


def _hints(standings: Collection[Standing], counts: dict[str, int], width: int) -> Iterator[str]:
    """Hints, one line each."""
    if (eta := eta_of_all(standings)) is not None:
        yield f"the last is done in about {duration(eta)}"
    elif counts.get("queued") and not counts.get("running"):
        yield "nothing is running now"
    if other := sum(each.of_another_version for each in standings):
        yield f"by another version of partinr than this one ({__version__}): {other}"
    stopped = next((each for each in standings if each.state in ("died", "interrupted")), None)
    if stopped is not None:
        hint = "continue one that died or was interrupted: partinr resume "
        path = short(stopped.run.path)
        yield hint + (path if cell_len(hint + path) <= width else "RUN_DIR")


def _plain(each: Standing) -> dict[str, Any]:
    return {
        "path": str(each.run.path),
        "status": each.state,
        "steps": each.steps,
        "max_steps": each.max_steps,
        "seconds": each.seconds,
        "cpu_seconds": each.cpu_seconds,
        "shared": each.shared,
        "max_seconds": each.max_seconds,
        "eta_seconds": each.eta,
        "psnr": each.psnr,
        "reason": each.reason,
        "version": each.version,
        "another_version": each.of_another_version,
    }
