"""What the terminal says when runs are over."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from partinr.cli.execute import Outcome
from partinr.run import ERROR, IMAGES, PARTITION, RECONSTRUCTION


def show_outcomes(outcomes: Sequence[Outcome]) -> None:
    """A short table, and where to look."""
    console = terminal()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, justify in (
        ("run", "left"),
        ("seed", "right"),
        ("regions", "right"),
        ("parameters", "right"),
        ("steps", "right"),
        ("seconds", "right"),
        ("PSNR dB", "right"),
        ("SSIM", "right"),
        ("", "left"),
    ):
        table.add_column(heading, justify=justify, no_wrap=heading != "run")  # type: ignore[arg-type]
    for outcome in outcomes:
        manifest = outcome.run.manifest()
        metrics = manifest["metrics"]
        table.add_row(
            manifest["name"],
            str(manifest["seed"]),
            f"{manifest['regions']:,}",
            f"{manifest['parameters']:,}",
            f"{manifest['steps']:,}",
            f"{manifest['seconds']['training']:.1f}",
            _number(metrics["psnr"], 2),
            _number(metrics["ssim"], 4),
            "" if manifest["status"] == "completed" else manifest["status"],
        )
    console.print(table)
    for outcome in outcomes:
        if outcome.exit_code:
            manifest = outcome.run.manifest()
            console.print(
                f"{manifest['status']}: {manifest['name']}: {manifest['message']}", highlight=False, soft_wrap=True
            )
            if outcome.exit_code > 128:
                console.print(f"go on with: partinr resume {short(outcome.run.path)}", highlight=False, soft_wrap=True)
    for outcome in outcomes:
        manifest = outcome.run.manifest()
        if manifest.get("frozen_regions"):
            console.print(f"{manifest['name']}: {frozen(manifest)}", highlight=False, soft_wrap=True)
    folder = Path(os.path.commonpath([outcome.run.path for outcome in outcomes]))
    if len(outcomes) == 1:
        names = ", ".join(
            name for name in (RECONSTRUCTION, PARTITION, ERROR, f"{IMAGES}/") if outcomes[0].run.file(name).exists()
        )
        console.print(f"\nrun      {short(folder)}{f'  ({names})' if names else ''}", highlight=False, soft_wrap=True)
    else:
        console.print(f"\nruns     {short(folder)}", highlight=False, soft_wrap=True)
    console.print(f"report   partinr report {short(folder)}", highlight=False, soft_wrap=True)


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
    regions = "1 region" if manifest["regions"] == 1 else f"{manifest['regions']} regions"
    terminal().print(
        f"{manifest['status']:<11} {manifest['name']}, seed {manifest['seed']}, {regions}: "
        f"{_number(manifest['metrics']['psnr'], 2)} dB after {manifest['steps']:,} steps, "
        f"{manifest['seconds']['training']:.1f} s",
        highlight=False,
        soft_wrap=True,
    )


def short(path: Path) -> str:
    """The path as seen from here, where that is shorter."""
    try:
        relative = os.path.relpath(path)
    except ValueError:  # another drive
        return str(path)
    return relative if len(relative) < len(str(path)) else str(path)


def terminal() -> Console:
    """Where tables are printed, of at most 100 columns where nothing says how wide it is."""
    # A file or a pipe has no width; rich would take 80 columns for it and break the lines of the table.
    # No markup: a file may be called photo[red].png.
    console = Console(markup=False)
    return console if console.is_terminal else Console(width=100, markup=False)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
