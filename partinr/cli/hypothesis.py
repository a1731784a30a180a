"""``partinr hypothesis``: the table of a study of steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from partinr.base.terminal import terminal

if TYPE_CHECKING:
    from partinr.studies import Setting


def show_settings(settings: Sequence[Setting]) -> None:
    """Print for each setting the laws, p with its interval, and the verdict."""
    console = terminal()
    for setting in settings:
        trials, growth = setting.trials, setting.growth
        unfinished = f", {setting.unfinished} not finished" if setting.unfinished else ""
        runs = "1 run" if setting.runs == 1 else f"{setting.runs} runs"
        console.print(
            f"{setting.label}: {setting.parameters:,} parameters, {len(trials.steps):,} trials from "
            f"{runs}{unfinished}, {int(trials.censored.sum()):,} met the cap",
            style="bold",
            highlight=False,
            soft_wrap=True,
        )
        table = Table(box=None, pad_edge=False, header_style="bold")
        formula = "steps with edges of b sides" if setting.images else "steps at b boundaries"
        for heading in ("law", formula, "sigma", "R²", "BIC", "weight"):
            table.add_column(heading, justify="left" if heading in ("law", formula) else "right")
        for fit in growth.fits:
            figures = (f"{fit.sigma:.3f}", f"{fit.r_squared:.3f}", f"{fit.bic - growth.best.bic:+.1f}")
            table.add_row(fit.law.name, fit.formula, *figures, f"{fit.weight:.3f}")
        console.print(table)
        low, high = growth.base_interval
        console.print(
            f"p of a · p^b: {growth.base:.4f}, 95 % interval {low:.4f} to {high:.4f}", highlight=False, soft_wrap=True
        )
        if growth.halves:
            console.print(f"p by ranges: {', '.join(map(str, growth.halves))}", highlight=False, soft_wrap=True)
        console.print(f"{setting.verdict}\n", highlight=False, soft_wrap=True)
