"""Writes a table as a LaTeX ``tabular``: with columns of siunitx, or with plain ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from partinr.report.columns import Column
from partinr.report.paper import PaperTable
from partinr.report.table import Cell

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

_SETUP = r"""\sisetup{separate-uncertainty=true, detect-weight=true, table-align-text-post=false}
\ExplSyntaxOn \keys_if_exist:nnT {siunitx} {retain-zero-uncertainty} {\sisetup{retain-zero-uncertainty=true}}
\ExplSyntaxOff"""
"""Options that siunitx 2 and 3 know, and one of 3, which else leaves out a deviation of 0.000."""


def escaped(text: str) -> str:
    """Text as LaTeX shows it."""
    return "".join(_SIGNS.get(letter, letter) for letter in text)


def _signed(text: str) -> str:
    """Text with a minus before numbers instead of a hyphen: -2.40 (-3.1 to -1.7)."""
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", escaped(text))


def latex(table: PaperTable, plain: bool = False) -> str:
    """A ``tabular`` that needs the packages booktabs and siunitx, or booktabs alone.

    Args:
        table: the table.
        plain: whether numbers are plain text, aligned at the right, instead of columns of siunitx.
    """
    cells = {column.key: [row.cells[column.key] for row in table.rows] for column in table.columns}
    write = _plain_cell if plain else _siunitx_cell
    aligned = ["l"] * len(table.before)
    aligned += [_alignment(column, cells[column.key], plain) for column in table.columns]
    aligned += ["r" if heading == "seeds" else "l" for heading in table.after]
    headings = [*table.before, *(column.title for column in table.columns), *table.after]
    body: list[str] = []
    image = table.rows[0].group.image
    for row, line in zip(table.rows, table.lines(escaped, write), strict=True):
        if row.group.image != image:
            body.append(r"\midrule")
            image = row.group.image
        body.append(_line(line))
    return "\n".join(
        [
            rf"% \usepackage{{booktabs{'' if plain else ', siunitx'}}}",
            *(f"% {' '.join(note.split())}" for note in table.notes),
            *([] if plain else [r"\begingroup", _SETUP]),
            rf"\begin{{tabular}}{{{' '.join(aligned)}}}",
            r"\toprule",
            # Braces keep siunitx from reading a heading as a number.
            _line([escaped(heading) if plain else f"{{{escaped(heading)}}}" for heading in headings]),
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            *([] if plain else [r"\endgroup"]),
            "",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _is_number(cell: Cell) -> bool:
    """Whether siunitx can read it: no word, dash, infinity, or count of seeds."""
    return bool(cell.stat) and cell.text.strip("-0123456789.,kMGT") == "" and any(map(str.isdecimal, cell.text))


def _parts(cell: Cell) -> tuple[str, str, str]:
    """The number and its deviation without separators of thousands, and the unit after them."""
    number = cell.text.rstrip("kMGT")
    return number.replace(",", ""), cell.std.rstrip("kMGT").replace(",", ""), cell.text[len(number) :]


# -- siunitx --------------------------------------------------------------------------------------------------------


def _alignment(column: Column, cells: Sequence[Cell], plain: bool) -> str:
    if column.words or plain:
        return "l" if column.words else "r"
    numbers = [_parts(cell) for cell in cells if _is_number(cell)]
    if not numbers:
        return "c"
    whole = max(len(number.partition(".")[0].lstrip("-")) for number, _, _ in numbers)
    decimals = max(len(number.partition(".")[2]) for number, _, _ in numbers)
    # siunitx counts the digits of a deviation in units of the last place.
    deviation = max(len(std.replace(".", "").lstrip("0")) for _, std, _ in numbers)
    sign = "-" if any(number.startswith("-") for number, _, _ in numbers) else ""
    shape = f"{sign}{whole}.{decimals}" + (f"({deviation})" if deviation else "")
    after = max((_after(cell) for cell in cells if _is_number(cell)), key=len)
    return f"S[table-format={shape}" + (f", table-space-text-post={{{after}}}]" if after else "]")


def _after(cell: Cell) -> str:
    """What stands after a number: its unit, and the mark of a shared machine."""
    return escaped(_parts(cell)[2] + cell.sign)


def _siunitx_cell(cell: Cell, column: Column) -> str:
    if column.words:
        said = _signed(str(cell))
        return rf"\textbf{{{said}}}" if cell.best else said
    if not _is_number(cell):
        return f"{{{escaped(cell.text)}}}"
    number, std, _ = _parts(cell)
    after = _after(cell)
    return (
        (r"\bfseries " if cell.best else "")
        + number
        + (rf" \pm {std}" if std else "")
        + (f" {{{after}}}" if after else "")
    )


# -- plain ----------------------------------------------------------------------------------------------------------


def _plain_cell(cell: Cell, column: Column) -> str:
    bold: Callable[[str], str] = (lambda text: rf"\textbf{{{text}}}") if cell.best else str
    return bold(_signed(cell.text)) + escaped(cell.sign) + (rf" $\pm$ {escaped(cell.std)}" if cell.std else "")
