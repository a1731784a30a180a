"""Which numbers of a table are bold: the best of a column, and those that a test does not tell from it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

from partinr.base.statistics import paired, welch
from partinr.report.columns import Column
from partinr.report.groups import Group
from partinr.report.stats import Stat
from partinr.report.table import Row

LEVEL = 0.05
"""Level of significance of the two-sided tests."""

ENOUGH = 3
"""Runs or images from which a test that finds no difference says something."""

RULE = (
    "Bold: the best mean of each signal, and those that do not differ from it at "
    f"{LEVEL:.0%} by Welch's t-test over seeds, or by a paired one over the signals of a run; with one run each, "
    "those that read like it. With two runs, a column is bold only if the test is clear."
)
"""The rule in a sentence, for a page whose groups the reader can change."""

SEEN_APART = " Fits are compared with those that see the same of the signal."
"""What is said below a table of several observations."""

Told = Literal["images", "seeds", "digits"]
"""What tells a number from the best one: a paired t-test over images, Welch's t-test over seeds, or its digits."""

_SAID: dict[Told, str] = {
    "images": "a paired t-test over images",
    "seeds": "Welch's t-test over seeds",
    "digits": "rounding, where there is one run each",
}


def marked(table: Sequence[Row], columns: Iterable[Column]) -> tuple[list[Row], str]:
    """The rows with the best numbers of each image and observation marked, and the rule; empty if none is marked.

    A number is marked if it is the best of its column, if it reads like the best, or if a test does not tell it from
    the best: a paired t-test over the images that both groups have, else Welch's t-test over seeds. With a single run,
    the digits decide. Nothing is marked where this leaves no number unmarked, or where a difference from the best is
    open because a test had fewer than :data:`ENOUGH` runs.

    Args:
        table: rows of a study.
        columns: columns with numbers to mark.
    """
    best: dict[Group, set[str]] = {row.group: set() for row in table}
    used: set[Told] = set()
    several = len({row.group.seen for row in table}) > 1
    for column in columns:
        for place in dict.fromkeys(map(_place, table)):
            rows = [row for row in table if _place(row) == place and _counts(row, column)]
            if column.better is None or len(rows) < 2:
                continue
            first = (max if column.better == "high" else min)(rows, key=lambda row: _mean(row, column))
            others = [row for row in rows if row is not first]
            told = [_told(column, first, row) for row in others]
            if any(apart is None for apart, _ in told):
                continue
            alike = [first, *(row for row, (apart, _) in zip(others, told, strict=True) if not apart)]
            if len(alike) < len(rows):
                used |= {by for _, by in told}
                for row in alike:
                    best[row.group].add(column.key)
    found = [
        replace(row, cells={key: replace(cell, best=key in best[row.group]) for key, cell in row.cells.items()})
        for row in table
    ]
    return found, _rule(used) + SEEN_APART * (several and bool(used))


def _rule(used: set[Told]) -> str:
    if not used:
        return ""
    if used == {"digits"}:
        return "Bold: the best number as printed; with one run each there is no test."
    tests = " and ".join(said for by, said in _SAID.items() if by in used)
    return f"Bold: the best mean, and those that do not differ from it at {LEVEL:.0%} by {tests}."


def _place(row: Row) -> tuple[str, frozenset[Any]]:
    """What numbers are compared on: an image, and how it is seen."""
    return row.group.image, row.group.seen


def _counts(row: Row, column: Column) -> bool:
    stat = row.cells[column.key].stat
    return not row.group.provisional and stat is not None and stat.mean is not None


def _mean(row: Row, column: Column) -> float:
    stat = row.cells[column.key].stat
    assert stat is not None
    assert stat.mean is not None
    return stat.mean


def _told(column: Column, best: Row, other: Row) -> tuple[bool | None, Told]:
    """Whether a number differs from the best one, None if there are too few runs to tell; and what tells."""
    cells = best.cells[column.key], other.cells[column.key]
    reads_alike = cells[0].text == cells[1].text
    pairs = _by_image(column, best.group, other.group)
    if len(pairs) > 1:
        return not reads_alike and _apart(paired(pairs), len(pairs)), "images"
    samples = [cell.stat.values for cell in cells if isinstance(cell.stat, Stat) and cell.stat.std is not None]
    if len(samples) == 2:
        return not reads_alike and _apart(welch(*samples), min(map(len, samples))), "seeds"
    return not reads_alike, "digits"


def _apart(p: float, runs: int) -> bool | None:
    """What a test says of a difference."""
    return True if p < LEVEL else None if runs < ENOUGH else False


def _by_image(column: Column, first: Group, second: Group) -> list[tuple[float, float]]:
    """The means over seeds of two groups on each image of their runs; none if a run lacks an image."""
    images = {image for group in (first, second) for record in group.counted for image in record.images}
    pairs = []
    for image in sorted(images):
        means = []
        for group in (first, second):
            values = [record.images.get(image, {}).get(column.of_image) for record in group.counted]
            numbers = [float(value) for value in values if isinstance(value, (int, float)) and math.isfinite(value)]
            if len(numbers) < len(values):
                return []
            means.append(statistics.fmean(numbers))
        pairs.append((means[0], means[1]))
    return pairs
