"""The numbers of a study as rows, for the page, the terminal and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from partinr.base.numbers import ABSENT, shape_of, shaped
from partinr.report.columns import Column, columns_of
from partinr.report.groups import Group, Study, studies_of
from partinr.report.stats import Stat
from partinr.report.versus import Versus, measured
from partinr.runs.records import RunRecord
from partinr.runs.sharing import SIGN


@dataclass(frozen=True)
class Cell:
    """A formatted number. ``text`` is the mean, ``2/3`` if not all seeds have it, or a dash."""

    stat: Stat | None
    text: str
    std: str = ""
    best: bool = False
    own: bool = False
    """Whether this is a ratio of the lone network to itself."""
    shared: bool = False
    """Whether these are wall seconds, and other work shared the machine."""

    @property
    def sign(self) -> str:
        """The mark of the number, or an empty text."""
        return SIGN if self.shared else ""

    def __str__(self) -> str:
        return f"{self.text}{self.sign} ± {self.std}" if self.std else f"{self.text}{self.sign}"


@dataclass(frozen=True)
class Row:
    """A group and its cells by the key of their column."""

    group: Group
    versus: Versus | None
    random: Versus | None
    """The comparison with the same fit from a random start."""
    cells: Mapping[str, Cell]


def rows(study: Study) -> list[Row]:
    """One row per group; nothing is marked, see :func:`~partinr.report.significance.marked`."""
    columns = columns_of(study)
    found = []
    for group in study.groups:
        measures = {"lone": study.versus(group), "random": study.versus_random(group)}
        cells = {column.key: _cell(column, group, measures[column.against]) for column in columns}
        found.append(Row(group, measures["lone"], measures["random"], cells))
    return found


def of_run(
    columns: Sequence[Column], row: Row, record: RunRecord
) -> tuple[dict[str, float | str | None], Versus | None]:
    """The values of one run of a row's group in each column, compared with the lone network.

    The run need not count: a running run has the values that it has reached so far.
    """
    alone = replace(row.group, counted=(record,), records=(record,))
    against = {
        "lone": row.versus and measured(alone, row.versus.lone),
        "random": row.random and measured(alone, row.random.lone),
    }
    stats = {column.key: column.of(alone, against[column.against]) for column in columns}
    return {key: stat.mean if isinstance(stat, Stat) else stat for key, stat in stats.items()}, against["lone"]


def lone_of(table: Sequence[Row], image: str) -> Versus | None:
    """The lone network of an image, compared with itself; None if there is none, or more than one."""
    found = [row.versus for row in table if row.group.image == image and row.versus and row.versus.lone is row.group]
    return found[0] if len(found) == 1 else None


def _cell(column: Column, group: Group, versus: Versus | None) -> Cell:
    stat = column.of(group, versus)
    if isinstance(stat, str):
        return Cell(None, stat)
    if stat is None or stat.mean is None:
        return Cell(stat, f"{stat.have}/{stat.n}" if stat and stat.have else ABSENT)
    shared = any(is_marked(column, record, versus) for record in group.counted)
    if versus and versus.lone is group and column.ratio:
        return Cell(stat, "1", own=True)
    shape = shape_of(column.form, stat.mean)
    std = "" if stat.std is None else shaped(stat.std, *shape)
    if column.constant and not std.strip("0.kMGT"):
        std = ""
    return Cell(stat, shaped(stat.mean, *shape), std, shared=shared)


def is_marked(column: Column, record: RunRecord, versus: Versus | None) -> bool:
    """Whether a column of a run has wall seconds, its own or those it is compared with, of a shared machine."""
    others = versus.lone.counted if versus and column.compared else ()
    return column.clock is True and any(each.shared for each in (record, *others))


# -- for the terminal and as CSV ------------------------------------------------------------------------------------


def summary_rows(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """A short table for the terminal.

    Args:
        records: runs, as of :func:`~partinr.runs.records.collect`.

    Returns:
        one dictionary per group, from heading to text; all have the same headings in the same order. Columns without
        values are omitted. Groups of further sections follow the fits. Runs that are too damaged for a group have a row
        each.
    """
    lines = [line for study in studies_of(records) for line in _summary(study)]
    damaged = [record for record in records if record.status == "damaged"]
    headings = list(dict.fromkeys(heading for line in lines for heading in line if heading not in _LAST))
    lines += [{"group": record.name, "seeds": "0", "state": record.status} for record in damaged]
    return [{heading: line.get(heading, ABSENT) for heading in ["group", *headings[1:], *_LAST]} for line in lines]


_LAST = ("seeds", "state")


def _summary(study: Study) -> list[dict[str, str]]:
    table = rows(study)
    chosen = [column for column in columns_of(study) if column.terminal]
    chosen = [c for c in chosen if any(row.cells[c.key].text != ABSENT for row in table)]
    return [
        {
            "group": row.group.name,
            **{column.terminal: str(row.cells[column.key]) for column in chosen},
            "seeds": str(row.group.n),
            "state": row.group.state,
        }
        for row in table
    ]


def to_csv(study: Study, columns: Sequence[Column] | None = None, table: Sequence[Row] | None = None) -> str:
    """The whole table with every digit: ``KEY``, ``KEY_std`` and ``KEY_reached``, the number of seeds that have it.

    ``shared`` is the number of runs whose machine was shared; runs of older versions do not know that.

    Args:
        study: the study.
        columns: the columns; all by default.
        table: its rows; in their usual order by default.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heading = ["image", "group"]
    columns = columns_of(study) if columns is None else columns
    for column in columns:
        heading += [column.key] if column.words else [column.key, f"{column.key}_std", f"{column.key}_reached"]
    writer.writerow([*heading, "seeds", "state", *(["shared"] if study.timed else [])])
    for row in rows(study) if table is None else table:
        line: list[str | int | float | None] = [row.group.image, row.group.label]
        for column in columns:
            cell = row.cells[column.key]
            if column.words:
                line.append(cell.text)
            else:
                line += [cell.stat.mean, cell.stat.std, cell.stat.have] if cell.stat else [None, None, None]
        shared = [sum(bool(each.shared) for each in row.group.counted)] if study.timed else []
        writer.writerow([*line, row.group.n, row.group.state, *shared])
    return text.getvalue()
