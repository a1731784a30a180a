"""The report's table for other documents: text, Markdown, LaTeX and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from partinr.base.errors import PartinrError
from partinr.base.files import write_output
from partinr.base.terminal import terminal
from partinr.base.text import utf8
from partinr.report.against import against_csv, against_table
from partinr.report.budgets import budgets_csv, budgets_table, families, savings
from partinr.report.columns import Column
from partinr.report.groups import Study, studies_of
from partinr.report.latex import latex
from partinr.report.paper import Layout, PaperTable
from partinr.report.plain import markdown, terminal_text, unstyled
from partinr.report.table import rows, to_csv
from partinr.runs.records import RunRecord, collect

Format = Literal["text", "md", "tex", "csv"]

FORMATS: tuple[Format, ...] = get_args(Format)
"""Forms of a table; all but ``text`` are also endings of files."""

USUAL = Layout()


def table_text(records: Sequence[RunRecord], form: Format, clocks: bool = True, layout: Layout = USUAL) -> str:
    """The table of ``records``, with the rows of the report and its main columns.

    Runs of a further section have a separate table after that of the fits.

    Args:
        records: runs, from :func:`~partinr.runs.records.collect`.
        form: ``text`` for a terminal, ``md``, ``tex`` (a ``tabular`` that needs the packages booktabs and siunitx), or
            ``csv`` (every column and digit).
        clocks: whether to keep columns that a clock measured.
        layout: columns, order and words.

    Raises:
        PartinrError: no run has numbers, a column or group is unknown, or the form is CSV with two tables.
    """
    studies = [study for study in studies_of(records) if any(group.counted for group in study.groups)]
    if not studies:
        raise PartinrError("no run has got so far that there are numbers; partinr runs says how they stand")
    if form == "csv" and len(studies) > 1:
        raise PartinrError(
            "a CSV file holds one table, and these runs need several, as they cannot be compared; name one kind's "
            "directories, or write .md"
        )
    studies = layout.wording.of(studies)
    if layout.against:
        return _against(studies[0], form, clocks, layout)
    chosen = layout.chosen(studies, {"csv": _every, "text": _of_terminal}.get(form, _of_paper), clocks)
    if form == "csv":
        return to_csv(studies[0], chosen[0], layout.ordered(studies[0], rows(studies[0])))
    if form != "text" and not layout.columns:
        chosen = [sorted(columns, key=lambda column: column.rank) for columns in chosen]
    tables = [PaperTable.of(study, columns, layout) for study, columns in zip(studies, chosen, strict=True)]
    return "\n".join(_written(table, form, layout) for table in tables)


def _against(study: Study, form: Format, clocks: bool, layout: Layout) -> str:
    if study.section is not None:
        raise PartinrError("--against compares fits of signals, and these runs are none; leave it out")
    found = families(study)
    several = {name: family for family in found if family.sizes > 1 for name in (family.label, family.title)}
    label = layout.reference(study, several)
    reference = several.get(label) or next(each for each in found if any(g.label == label for g in each.groups))
    saved = savings(found, reference) if reference.sizes > 1 else []
    tables = [] if label in several else [against_table(study, label, clocks)]
    if not any(table.rows for table in tables) and not any(each.bd_rate for each in saved):
        alone = "no other group has run on the same signal with the same seed; make such a run"
        raise PartinrError(f"--against {layout.against}: {saved[0].refusal if saved else alone}")
    if form == "csv":
        return budgets_csv(saved) if label in several else against_csv(study, label)
    tables = [table for table in tables if table.rows]
    tables += [budgets_table(replace(study, notices=()) if tables else study, reference, saved)] if saved else []
    return "\n".join(_written(table, form, layout) for table in tables)


def _written(table: PaperTable, form: Format, layout: Layout) -> str:
    if form == "text":
        return terminal_text(table, terminal().width, not layout.columns and not layout.against)
    return markdown(table) if form == "md" else latex(table, layout.plain)


def _every(column: Column) -> bool:
    return True


def _of_terminal(column: Column) -> bool:
    return bool(column.terminal)


def _of_paper(column: Column) -> bool:
    return bool(column.short)


def make_table(
    paths: Sequence[str | Path],
    output: str | Path | None = None,
    clocks: bool = True,
    form: Format | None = None,
    layout: Layout = USUAL,
) -> str:
    """The table of every run at or below ``paths``.

    Args:
        paths: run directories, sweep directories, or folders of them.
        output: a file for the table; None for no file.
        clocks: whether to keep columns that a clock measured.
        form: the form, see :func:`table_text`; by default by the ending of the file (``.md``, ``.tex`` or ``.csv``),
            and Markdown without a file.
        layout: columns, order and words.

    Returns:
        the table.

    Raises:
        PartinrError: a path does not exist, no run belongs in a table or has numbers, a column or group or the ending
            is unknown, or the file cannot be written.
    """
    if form is None:
        form = "md"
        if output is not None:
            ending = Path(output).suffix.removeprefix(".").lower()
            endings = {name: name for name in FORMATS if name != "text"}
            if ending not in endings:
                raise PartinrError(f"cannot write {output}; give a file that ends in .md, .tex or .csv")
            form = endings[ending]
    text = table_text(comparable(collect(paths), paths), form, clocks, layout)
    if output is not None:
        text = unstyled(text)
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
        first.regime.check_allows("report", first.manifest, first.config, " ".join(map(str, paths)))
    return found
