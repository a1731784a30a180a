"""Writes a table as Markdown, or as text for a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from textwrap import wrap

from rich.cells import cell_len

from partinr.report.columns import Column
from partinr.report.paper import PaperTable

BEST = "*"
"""Mark of a best number in a terminal, which may show no bold letters."""

NARROWEST = 16
"""Least width of the names of groups in a terminal."""

_BOLD, _USUAL = "\x1b[1m", "\x1b[0m"


def markdown(table: PaperTable) -> str:
    """A Markdown table, with its notes below."""
    rule = ["---"] * len(table.before)
    rule += ["---" if column.words else "---:" for column in table.columns]
    rule += ["---:" if heading == "seeds" else "---" for heading in table.after]
    headings = [*table.before, *(column.title for column in table.columns), *table.after]
    lines = table.lines(_plain, lambda cell, _: f"**{cell}**" if cell.best else _plain(str(cell)))
    text = "\n".join(f"| {' | '.join(line)} |" for line in [headings, rule, *lines])
    notes = " ".join(_plain(note) for note in table.notes)
    return f"{text}\n\n{notes}\n" if notes else f"{text}\n"


def _plain(text: str) -> str:
    """Text with Markdown's special characters escaped, except underscores between letters."""
    return re.sub(r"([\\`*<|\[\]])", r"\\\1", text)


def terminal_text(table: PaperTable, width: int, fit: bool = True) -> str:
    """Aligned columns with a heading for each image, and notes below. Numbers are never cut.

    Where lines are too long, names of groups take several.

    Args:
        table: the table.
        width: columns of the terminal.
        fit: whether to leave out columns that are not about quality, one by one, until the lines are short enough.
    """
    every, lines, names = table.columns, _lines(table, width), width
    if _widest(lines) > width:
        names = width // 2
        lines = _lines(table, names)
    while fit and _widest(lines) > width:
        others = [column for column in table.columns if column.rank or not column.better]
        if not others:
            break
        # What is the same for all seeds goes before times. max returns the first of several, so the rightmost goes.
        least = max(reversed(others), key=lambda column: (column.rank, column.constant))
        table = replace(table, columns=[column for column in table.columns if column != least])
        lines = _lines(table, names)
    taken = max(cell_len(line) for row in table.rows for line in _folded(row.group.title, names))
    lines = _lines(table, max(NARROWEST, taken + width - _widest(lines)))
    notes = [note.replace("Bold: ", f"{BEST} ", 1) for note in table.notes]
    if left := [_heading(column) for column in every if column not in table.columns]:
        notes.append(f"Left out for want of width: {', '.join(left)}; --columns KEY,KEY prints what it names.")
    wrapped = [line for note in notes for line in wrap(note, width, break_on_hyphens=False)]
    return "\n".join([*lines, *(["", *wrapped] if wrapped else []), ""])


def _heading(column: Column) -> str:
    return column.terminal or column.title


def _widest(lines: Sequence[str]) -> int:
    return max(map(cell_len, map(unstyled, lines)))


def _folded(name: str, width: int) -> list[str]:
    """The name of a group in lines of at most ``width``, broken between its settings; further lines are indented."""
    text = name.replace(" ", "\xa0").replace("\xa0·\xa0", "\xa0· ")
    return [line.replace("\xa0", " ") for line in wrap(text, width, subsequent_indent="  ")] or [""]


def _lines(table: PaperTable, width: int) -> list[str]:
    """The lines of a table whose names are at most ``width`` wide."""
    names = ["group", *map(_heading, table.columns), *table.after]
    marks = any(row.cells[column.key].best for row in table.rows for column in table.columns)
    cells = table.lines(str, lambda cell, _: str(cell) + (BEST if cell.best else " " * marks))
    cells = [line[len(table.before) - 1 :] for line in cells]
    right = [False, *(not column.words for column in table.columns), *(name == "seeds" for name in table.after)]
    heads = [_stacked(name, [line[place] for line in cells]) for place, name in enumerate(names)]
    tall = max(map(len, heads))
    above = [[head[row - tall + len(head)] if row >= tall - len(head) else "" for head in heads] for row in range(tall)]
    named = [_folded(line[0], width) for line in cells]
    cells = [[first, *line[1:]] for (first, *_), line in zip(named, cells, strict=True)]
    widths = [max(map(cell_len, column)) for column in zip(*above, *cells, strict=True)]
    widths[0] = max([widths[0], *(cell_len(part) for parts in named for part in parts)])
    found = [_row(line, widths, right, bold=[True] * len(names)) for line in above]
    for image, rows in groupby(zip(table.rows, cells, named, strict=True), lambda each: each[0].group.image):
        if "image" in table.before:
            found += ["", f"{_BOLD}{image}{_USUAL}"]
        for row, line, (_, *rest) in rows:
            best = [False, *(row.cells[column.key].best for column in table.columns), *(False for _ in table.after)]
            found += [_row(line, widths, right, best), *rest]
    return found


def unstyled(text: str) -> str:
    """The text without bold letters, for a file."""
    return text.replace(_BOLD, "").replace(_USUAL, "")


def _stacked(name: str, cells: Sequence[str]) -> list[str]:
    """A heading in lines that are no wider than the cells below it, where its words allow that."""
    room = max([*map(cell_len, cells), *map(cell_len, name.split()), 1])
    return wrap(name, room) or [""]


def _row(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], bold: Sequence[bool]) -> str:
    parts = []
    for cell, width, to_right, is_bold in zip(cells, widths, right, bold, strict=True):
        space = " " * (width - cell_len(cell))
        text = f"{_BOLD}{cell}{_USUAL}" if is_bold and cell else cell
        parts.append(space + text if to_right else text + space)
    return "  ".join(parts).rstrip()
