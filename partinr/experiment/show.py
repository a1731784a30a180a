"""Prints the results of finished runs. ``run.json`` has the parts that depend on the regime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from partinr.base.numbers import ABSENT, write
from partinr.base.section import fill, lookup
from partinr.base.terminal import short, terminal
from partinr.base.text import visible
from partinr.experiment.outcome import Outcome
from partinr.runs.layout import ERROR, FITTED, IMAGES, LOG, PARTITION, RECONSTRUCTION
from partinr.runs.sharing import SIGN, footnote, sharing
from partinr.runs.subject import native_of

MOST_ROWS = 48
"""Number of runs up to which all are listed. Beyond it, only unsuccessful runs are; ``partinr runs`` lists all."""

NARROWEST = 12
"""Least number of terminal columns for the name of a run next to wide settings."""

_TOLD_BY = {
    "seed": ("seed",),
    "partition": ("run", "regions"),
    "partition.regions": ("regions",),
    "partition.rows": ("regions",),
    "partition.cols": ("regions",),
    "partition.shape": ("regions",),
    "max_steps": ("steps",),
}
"""Columns that may already show a setting's value; for other settings, the name of the run does."""

Settings = Mapping[Path, Mapping[str, str]]
"""The requested keys and values of each run of a sweep, by its directory."""


def show_outcomes(outcomes: Sequence[Outcome], sweep: Path | None = None, asked: Settings | None = None) -> None:
    """Print a short table and the next commands.

    Args:
        outcomes: outcomes of the runs.
        sweep: folder of their sweep; None for a single run.
        asked: requested settings of each run of a sweep.
    """
    # In a long list, failures must not be lost among successful runs.
    shown = [each for each in outcomes if each.begun and (each.exit_code or len(outcomes) <= MOST_ROWS)]
    for _, alike in groupby(sorted(shown, key=_headings), _headings):
        _print_table(list(alike), asked or {})
    manifests = [outcome.run.manifest() for outcome in outcomes if outcome.begun]
    if note := footnote([(f"{visible(each['name'])}, seed {each['seed']}", sharing(each)) for each in manifests]):
        terminal().print(note, highlight=False)
    for outcome in outcomes:
        if outcome.exit_code:
            manifest = outcome.run.manifest()
            said = manifest.get("message") or f"its process is gone; {outcome.run.file(LOG)} may say why"
            _say(f"{state(manifest)}: {visible(manifest['name'])}: {said}")
            if outcome.exit_code > 128 and sweep is None:
                _say(f"continue with: partinr resume {short(outcome.run.path)}")
    for manifest in (outcome.run.manifest() for outcome in shown):
        if manifest.get("frozen_regions"):
            _say(f"{visible(manifest['name'])}: {frozen(manifest)}")
    first = outcomes[0].run
    if sweep is None:
        left = [file for role, file in first.regime.files.items() if role != "weights"]
        left += [native_of(first.manifest()).get(FITTED, RECONSTRUCTION)]
        names = [
            name
            for name in dict.fromkeys((RECONSTRUCTION, PARTITION, ERROR, f"{IMAGES}/", *left))
            if first.file(name).exists()
        ]
        _say(f"\nrun      {short(first.path)}" + (f"  ({', '.join(names)})" if names else ""))
    else:
        _say(f"\nruns     {short(sweep)}")
    for word, template in _hints(outcomes):
        # An override accepts one run; a subcommand also accepts a folder of runs.
        place = "RUN" if sweep is not None and "={run}" in template else short(sweep or first.path)
        _say(f"{word:<8} {fill(template, {}, {}, place)}")


def show_finished(outcome: Outcome, swept: str = "", place: str = "") -> None:
    """Print one line for a finished run of a sweep.

    Args:
        outcome: its outcome.
        swept: the settings in which it differs from the others; its name, seed and size stand in for none.
        place: its place in the sweep.
    """
    manifest = outcome.run.manifest()
    status = state(manifest)
    if not outcome.begun:
        who = swept or visible(outcome.run.path.name)
        said = manifest.get("message") or "before the training began"
        _say(f"{status:<11} {who}: {said}{place and f'; {place}'}")
        return
    regions = "1 region" if manifest["regions"] == 1 else f"{manifest['regions']} regions"
    result = fill(outcome.run.regime.result, manifest, outcome.run.config(), outcome.run.path)
    seconds = f"{manifest['seconds']['training']:.1f} s{_sign(manifest)}"
    who = swept or f"{visible(manifest['name'])}, seed {manifest['seed']}, {regions}"
    _say(f"{status:<11} {who}: {result}, {seconds}{place and f'; {place}'}")


def state(manifest: Mapping[str, Any]) -> str:
    """The status of a finished run; ``running`` and ``queued`` mean that it has died."""
    return "died" if manifest["status"] in ("running", "queued") else str(manifest["status"])


def _sign(manifest: Mapping[str, Any]) -> str:
    """The mark of seconds of a shared machine; empty for others."""
    return "" if sharing(manifest) is None else SIGN


def frozen(manifest: Mapping[str, Any]) -> str:
    """The savings by regions that were finished early, in words."""
    said = f"{manifest['frozen_regions']:,} of {manifest['regions']:,} regions were finished early"
    saved, spent = manifest["seconds"]["saved"], manifest["seconds"]["training"]
    if not saved:
        return said
    return f"{said}, which saved about {saved:.1f} s of training ({saved / (saved + spent):.0%})"


def _say(text: str) -> None:
    terminal().print(text, highlight=False, soft_wrap=True)


def _hints(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    """Next commands for runs that have begun: distinct pairs of a word and a template."""
    begun = [outcome.run.regime for outcome in outcomes if outcome.begun] or [outcomes[0].run.regime]
    return list(dict.fromkeys((word, template) for regime in begun for word, template in regime.hints))


_BETTER = {"low": " ↓"}
"""Signs of columns whose lower values are better."""


def _headings(outcome: Outcome) -> list[str]:
    return [each["heading"] + _BETTER.get(each.get("better", ""), "") for each in outcome.run.regime.summary]


def _row(outcome: Outcome) -> tuple[str, ...]:
    manifest, config = outcome.run.manifest(), outcome.run.config()
    values = [(lookup(each["value"], manifest, config), each["form"]) for each in outcome.run.regime.summary]
    return (
        visible(manifest["name"]),
        str(manifest["seed"]),
        f"{manifest['regions']:,}",
        f"{manifest['parameters']:,}",
        f"{manifest['steps']:,}",
        f"{manifest['seconds']['training']:.1f}{_sign(manifest)}",
        *(ABSENT if value is None else write(value, form) for value, form in values),
        "" if manifest["status"] == "completed" else state(manifest),
    )


def _print_table(outcomes: Sequence[Outcome], asked: Settings) -> None:
    """Print one row per run: size, cost, the columns of its regime, and its status if unsuccessful.

    A column ``swept`` has differing settings that no other column shows. Where it does not fit, each run has them in a
    line of its own, since a value must not be cut.
    """
    headings = ("run", "seed", "regions", "parameters", "steps", "seconds", *_headings(outcomes[0]), "")
    rows = [_row(outcome) for outcome in outcomes]
    swept = _swept([asked.get(outcome.run.path, {}) for outcome in outcomes], headings, rows)
    console, table = terminal(), Table(box=None, pad_edge=False, header_style="bold")
    # The name is shortened in favour of settings; each other column is preceded by two spaces.
    name, *others = (max(map(cell_len, column)) for column in zip(headings, *rows, strict=True))
    whole = console.width - sum(width + 2 for width in others)
    room = whole - max(map(cell_len, swept)) - 2
    apart = any(swept) and room < min(name, NARROWEST)
    beside = any(swept) and not apart
    width = min(name, max(NARROWEST, whole if apart else room)) if any(swept) else None
    table.add_column("run", width=width, no_wrap=apart)
    if beside:
        table.add_column("swept", no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for row, settings in zip(rows, swept, strict=True):
        table.add_row(row[0], *([settings] if beside else []), *row[1:])
    with console.capture() as printed:
        console.print(table)
    head, *lines = printed.get().splitlines()
    for line, settings in zip([head, *lines], ["", *swept] if apart else [""] * (len(lines) + 1), strict=True):
        console.print(Text.from_ansi(line), soft_wrap=True)
        if settings:
            _say(f"    {settings}")


def _swept(asked: Sequence[Mapping[str, str]], headings: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """For each run, the differing settings that no other column shows."""
    keys = []
    for key in dict.fromkeys(key for each in asked for key in each):
        values = [each.get(key) for each in asked]
        columns = [headings.index(heading) for heading in _TOLD_BY.get(key, ("run",))]
        cells = [tuple(row[column] for column in columns) for row in rows]
        if len(set(values)) > 1 and len(set(zip(cells, values, strict=True))) > len(set(cells)):
            keys.append(key)
    return [" ".join(f"{key}={visible(each[key])}" for key in keys if key in each) for each in asked]
