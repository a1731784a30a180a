"""``partinr runs``: prints settings, state and progress of runs."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
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
from partinr.runs.listing import Column, Listed, chosen, columns, in_order
from partinr.runs.sharing import SIGN, footnote
from partinr.runs.standing import STATES, Standing, duration, eta_of_all
from partinr.runs.words import folders_of_outputs

COLOURS = dict(zip(STATES, ("cyan", "blue", "green", "yellow", "red", "red", "red"), strict=True))

LEAST = 24
"""Least width of the column of names. Where settings leave less, each run has them in a line of its own."""

NARROWEST = 12
"""Least width of a name that is cut."""


def show_runs(
    paths: Sequence[Path],
    states: str | None = None,
    as_json: bool = False,
    *,
    conditions: Sequence[str] = (),
    order: str | None = None,
) -> None:
    """Print a line for each run and a summary.

    Args:
        paths: run directories, sweep directories, or folders of them; none for those below ``outputs``.
        states: states to list, separated by commas; None for all. Sums include the others.
        as_json: print an object with ``runs``, ``counts`` and ``eta_seconds`` for scripts.
        conditions: list only runs that meet these, see :func:`~partinr.runs.listing.chosen`. Sums include the others.
        order: key to sort by, see :func:`~partinr.runs.listing.in_order`; None for the order of the paths.

    Raises:
        PartinrError: no run is found, or a state, condition or key is unknown.
    """
    wanted = [] if states is None else [state.strip() for state in states.split(",")]
    for state in wanted:
        if state not in STATES:
            raise PartinrError(f"--status={states}: there is no state {state!r}; choose from {', '.join(STATES)}")
    now = time.time()
    paths = paths or default_roots()
    runs = [Listed.of(run, now) for run in find_runs(*paths)]
    standings = [each.standing for each in runs]
    shown = [each for each in chosen(runs, conditions) if not wanted or each.standing.state in wanted]
    shown = in_order(shown, order) if order and shown else shown
    counted = Counter(each.state for each in standings)
    counts = {state: counted[state] for state in (*STATES, *sorted(counted.keys() - set(STATES))) if counted[state]}
    settings = columns(shown)
    if as_json:
        listed = [
            {**_plain(each.standing), "settings": {column.key: column.of[row] for column in settings}}
            for row, each in enumerate(shown)
        ]
        content = {"runs": listed, "counts": counts, "eta_seconds": eta_of_all(standings)}
        click.echo(utf8(json.dumps(content, indent=2, ensure_ascii=False)).decode())
        return
    width = terminal().width
    root = paths[0] if len(paths) == 1 else None
    for line in _table([each.standing for each in shown], settings, root, width):
        click.echo(line)
    many = f"{len(standings):,} run{'s' if len(standings) != 1 else ''}"
    said = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    click.echo(("\n" if shown else "") + f"{many}: {said}")
    if note := footnote([(_name(each, root), each.shared) for each in standings]):
        click.echo("\n".join(wrap(note, width, break_on_hyphens=False)))
    for line in _hints(standings, counts, width):
        click.echo(line)


def default_roots() -> list[Path]:
    """Where runs are searched without a path: below ``outputs``, or here if there is no such folder."""
    return [each for each in folders_of_outputs() if each.is_dir()] or [Path()]


def shortened(text: str, width: int) -> str:
    """A text of at most ``width`` columns. A longer text loses its middle, since names differ at their ends."""
    if cell_len(text) <= width:
        return text
    head = chop_cells(text, (width - 1) // 2)[0]
    tail = chop_cells(text[::-1], width - 1 - cell_len(head))[0][::-1]
    return f"{head}…{tail}"


def told_apart(names: Sequence[str], width: int) -> list[str]:
    """Names of at most ``width`` columns, or as few as keep them distinct.

    Folders are left out first, then what all names share, then the middle, but only where the rest tells them apart.
    """
    count = len(set(names))
    own = [name.rpartition("/")[2] for name in names]
    own = own if len(set(own)) == count else list(names)
    split = [re.split("_|(?<=/)", name) for name in own]
    shared = set(split[0]).intersection(*split[1:]) if len(split) > 1 else set()
    brief = []
    for parts in split:
        kept = ["…" if part in shared else part for part in parts]
        pairs = zip(kept, ["", *kept], strict=False)
        brief.append("_".join(part for part, before in pairs if not part == before == "…").replace("/_", "/"))
    for room in range(width, max(map(cell_len, names))):
        for form in (own, brief, [shortened(name, room) for name in brief]):
            if max(map(cell_len, form)) <= room and len(set(form)) == count:
                return form
    return list(names)


@dataclass(frozen=True)
class _Cells:
    """A column of the table; ``right`` aligns it to the right."""

    heading: str
    cells: Sequence[str]
    right: bool = False

    @property
    def width(self) -> int:
        return max(map(cell_len, (self.heading, *self.cells)))

    def padded(self, row: int | None) -> str:
        """The cell of a row, or the heading for None; a state is coloured."""
        cell = self.heading if row is None else self.cells[row]
        space = " " * (self.width - cell_len(cell))
        if row is not None and self.heading == "state" and cell in COLOURS:
            cell = click.style(cell, fg=COLOURS[cell])
        return space + cell if self.right else cell + space


def _table(standings: Sequence[Standing], settings: Sequence[Column], root: Path | None, width: int) -> list[str]:
    """A heading and one line per run, with reasons below unsuccessful runs.

    Lines are at most ``width`` wide, unless only a longer name tells runs apart.
    """
    if not standings:
        return []
    results = _results(standings)
    swept = [_Cells(visible(each.name), [visible(cell or "") for cell in each.of]) for each in settings]
    names = [_name(each, root) for each in standings]
    longest = max(map(cell_len, ("run", *names)))
    room = [width - sum(each.width + 2 for each in others if each.width) for others in ([*swept, *results], results)]
    folded = room[0] < min(longest, LEAST)
    if folded:
        swept = []
    table = [_Cells("run", told_apart(names, max(room[folded], NARROWEST))), *swept, *results]
    lines = [click.style(_line(table, None), bold=True)]
    for row, each in enumerate(standings):
        lines.append(_line(table, row))
        if folded:
            own = (f"{column.name}={visible(said)}" for column in settings if (said := column.of[row]) is not None)
            lines += [f"    {line}" for line in wrap("  ".join(own), width - 4, break_on_hyphens=False)]
        if each.reason is not None:
            reason = f"    {one_line(each.reason)}"
            lines.append(reason if cell_len(reason) <= width else f"{chop_cells(reason, width - 1)[0]}…")
    return lines


def _results(standings: Sequence[Standing]) -> list[_Cells]:
    """The columns for state, progress and results."""
    marked = any(each.shared for each in standings)
    left = ["" if each.eta is None else duration(each.eta) if each.eta >= 1 else "soon" for each in standings]
    seconds, cpu = zip(*(_seconds(each, marked) for each in standings), strict=True)
    return [
        _Cells("state", [each.state for each in standings]),
        _Cells("progress", [each.progress for each in standings], right=True),
        _Cells("ETA", left, right=True),
        _Cells("PSNR dB", ["" if each.psnr is None else f"{each.psnr:.2f}" for each in standings], right=True),
        _Cells("seconds", seconds, right=True),
        _Cells("CPU s", cpu, right=True),
        _Cells("", [f"by {each.version}" if each.of_another_version else "" for each in standings]),
    ]


def _seconds(each: Standing, marked: bool) -> tuple[str, str]:
    """Wall and CPU seconds of the training; empty before it begins. ``marked``: leave room for the sign of others."""
    if each.seconds is None:
        return "", ""
    cpu = ABSENT if each.cpu_seconds is None else f"{each.cpu_seconds:,.1f}"
    return f"{each.seconds:,.1f}{SIGN if each.shared else ' ' * marked}", cpu


def _line(table: Sequence[_Cells], row: int | None) -> str:
    """A row of the table, or its heading for None."""
    return "  ".join(column.padded(row) for column in table if column.width).rstrip()


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
        yield hint + (path if cell_len(hint + path) <= width else "RUN")


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
