"""The report's table for a paper: which columns, rows and words, and the notes below it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from partinr.base.errors import PartinrError
from partinr.base.numbers import ABSENT
from partinr.base.text import natural
from partinr.report.columns import Column, columns_of
from partinr.report.groups import Group, Study
from partinr.report.significance import marked
from partinr.report.table import Cell, Row, rows


@dataclass(frozen=True)
class Wording:
    """Names and order of groups in figures and tables.

    A group is called by its label, such as ``grid #9``, or by its title, such as ``3×3 grid``.
    """

    labels: str = ""
    """New names: ``GROUP=NAME,GROUP=NAME``."""
    order: str = ""
    """Groups that come first: ``GROUP,GROUP``."""

    def of(self, studies: Sequence[Study]) -> list[Study]:
        """The studies with these names, in this order.

        Raises:
            PartinrError: there is no such group.
        """
        groups = [group for study in studies for group in study.groups]
        known = {name: group.label for group in groups for name in (group.label, group.title)}
        titles = {known[_known(name, known, "--labels", "group")]: text for name, text in _named(self.labels)}
        order = [known[_known(name, known, "--order", "group")] for name in _listed(self.order)]
        return [study.arranged(titles, order) for study in studies]


@dataclass(frozen=True)
class Layout:
    """What is in a table, and in which order."""

    columns: str = ""
    """Keys of the columns, separated by commas; by default the usual ones for the form."""
    sort: str = ""
    """What rows are sorted by on each image: a column, or ``group``, ``seeds`` or ``state``; with a minus,
    downwards."""
    plain: bool = False
    """Whether LaTeX needs no siunitx."""
    wording: Wording = field(default_factory=Wording)
    against: str = ""
    """The group that all others are compared with, pair by pair; by default none is, and the table is the usual one."""

    def reference(self, study: Study, further: Collection[str] = ()) -> str:
        """The label of the group that the others are compared with, or what several groups share.

        Args:
            study: the study.
            further: the names of groups that differ only in size.

        Raises:
            PartinrError: there is no such group, or an option is of the usual table.
        """
        if self.columns or self.sort:
            raise PartinrError(f"--against has a table of its own; leave out --{'columns' if self.columns else 'sort'}")
        known = {name: name for name in further}
        known |= {name: group.label for group in study.groups for name in (group.label, group.title)}
        return known[_known(self.against, known, "--against", "group")]

    def chosen(
        self, studies: Sequence[Study], usual: Callable[[Column], bool], clocks: bool = True
    ) -> list[list[Column]]:
        """The columns of each study.

        Args:
            studies: the studies.
            usual: whether a column is in the table if no columns are named.
            clocks: whether to keep columns that a clock measured.

        Raises:
            PartinrError: no study has a column of that name, or one to sort by.
        """
        all_columns = [columns_of(study) for study in studies]
        known = list(dict.fromkeys(column.key for columns in all_columns for column in columns))
        keys = [_known(key, known, "--columns", "column") for key in _listed(self.columns)]
        if self.sort:
            _known(self._key, (*_OF_GROUPS, *known), "--sort", "column")
        if keys:
            by_key = [{column.key: column for column in columns} for columns in all_columns]
            found = [[columns[key] for key in keys if key in columns] for columns in by_key]
        else:
            found = [list(filter(usual, columns)) for columns in all_columns]
        return [[column for column in columns if clocks or not column.clock] for columns in found]

    def ordered(self, study: Study, table: Sequence[Row]) -> list[Row]:
        """The rows of a study in this order, image by image."""
        columns, key = {column.key: column for column in columns_of(study)}, self._key
        if key not in (*_OF_GROUPS, *columns):
            return list(table)
        place = _OF_GROUPS.get(key) or _by(columns[key])
        found: list[Row] = []
        for image in study.images:
            of_image = [row for row in table if row.group.image == image]
            of_image.sort(key=place, reverse=self.sort.startswith("-"))
            # Rows without a number stay at the end in either direction.
            found += sorted(of_image, key=lambda row: key in columns and _is_empty(row, columns[key]))
        return found

    @property
    def _key(self) -> str:
        return self.sort.removeprefix("-")


def _by(column: Column) -> Callable[[Row], Any]:
    """The place of a row by a column."""
    if column.words:
        return lambda row: natural(row.cells[column.key].text)
    return lambda row: stat.mean if (stat := row.cells[column.key].stat) and stat.mean is not None else math.inf


def _is_empty(row: Row, column: Column) -> bool:
    """Whether a row lacks the number of a column."""
    stat = row.cells[column.key].stat
    return not column.words and (stat is None or stat.mean is None)


_OF_GROUPS: Mapping[str, Callable[[Row], Any]] = {
    "group": lambda row: natural(row.group.title),
    "seeds": lambda row: row.group.n,
    "state": lambda row: row.group.state,
}
"""What rows can be sorted by beside columns."""


@dataclass(frozen=True)
class PaperTable:
    """The part of the report's table for a document, with notes for its reader."""

    study: Study
    columns: Sequence[Column]
    rows: Sequence[Row]
    before: Mapping[str, Callable[[Group], str]]
    """Text columns before the numbers, by heading."""
    after: Mapping[str, Callable[[Group], str]]
    """Text columns after the numbers, by heading."""
    rule: str
    """How the best numbers are found; empty if none is marked."""

    @classmethod
    def of(cls, study: Study, columns: Sequence[Column], layout: Layout) -> PaperTable:
        """The table of a study with these columns."""
        table, rule = marked(layout.ordered(study, rows(study)), columns)
        shown = [c for c in columns if layout.columns or any(row.cells[c.key].text != ABSENT for row in table)]
        several = len(study.images) > 1
        before: dict[str, Callable[[Group], str]] = {"image": lambda group: group.image} if several else {}
        # Shown if rows have different numbers of seeds, or not all runs have completed.
        after: dict[str, Callable[[Group], str]] = (
            {"seeds": lambda group: str(group.n)} if len(_seeds(table)) > 1 else {}
        )
        if any(row.group.state != "completed" for row in table):
            after["state"] = lambda group: group.state
        return cls(study, shown, table, {**before, "group": lambda group: group.title}, after, rule)

    @property
    def notes(self) -> list[str]:
        """What a reader of these columns has to know, one sentence each."""
        return [
            *_notes(self.rows, self.columns, self.study.subject.leading.name),
            *([self.rule] if self.rule else []),
            *self.study.notices,
        ]

    def lines(self, text: Callable[[str], str], cell: Callable[[Cell, Column], str]) -> list[list[str]]:
        """The rows as text.

        Args:
            text: writes a word.
            cell: writes a number.
        """
        return [
            [
                *(text(of(row.group)) for of in self.before.values()),
                *(cell(row.cells[column.key], column) for column in self.columns),
                *(text(of(row.group)) for of in self.after.values()),
            ]
            for row in self.rows
        ]


def _seeds(table: Sequence[Row]) -> list[int]:
    """The numbers of seeds that rows have."""
    return sorted({row.group.n for row in table})


def _notes(table: Sequence[Row], columns: Sequence[Column], metric: str) -> list[str]:
    notes, seeds = [], _seeds(table)
    if seeds[-1] > 1:
        count = f"{seeds[0]} seeds" if len(seeds) == 1 else "seeds"
        notes.append(f"Mean ± standard deviation over {count}.")
    said = {row.cells[column.key].text for row in table for column in columns if column.is_effort}
    if any("/" in text for text in said):
        notes.append("m/n: only m of n seeds got there, and there is no mean.")
    if ABSENT in said:
        notes.append(f"{ABSENT}: no seed got there.")
    if any(column.key.startswith("lone_") for column in columns):
        notes.append(f"Lone {metric}: that at which the network without a partition ended.")
    if any(row.group.provisional for row in table):
        notes.append("Where no run of a group has completed, its numbers are those of runs that have not.")
    return notes


# -- options --------------------------------------------------------------------------------------------------------


def _listed(given: str) -> list[str]:
    """The names that an option lists."""
    return [name.strip() for name in given.split(",") if name.strip()]


def _named(given: str) -> list[tuple[str, str]]:
    """The pairs of an option such as ``none=SIREN, alone,grid #9=ours``; new names may contain commas."""
    found: list[tuple[str, str]] = []
    for part in filter(None, given.split(",")):
        name, sign, text = part.partition("=")
        if found and not sign:
            found[-1] = (found[-1][0], f"{found[-1][1]},{part}")
        else:
            found.append((name.strip(), text.strip()))
    return found


def _known(name: str, known: Collection[str], option: str, kind: str) -> str:
    """The name, if it is known.

    Raises:
        PartinrError: it is not.
    """
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(known)}"
        raise PartinrError(f"{option}: there is no {kind} {name!r}; {hint}")
    return name
