"""The columns of the report's tables: those of fits, and those that a regime names in ``run.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from partinr.base.numbers import ABSENT
from partinr.base.section import WORDS, Section
from partinr.report.groups import Group, Study
from partinr.report.stats import Stat
from partinr.report.versus import Versus
from partinr.runs.records import Axis, RunRecord

LEVELS = (25, 30, 35, 40)
"""PSNR levels [dB] at which convergence is compared."""

OfGroup = Callable[[Group, Versus | None], Stat | str | None]
OfRun = Callable[[RunRecord], float | None]


@dataclass(frozen=True)
class Column:
    """One number of a group."""

    key: str
    heading: str
    of: OfGroup
    """The number, or a word; None where the question does not arise (no lone network)."""
    form: str
    """How the number is written, see :mod:`partinr.base.numbers`; :data:`~partinr.base.section.WORDS` for words."""
    note: str = ""
    span: str = ""
    """Stands above this and its neighbours."""
    better: Literal["high", "low"] | None = None
    table: str = "results"
    against: Literal["lone", "random"] = "lone"
    """The measure that ``of`` is given: the lone network, or the same fit from a random start."""
    short: str = ""
    """Heading in Markdown and LaTeX, which leave the column out where it is empty."""
    terminal: str = ""
    """Heading in the terminal, which likewise leaves the column out."""
    rank: int = 0
    """Columns of a lower rank come first in Markdown and LaTeX."""
    clock: bool = False
    """A clock has measured it."""
    constant: bool = False
    """The deviation says something only where it is not written as zero."""
    ratio: bool = False
    """The lone network's own is 1."""

    @property
    def words(self) -> bool:
        """Whether it is text and no number."""
        return self.form == WORDS


def columns_of(study: Study) -> tuple[Column, ...]:
    """The numbers that are given of the groups of a study, in order."""
    if study.section is not None:
        first = study.section.tables[0].key
        return tuple(_named(study.section, field, first) for field in study.section.fields(study.table))
    learned = any(group.learned_start for group in study.groups)
    seams = any(
        record.number("metrics.seam.psnr_band") is not None for group in study.groups for record in group.records
    )
    further = [_named(Section(), field, "results") for field in study.table]
    return (
        *(c for c in COLUMNS if (learned or c.against == "lone") and (seams or c.table != "seams")),
        *further,
    )


def _named(section: Section, field: Mapping[str, Any], table: str) -> Column:
    """A column of ``run.json``, see :func:`partinr.base.section.field`."""
    known = {key: field[key] for key in ("span", "note", "better", "short", "clock", "constant") if key in field}
    form = field.get("form", "fixed:2")
    value = partial(_value, section, field)
    of = partial(_word if form == WORDS else _number, value)
    place = field.get("table") or table
    return Column(field["key"], field["heading"], of, form, table=place, terminal=field.get("short", ""), **known)


def _value(section: Section, field: Mapping[str, Any], record: RunRecord) -> Any:
    computed = section.computed.get(field["key"])
    return computed(record.manifest, record.config) if computed else record.at(field["value"])


def _number(value: Callable[[RunRecord], Any], group: Group, versus: Versus | None) -> Stat:
    def number(record: RunRecord) -> float | None:
        found = value(record)
        return float(found) if isinstance(found, (int, float)) else None

    return group.stat(number)


def _word(value: Callable[[RunRecord], Any], group: Group, versus: Versus | None) -> str:
    """The word of the first run that has one: a run that was stopped early may lack it."""
    found = (value(record) for record in group.records)
    return str(next((word for word in found if word not in (None, ABSENT)), ABSENT))


# -- of fits --------------------------------------------------------------------------------------------------------


def _run(of: OfRun) -> OfGroup:
    return lambda group, versus: group.stat(of)


def _at(path: str) -> OfGroup:
    return _run(lambda record: record.number(path))


def _effort(axis: Axis) -> OfGroup:
    return lambda group, versus: versus.effort[axis] if versus else None


def _ratio(axis: Axis) -> OfGroup:
    return lambda group, versus: versus.ratio[axis] if versus else None


def _to(level: float, axis: Axis) -> OfGroup:
    return _run(lambda record: record.reaches(level, axis))


def _seconds_per_step(record: RunRecord) -> float | None:
    seconds, steps = record.number("seconds.training"), record.number("steps")
    return seconds / steps if seconds is not None and steps else None


_LONE = "The PSNR at which the network without a partition ended; otherwise the same configuration, but for the width"
_RANDOM = "The PSNR at which the same fit from a random start ended"
_ACROSS = "across borders, root mean square"

_size = partial(Column, span="Size", constant=True)
_cost = partial(Column, span="Cost")
_quality = partial(Column, span="Quality", better="high")
_speed = partial(Column, span="Speed-up to lone PSNR", better="high", ratio=True)
_steps = partial(Column, span="Steps to", better="low", table="convergence")
_seconds = partial(Column, span="Seconds to", better="low", table="convergence", clock=True)
_start = partial(
    Column, span="Speed-up to random start's PSNR", better="high", table="convergence", against="random", rank=5
)


def _seam(name: str, heading: str, form: str, span: str, note: str, better: Literal["high", "low"] | None) -> Column:
    return Column(f"seam_{name}", heading, _at(f"metrics.seam.{name}"), form, note, span, better, "seams")


_BAND, _JUMP, _SLOPE = "PSNR dB", "Jump of values", "Jump of slopes"

COLUMNS: tuple[Column, ...] = (
    _size(
        "regions", "regions", _at("regions"), "fixed:0", "Networks, one a region", short="regions", terminal="regions"
    ),
    _size(
        "parameters",
        "parameters",
        _at("parameters"),
        "si",
        "Over all regions",
        short="parameters",
        terminal="parameters",
    ),
    _size(
        "macs_per_pixel",
        "MACs/pixel",
        _at("macs_per_pixel"),
        "si",
        "Multiply-accumulates of one forward pass, a pixel",
    ),
    _size(
        "map_bits",
        "map bits",
        _at("partition.bits"),
        "si",
        "The label map in lossless WebP, to be kept beside the weights; 0 where it follows from the rule's options",
    ),
    _cost(
        "partition_seconds",
        "partition s",
        _at("seconds.partition"),
        "fixed:2",  # less than that is nothing beside a fit
        "What the partition rule took; not in the training seconds",
        constant=True,
        clock=True,
    ),
    _cost(
        "seconds",
        "training s",
        _at("seconds.training"),
        "significant",
        "Training alone; evaluation is not counted",
        short="training s",
        terminal="seconds",
        clock=True,
    ),
    _cost(
        "seconds_per_step",
        "ms/step",
        _run(_seconds_per_step),
        "milli",
        "Training time over steps",
        better="low",
        clock=True,
    ),
    _quality(
        "psnr", "PSNR dB", _at("metrics.psnr"), "fixed:2", "At the end of training", short="PSNR dB", terminal="PSNR dB"
    ),
    _quality("ssim", "SSIM", _at("metrics.ssim"), "fixed:3", "At the end of training", short="SSIM", terminal="SSIM"),
    _speed(
        "lone_step_ratio",
        "in steps",
        _ratio("step"),
        "fixed:2",
        f"Times fewer. {_LONE}",
        short="× fewer steps",
        terminal="× steps",
        rank=2,
    ),
    _speed(
        "lone_time_ratio",
        "in time",
        _ratio("seconds"),
        "fixed:2",
        f"Times less. {_LONE}",
        short="× less time",
        terminal="× time",
        rank=4,
        clock=True,
    ),
    _speed(
        "lone_total_ratio",
        "in all",
        lambda group, versus: versus.ratio_with_partition if versus else None,
        "fixed:2",
        f"Times less time, that of the partition rule counted too. {_LONE}",
        clock=True,
    ),
    *(
        _steps(
            f"steps_{level}",
            f"{level} dB",
            _to(level, "step"),
            "steps",
            "First crossing, linear between the two evaluations around it",
        )
        for level in LEVELS
    ),
    _steps(
        "lone_steps",
        "lone PSNR",
        _effort("step"),
        "steps",
        _LONE,
        short="steps to lone PSNR",
        terminal="steps to lone",
        rank=1,
    ),
    *(
        _seconds(
            f"seconds_{level}",
            f"{level} dB",
            _to(level, "seconds"),
            "significant",
            "Training alone, at the first crossing",
        )
        for level in LEVELS
    ),
    _seconds(
        "lone_seconds", "lone PSNR", _effort("seconds"), "significant", _LONE, short="seconds to lone PSNR", rank=3
    ),
    _start(
        "random_step_ratio",
        "in steps",
        _ratio("step"),
        "fixed:2",
        f"Times fewer. {_RANDOM}",
        short="× fewer steps than random start",
    ),
    _start(
        "random_time_ratio",
        "in time",
        _ratio("seconds"),
        "fixed:2",
        f"Times less; what learning the start took is not in it. {_RANDOM}",
        short="× less time than random start",
        clock=True,
    ),
    replace(
        _seam("band", "share", "fixed:2", _BAND, "Of the pixels that lie in the band along borders", None),
        constant=True,
    ),
    _seam("psnr_band", "in the band", "fixed:2", _BAND, "Of the pixels within two steps of a border", "high"),
    _seam("psnr_inside", "inside", "fixed:2", _BAND, "Of all other pixels", "high"),
    _seam("jump_ratio", "ratio", "fixed:2", _JUMP, f"Between neighbours {_ACROSS}; 1 is as in the image", None),
    _seam("jump_error", "error", "significant", _JUMP, f"Minus the image's own {_ACROSS}", "low"),
    _seam("gradient_ratio", "ratio", "fixed:2", _SLOPE, f"Of the slope {_ACROSS}; 1 is as in the image", None),
    _seam("gradient_error", "error", "significant", _SLOPE, f"Minus the image's own {_ACROSS}", "low"),
)
"""Every number that the report gives of a group of fits, in order."""
