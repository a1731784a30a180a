"""What the terminal says when runs are over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.table import Table

from partinr.base.terminal import short, terminal
from partinr.experiment.outcome import Outcome
from partinr.runs.directory import ADAPTATION, ERROR, IMAGES, LOG, PARTITION, RECONSTRUCTION, START, STEPS

MOST_ROWS = 48
"""Of more runs than this only those are listed that did not go well; ``partinr runs`` lists all."""

NARROWEST = 12
"""Columns of the terminal that the name of a run keeps beside the settings that were swept."""

_SHOWN_BY = {
    "seed": ("seed",),
    "partition": ("run", "regions"),
    "partition.regions": ("regions",),
    "partition.rows": ("regions",),
    "partition.cols": ("regions",),
    "backbone": ("run",),
    "regime.algorithm": ("run",),
    "regime.partition_in": ("run",),
    "data": ("run",),
    "data.path": ("run",),
    "max_steps": ("steps",),
}
"""Columns that may tell the values of a setting apart."""

Settings = Mapping[Path, Mapping[str, str]]
"""Of the runs of a sweep, by their directories: the keys that they were asked for by, with their values."""


def show_outcomes(outcomes: Sequence[Outcome], sweep: Path | None = None, asked: Settings | None = None) -> None:
    """A short table, and where to look.

    Args:
        outcomes: of the runs.
        sweep: the folder of the sweep that they are part of; None for a run alone.
        asked: of a sweep what each run was asked for by.
    """
    console = terminal()
    # Of many runs those that went well are known to be there; the others must not be lost among them.
    shown = [each for each in outcomes if each.begun and (each.exit_code or len(outcomes) <= MOST_ROWS)]
    fits = [outcome for outcome in shown if outcome.run.learns == "signals"]
    learned = [outcome for outcome in shown if outcome.run.learns == "initialisation"]
    studies = [outcome for outcome in shown if outcome.run.learns == "steps"]
    if fits:
        console.print(_fits(fits, asked or {}))
    if learned:
        console.print(_learned(learned, asked or {}))
    if studies:
        console.print(_studies(studies, asked or {}))
    for outcome in outcomes:
        if outcome.exit_code:
            manifest = outcome.run.manifest()
            said = manifest.get("message") or f"its process is gone; {outcome.run.file(LOG)} may say why"
            console.print(f"{state(manifest)}: {manifest['name']}: {said}", highlight=False, soft_wrap=True)
            if outcome.exit_code > 128 and sweep is None:
                console.print(f"go on with: partinr resume {short(outcome.run.path)}", highlight=False, soft_wrap=True)
    for outcome in shown:
        manifest = outcome.run.manifest()
        if manifest.get("frozen_regions"):
            console.print(f"{manifest['name']}: {frozen(manifest)}", highlight=False, soft_wrap=True)
    folder = sweep or outcomes[0].run.path
    if sweep is None:
        names = ", ".join(
            name
            for name in (RECONSTRUCTION, PARTITION, ERROR, f"{IMAGES}/", ADAPTATION, START, STEPS)
            if outcomes[0].run.file(name).exists()
        )
        console.print(f"\nrun      {short(folder)}{f'  ({names})' if names else ''}", highlight=False, soft_wrap=True)
    else:
        console.print(f"\nruns     {short(folder)}", highlight=False, soft_wrap=True)
    kinds = {outcome.run.learns for outcome in outcomes if outcome.begun}
    if kinds != {"steps"}:
        console.print(f"report   partinr report {short(folder)}", highlight=False, soft_wrap=True)
    if "steps" in kinds:
        console.print(f"laws     partinr hypothesis {short(folder)}", highlight=False, soft_wrap=True)
    if any(outcome.run.file(START).exists() for outcome in learned):
        start = short(folder) if sweep is None else "RUN"
        console.print(f"fit      partinr init={start} data=image data.path=IMAGE", highlight=False, soft_wrap=True)


def _fits(outcomes: Sequence[Outcome], asked: Settings) -> Table:
    rows = []
    for outcome in outcomes:
        manifest = outcome.run.manifest()
        metrics = manifest["metrics"]
        rows.append(
            (*_size_and_cost(manifest), _number(metrics["psnr"], 2), _number(metrics["ssim"], 4), _ending(manifest))
        )
    return _table(("PSNR dB", "SSIM"), rows, outcomes, asked)


def _learned(outcomes: Sequence[Outcome], asked: Settings) -> Table:
    """PSNR is that of held-out signals, after 0 inner steps, after those of the training, and after the last."""
    shown = []
    for outcome in outcomes:
        settings = outcome.run.config()["regime"]
        shown.append((0, settings["inner_steps"], settings["validation_steps"]))
    same = len(set(shown)) == 1
    _, trained, last = shown[0]
    headings = ["dB at 0", f"at {trained}", f"at {last}"] if same else ["dB at 0", "at K", "at last"]
    if same and trained == last:
        headings = headings[:2]
    rows = []
    for outcome, steps in zip(outcomes, shown, strict=True):
        manifest = outcome.run.manifest()
        found = manifest.get("psnr_by_inner_step", [])
        psnr = [_number(found[step] if step < len(found) else None, 2) for step in steps[: len(headings)]]
        rows.append((*_size_and_cost(manifest), *psnr, _number(manifest["metrics"]["ssim"], 4), _ending(manifest)))
    return _table((*headings, "SSIM"), rows, outcomes, asked)


def _studies(outcomes: Sequence[Outcome], asked: Settings) -> Table:
    """Regions and parameters are those of each trial."""
    rows = []
    for outcome in outcomes:
        manifest = outcome.run.manifest()
        count, reached = manifest["trials"]["count"], manifest["trials"]["reached"]
        rows.append(
            (*_size_and_cost(manifest), f"{count:,}", f"{reached:,}", f"{count - reached:,}", _ending(manifest))
        )
    return _table(("trials", "over", "capped"), rows, outcomes, asked)


_SIZE_AND_COST = ("run", "seed", "regions", "parameters", "steps", "seconds")


def _table(
    headings: Sequence[str], rows: Sequence[tuple[str, ...]], outcomes: Sequence[Outcome], asked: Settings
) -> Table:
    """A table: what :func:`_size_and_cost` gives, the columns of ``headings``, and one for how the runs ended.

    Where the runs differ in settings that none of these says, a column ``swept`` does, and the name gives way to it.
    """
    headings = (*_SIZE_AND_COST, *headings, "")
    swept = _swept([asked.get(outcome.run.path, {}) for outcome in outcomes], headings, rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", width=_room_for_names(headings, rows, swept) if any(swept) else None)
    if any(swept):
        table.add_column("swept")
    for heading in headings[1:]:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for row, settings in zip(rows, swept, strict=True):
        table.add_row(row[0], *([settings] if any(swept) else []), *row[1:])
    return table


def _room_for_names(headings: Sequence[str], rows: Sequence[tuple[str, ...]], swept: Sequence[str]) -> int:
    """Columns of the terminal that are left for the names of the runs, which are in the first of each row."""
    names, *others = (max(map(cell_len, column)) for column in zip(headings, *rows, strict=True))
    others.append(max(map(cell_len, swept)))
    # Two spaces are before each of the others.
    return min(names, max(NARROWEST, terminal().width - sum(width + 2 for width in others)))


def _swept(asked: Sequence[Mapping[str, str]], headings: Sequence[str], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Of each run the settings that are not the same in all, but for those that another column tells."""
    keys = []
    for key in dict.fromkeys(key for each in asked for key in each):
        values = [each.get(key) for each in asked]
        columns = [headings.index(heading) for heading in _SHOWN_BY.get(key, ())]
        cells = [tuple(row[column] for column in columns) for row in rows]
        if len(set(values)) > 1 and len(set(zip(cells, values, strict=True))) > len(set(cells)):
            keys.append(key)
    return [" ".join(f"{key}={each[key]}" for key in keys if key in each) for each in asked]


def _size_and_cost(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        manifest["name"],
        str(manifest["seed"]),
        f"{manifest['regions']:,}",
        f"{manifest['parameters']:,}",
        f"{manifest['steps']:,}",
        f"{manifest['seconds']['training']:.1f}",
    )


def _ending(manifest: Mapping[str, Any]) -> str:
    return "" if manifest["status"] == "completed" else state(manifest)


def state(manifest: Mapping[str, Any]) -> str:
    """The status of a run that is over: one that says that it is running, or queued, has died."""
    return "died" if manifest["status"] in ("running", "queued") else str(manifest["status"])


def frozen(manifest: Mapping[str, Any]) -> str:
    """What the regions saved that were finished early."""
    said = f"{manifest['frozen_regions']:,} of {manifest['regions']:,} regions were finished early"
    saved, spent = manifest["seconds"]["saved"], manifest["seconds"]["training"]
    if not saved:
        return said
    return f"{said}, which saved about {saved:.1f} s of training ({saved / (saved + spent):.0%})"


def show_finished(outcome: Outcome) -> None:
    """One line for a run of a sweep that is over."""
    manifest = outcome.run.manifest()
    status = state(manifest)
    if not outcome.begun:
        said = f"{status:<11} {outcome.run.path.name}: {manifest.get('message') or 'before the training began'}"
        terminal().print(said, highlight=False, soft_wrap=True)
        return
    regions = "1 region" if manifest["regions"] == 1 else f"{manifest['regions']} regions"
    steps = f"{manifest['steps']:,} steps"
    if outcome.run.learns == "initialisation":
        steps = f"{outcome.run.config()['regime']['inner_steps']} inner and {manifest['steps']:,} outer steps"
    result = f"{_number(manifest['metrics']['psnr'], 2)} dB"
    if outcome.run.learns == "steps":
        result = f"{manifest['trials']['reached']:,} of {manifest['trials']['count']:,} trials over"
    terminal().print(
        f"{status:<11} {manifest['name']}, seed {manifest['seed']}, {regions}: "
        f"{result} after {steps}, "
        f"{manifest['seconds']['training']:.1f} s",
        highlight=False,
        soft_wrap=True,
    )


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
