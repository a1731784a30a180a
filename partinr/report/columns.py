"""The columns of the report's tables: those of fits, and those that a regime names in ``run.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import yaml

from partinr.base.numbers import ABSENT
from partinr.base.section import WORDS, Section, Table
from partinr.report.groups import Group, Study
from partinr.report.stats import Stat
from partinr.report.versus import Versus
from partinr.runs.records import Axis, RunRecord
from partinr.runs.subject import PSNR, Leading

_GROUPINGS = ("Size", "Cost", "Quality", "CPU seconds")
"""Common headings that a column alone can do without."""

OfGroup = Callable[[Group, Versus | None], Stat | str | None]


@dataclass(frozen=True)
class Column:
    """One number of a group."""

    key: str
    heading: str
    of: OfGroup
    """The number or word; None if it does not apply (no lone network)."""
    form: str
    """How the number is written, see :mod:`partinr.base.numbers`; :data:`~partinr.base.section.WORDS` for words."""
    value: str = ""
    """Path of the number in the manifest of a run, see :func:`partinr.base.section.lookup`."""
    note: str = ""
    span: str = ""
    """Common heading above this column and its neighbours."""
    better: Literal["high", "low"] | None = None
    table: str = "results"
    against: Literal["lone", "random"] = "lone"
    """What the group is compared with: the lone network, or the same fit from a random start."""
    short: str = ""
    """Heading in Markdown and LaTeX, which omit the column if it is empty."""
    terminal: str = ""
    """Heading in the terminal, which omits the column if it is empty."""
    rank: int = 0
    """Columns of a lower rank come first in Markdown and LaTeX."""
    clock: bool | Literal["cpu"] = False
    """Whether a clock measured it: True for wall seconds, which mean little if other work shared the machine."""
    compared: bool = False
    """Whether it has measurements of the other group of the comparison, too."""
    constant: bool = False
    """Whether to omit a deviation that would be written as zero."""
    optional: bool = False
    """Whether tables leave the column out where no run has the number."""
    ratio: bool = False
    """Whether the value of the lone network is 1."""

    @property
    def title(self) -> str:
        """The heading of the column where it stands alone, without a common heading above it."""
        span = "" if self.span in _GROUPINGS else self.span
        return self.short or self.terminal or f"{span} {self.heading}".strip()

    @property
    def is_effort(self) -> bool:
        """Whether it is an effort to reach a PSNR, or a ratio of efforts."""
        return self.value.partition(".")[0] in ("versus", "reaches")

    @property
    def of_image(self) -> str:
        """Key of the number among those of one of several images of a run."""
        return self.value.removeprefix("metrics.")

    @property
    def words(self) -> bool:
        """Whether the column is text instead of numbers."""
        return self.form == WORDS


def columns_of(study: Study) -> tuple[Column, ...]:
    """The columns for the groups of a study, in order."""
    found = _columns_of_section(study.section, study) if study.section is not None else _columns_of_fits(study)
    # Runs of older versions have no CPU seconds, and SSIM is of images.
    pictures = any(record.is_picture for group in study.groups for record in group.records)
    return tuple(
        column
        for column in found
        if (study.timed or column.clock != "cpu") and (pictures or column.value != "metrics.ssim")
    )


def _columns_of_section(section: Section, study: Study) -> tuple[Column, ...]:
    first = section.tables[0].key
    return tuple(_column(section, first, field) for field in section.fields(study.table))


def _columns_of_fits(study: Study) -> tuple[Column, ...]:
    learned = any(group.learned_start for group in study.groups)
    seams = any(record.at("metrics.seam.psnr_band") is not None for group in study.groups for record in group.records)
    leading = study.subject.leading
    found = [
        each
        for each in _of_fits(leading)
        if (learned or each.against == "lone")
        and (seams or each.table != "seams")
        and (not each.optional or any(record.number(each.value) is not None for record in study.records))
    ]
    for field in study.table:
        further = _column(Section(), TABLES[0].key, field)
        alike = [n for n, each in enumerate(found) if (each.table, each.span) == (further.table, further.span)]
        # The leading metric is the first of its kind.
        place = alike[0] if field["key"] == leading.key else alike[-1] + 1 if alike else len(found)
        found.insert(place, further)
    return tuple(found)


def _column(section: Section, table: str, field: Mapping[str, Any]) -> Column:
    """The column of a field, see :func:`partinr.base.section.field`."""
    known = {key: value for key, value in field.items() if key in Column.__dataclass_fields__ and value != ""}
    form = field.get("form", "fixed:2")
    kind, _, rest = field["value"].partition(".")
    of: OfGroup = partial(_numbers, section, field)
    if form == WORDS:
        of = partial(_word, section, field)
    elif kind == "versus":
        of = partial(_compared, rest)
    elif kind == "reaches":
        level, axis = rest.split(".")
        of = partial(_crossing, float(level), axis)
    usual = {
        "table": table,
        "terminal": field.get("terminal", field.get("short", "")),
        "compared": rest.startswith("ratio"),
    }
    return Column(**{**usual, **known, "of": of, "form": form})


def _value(section: Section, field: Mapping[str, Any], record: RunRecord) -> Any:
    computed = section.computed.get(field["key"])
    return computed(record.manifest, record.config) if computed else record.at(field["value"])


def _numbers(section: Section, field: Mapping[str, Any], group: Group, versus: Versus | None) -> Stat:
    values = (_value(section, field, record) for record in group.counted)
    return Stat.of([float(value) if isinstance(value, (int, float)) else None for value in values])


def _word(section: Section, field: Mapping[str, Any], group: Group, versus: Versus | None) -> str:
    """The word of the first run that has one, since a run that was stopped early may lack it."""
    found = (_value(section, field, record) for record in group.records)
    return str(next((word for word in found if word not in (None, ABSENT)), ABSENT))


def _compared(path: str, group: Group, versus: Versus | None) -> Stat | None:
    """A number of the comparison, by its attribute and axis."""
    name, _, axis = path.partition(".")
    found = getattr(versus, name, None)
    return found[axis] if found and axis else found


def _crossing(level: float, axis: Axis, group: Group, versus: Versus | None) -> Stat:
    return group.stat(lambda record: record.reaches(level, axis, group.leading.key))


_OF_FITS = yaml.safe_load(Path(__file__).with_name("columns.yaml").read_text(encoding="utf-8"))


def tables_of(study: Study) -> Sequence[Table]:
    """The tables for the groups of a study; those without columns are omitted."""
    return _tables(study.subject.leading) if study.section is None else study.section.tables


@cache
def _tables(leading: Leading) -> tuple[Table, ...]:
    return tuple(Table(**{key: _led(text, leading) for key, text in table.items()}) for table in _OF_FITS["tables"])


@cache
def _of_fits(leading: Leading) -> tuple[Column, ...]:
    """The columns of fits that are compared by a metric."""
    found = []
    for field in _OF_FITS["columns"]:
        efforts = field["value"].startswith(("versus.", "reaches."))
        said = {key: _led(value, leading) if efforts else value for key, value in field.items()}
        for level in leading.levels if "{level}" in field["key"] else (0,):
            found.append(_column(Section(), TABLES[0].key, {"terminal": "", **_at(said, level, leading.unit)}))
    return tuple(found)


def _led(value: Any, leading: Leading) -> Any:
    return value.replace(PSNR.name, leading.name) if isinstance(value, str) else value


def _at(field: Mapping[str, Any], level: float, unit: str) -> dict[str, Any]:
    """A column for one level."""
    texts = {key: value.replace("{level}", f"{level:g}") for key, value in field.items() if isinstance(value, str)}
    heading = f"{level:g} {unit}".rstrip() if "{level}" in field["heading"] else field["heading"]
    return {**field, **texts, "heading": heading}


TABLES = _tables(PSNR)
"""Tables of fits that are compared by their PSNR."""

COLUMNS = _of_fits(PSNR)
"""All columns of the report for a group of such fits, in order."""
