"""The report's table for other documents: Markdown, LaTeX and CSV."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from partinr.base.errors import PartinrError
from partinr.base.files import write_output
from partinr.base.numbers import ABSENT
from partinr.base.section import fill
from partinr.base.text import utf8
from partinr.report.columns import Column, columns_of
from partinr.report.groups import Group, Study, studies_of
from partinr.report.table import Cell, Row, rows, to_csv
from partinr.runs.records import RunRecord, collect

Format = Literal["md", "tex", "csv"]

FORMATS: tuple[Format, ...] = ("md", "tex", "csv")
"""Formats by the ending of a file."""


@dataclass(frozen=True)
class _Table:
    """The part of the report's table for a document, with notes for its reader."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    before: Mapping[str, Callable[[Group], str]]
    """Text columns before the numbers, by heading."""
    after: Mapping[str, Callable[[Group], str]]
    """Text columns after the numbers, by heading."""
    notes: Sequence[str]
    """Notes, one sentence each."""

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


def table_text(records: Sequence[RunRecord], form: Format, clocks: bool = True) -> str:
    """The table of ``records``, with the rows of the report and, in Markdown and LaTeX, its main columns.

    Runs of a further section have a separate table after that of the fits.

    Args:
        records: runs, from :func:`~partinr.runs.records.collect`.
        form: ``md``, ``tex`` (a ``tabular`` that needs the package booktabs), or ``csv`` (every column and digit).
        clocks: whether to keep columns that a clock measured.

    Raises:
        PartinrError: no run has numbers, or the form is CSV with two tables or without clocks.
    """
    studies = [study for study in studies_of(records) if any(group.counted for group in study.groups)]
    if not studies:
        raise PartinrError("no run has got so far that there are numbers; partinr runs says how they stand")
    if form == "csv":
        if not clocks:
            raise PartinrError("a CSV file has every column; leave out --no-seconds, or write .md or .tex")
        if len(studies) > 1:
            raise PartinrError(
                "a CSV file holds one table, and these runs need several, as they cannot be compared; name one kind's "
                "directories, or write .md"
            )
        return to_csv(studies[0])
    write = {"md": _markdown, "tex": _latex}[form]
    return "\n".join(write(_table(study, clocks)) for study in studies)


def make_table(paths: Sequence[str | Path], output: str | Path | None = None, clocks: bool = True) -> str:
    """The table of every run at or below ``paths``.

    Args:
        paths: run directories, sweep directories, or folders of them.
        output: a file for the table, whose ending (``.md``, ``.tex`` or ``.csv``) determines the form; None for no
            file.
        clocks: whether to keep columns that a clock measured.

    Returns:
        the table, as Markdown if there is no file.

    Raises:
        PartinrError: a path does not exist, no run belongs in a table or has numbers, the ending is unknown, or the
            file cannot be written.
    """
    form: Format = "md"
    if output is not None:
        ending = Path(output).suffix.removeprefix(".").lower()
        known = {name: name for name in FORMATS}
        if ending not in known:
            raise PartinrError(f"cannot write {output}; give a file that ends in .md, .tex or .csv")
        form = known[ending]
    text = table_text(comparable(collect(paths), paths), form, clocks)
    if output is not None:
        write_output(Path(output), utf8(text))
    return text


def comparable(records: Sequence[RunRecord], paths: Sequence[str | Path]) -> list[RunRecord]:
    """The ``records`` that belong in a report, because their regime names no other command.

    Raises:
        PartinrError: there is no such record.
    """
    found = [record for record in records if "report" not in record.regime.instead]
    if not found:
        first = records[0]
        raise PartinrError(
            fill(first.regime.instead["report"], first.manifest, first.config, " ".join(map(str, paths)))
        )
    return found


def _table(study: Study, clocks: bool) -> _Table:
    table = rows(study)
    chosen = [column for column in columns_of(study) if column.short and (clocks or not column.clock)]
    chosen = [column for column in chosen if any(row.cells[column.key].text != ABSENT for row in table)]
    chosen.sort(key=lambda column: column.rank)
    seeds = sorted({row.group.n for row in table})
    before: dict[str, Callable[[Group], str]] = {"image": lambda group: group.image} if len(study.images) > 1 else {}
    # Shown if rows have different numbers of seeds, or not all runs have completed.
    after: dict[str, Callable[[Group], str]] = {"seeds": lambda group: str(group.n)} if len(seeds) > 1 else {}
    if any(row.group.state != "completed" for row in table):
        after["state"] = lambda group: group.state
    notes = [*_notes(table, chosen, seeds), *study.notices]
    return _Table(chosen, table, {**before, "group": lambda group: group.label}, after, notes)


def _notes(table: Sequence[Row], columns: Sequence[Column], seeds: Sequence[int]) -> list[str]:
    notes = []
    if seeds[-1] > 1:
        count = f"{seeds[0]} seeds" if len(seeds) == 1 else "seeds"
        notes.append(f"Mean ± standard deviation over {count}.")
    efforts = [column for column in columns if column.key.startswith(("lone_", "random_"))]
    said = {row.cells[column.key].text for row in table for column in efforts}
    if any("/" in text for text in said):
        notes.append("m/n: only m of n seeds got there, and there is no mean.")
    if ABSENT in said:
        notes.append(f"{ABSENT}: no seed got there.")
    if any(column.against == "lone" for column in efforts):
        notes.append("Lone PSNR: that at which the network without a partition ended.")
    if any(row.group.provisional for row in table):
        notes.append("Where no run of a group has completed, its numbers are those of runs that have not.")
    return notes


# -- Markdown -------------------------------------------------------------------------------------------------------


def _markdown(table: _Table) -> str:
    rule = ["---"] * len(table.before)
    rule += ["---" if column.words else "---:" for column in table.columns]
    rule += ["---:" if heading == "seeds" else "---" for heading in table.after]
    headings = [*table.before, *(column.short for column in table.columns), *table.after]
    lines = table.lines(_plain, lambda cell, _: f"**{cell}**" if cell.best else _plain(str(cell)))
    text = "\n".join(f"| {' | '.join(line)} |" for line in [headings, rule, *lines])
    notes = " ".join(_plain(note) for note in table.notes)
    return f"{text}\n\n{notes}\n" if notes else f"{text}\n"


def _plain(text: str) -> str:
    """Text with Markdown's special characters escaped, except underscores between letters."""
    return re.sub(r"([\\`*<|\[\]])", r"\\\1", text)


# -- LaTeX ----------------------------------------------------------------------------------------------------------

_SIGNS: Mapping[str, str] = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "∞": r"$\infty$",
    "ω": r"$\omega$",
    "σ": r"$\sigma$",
    "†": r"$\dagger$",
    "–": "--",
    "…": r"\dots{}",
}
"""Characters that are special in LaTeX, or need further packages there."""


def _tex(text: str) -> str:
    return "".join(_SIGNS.get(letter, letter) for letter in text)


def _latex(table: _Table) -> str:
    """A ``tabular``. Two columns hold a number and meet at its decimal point, so that numbers are aligned.

    It only needs the package booktabs.
    """
    split = {column.key: _is_split(column, [row.cells[column.key] for row in table.rows]) for column in table.columns}
    aligned = ["l"] * len(table.before)
    aligned += ["l" if column.words else "r@{}l" if split[column.key] else "r" for column in table.columns]
    aligned += ["r" if heading == "seeds" else "l" for heading in table.after]
    headings = [_tex(word) for word in table.before]
    headings += [
        _tex(column.short) if column.words else rf"\multicolumn{{{1 + split[column.key]}}}{{c}}{{{_tex(column.short)}}}"
        for column in table.columns
    ]
    headings += [_tex(word) for word in table.after]
    lines = table.lines(_tex, lambda cell, column: _tex_cell(cell, column, split[column.key]))
    body: list[str] = []
    image = table.rows[0].group.image
    for row, line in zip(table.rows, lines, strict=True):
        if row.group.image != image:
            body.append(r"\midrule")
            image = row.group.image
        body.append(_tex_line(line))
    notes = [f"% {' '.join(note.split())}" for note in table.notes]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            *notes,
            rf"\begin{{tabular}}{{{' '.join(aligned)}}}",
            r"\toprule",
            _tex_line(headings),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _tex_line(cells: Sequence[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _is_split(column: Column, cells: Sequence[Cell]) -> bool:
    """Whether a column of numbers needs a second one for the digits after the decimal point."""
    return not column.words and any("." in cell.text or cell.std for cell in cells)


def _tex_cell(cell: Cell, column: Column, split: bool) -> str:
    bold: Callable[[str], str] = (lambda text: rf"\textbf{{{text}}}" if text else "") if cell.best else str
    if column.words:
        return _tex(cell.text)
    if cell.stat is None or cell.stat.mean is None:  # a dash, or the number of seeds that have it
        return rf"\multicolumn{{2}}{{c}}{{{_tex(cell.text)}}}" if split else _tex(cell.text)
    whole, point, fraction = cell.text.partition(".")
    whole = rf"$-${whole[1:]}" if whole.startswith("-") else whole
    if not split:
        return bold(_tex_number(whole)) + _tex(cell.sign)
    deviation = rf"\,$\pm$\,{_tex(cell.std)}" if cell.std else ""
    return f"{bold(_tex_number(whole))} & {bold(point + fraction)}{_tex(cell.sign)}{deviation}"


def _tex_number(whole: str) -> str:
    return whole.replace("∞", _SIGNS["∞"])
