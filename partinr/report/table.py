"""The numbers of a study as rows: for the page, for the terminal and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from partinr.report.groups import Group, Stat, Study, Versus, measured
from partinr.report.naming import flat_value
from partinr.runs.records import Axis, RunRecord

LEVELS = (25, 30, 35, 40)
"""PSNR levels [dB] at which convergence is compared."""

ABSENT = "–"
"""Stands for a number that is unknown or a level that is not reached."""


# -- numbers for humans ---------------------------------------------------------------------------------------------

Format = Callable[[float], tuple[int, float, str]]
"""From a number to how it is written: decimals, divisor and unit; its deviation is then written alike."""


@dataclass(frozen=True)
class _Fixed:
    decimals: int

    def __call__(self, number: float) -> tuple[int, float, str]:
        return (self.decimals, 1.0, "")


def fixed(decimals: int) -> Format:
    """So many decimals, always."""
    return _Fixed(decimals)


def significant(number: float) -> tuple[int, float, str]:
    """Three significant digits, never an exponent: 0.0221, 33.1, 1,234."""
    return (max(0, 2 - _exponent(number)), 1.0, "")


def steps(number: float) -> tuple[int, float, str]:
    """A crossing in steps: whole from ten on, as it is interpolated."""
    return (0 if abs(number) >= 10 else 1, 1.0, "")


def si(number: float) -> tuple[int, float, str]:
    """Three significant digits with k, M, G, T: 87.0k, 794k, 1.23M; small whole numbers as they are."""
    if abs(number) < 1000 and float(number).is_integer():
        return (0, 1.0, "")
    power = min(max(_exponent(number) // 3, 0), 4)
    divisor = 1000.0**power
    return (max(0, 2 - _exponent(number / divisor)), divisor, ("", "k", "M", "G", "T")[power])


def milli(number: float) -> tuple[int, float, str]:
    """Seconds as milliseconds, three significant digits."""
    return (max(0, 2 - _exponent(number * 1000)), 1e-3, "")


def _exponent(number: float) -> int:
    """The power of ten of the first significant digit, after rounding to three."""
    return int(f"{number:.2e}".partition("e")[2]) if math.isfinite(number) else 0


def form_name(form: Format) -> tuple[str, int]:
    """A format as the page's script knows it: its name and, of fixed decimals, how many."""
    if isinstance(form, _Fixed):
        return "fixed", form.decimals
    names: dict[Format, str] = {significant: "significant", steps: "steps", si: "si", milli: "milli"}
    return names[form], 0


def write(number: float, form: Format) -> str:
    """``number`` in its format."""
    return _written(number, *form(number))


def _written(number: float, decimals: int, divisor: float, unit: str) -> str:
    if not math.isfinite(number):
        return "∞" if number > 0 else ABSENT
    return f"{number / divisor:,.{decimals}f}{unit}"


# -- columns --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """One number of a group."""

    key: str
    heading: str
    of: Callable[[Group, Versus | None], Stat | str | None]
    """The number, or a word; None where the question does not arise (no lone network)."""
    form: Format
    span: str
    """What is written above this and its neighbours."""
    note: str
    better: Literal["high", "low"] | None = None
    table: Literal["results", "convergence", "seams", "learning", "learning-cost"] = "results"
    against: Literal["lone", "random"] = "lone"
    """The measure that ``of`` is given: the lone network, or the same fit from a random start."""
    words: bool = False
    """No number."""


@dataclass(frozen=True)
class Cell:
    """A number as it is written. ``text`` is the mean, ``2/3`` where not all seeds have it, or a dash."""

    stat: Stat | None
    text: str
    std: str = ""
    best: bool = False
    own: bool = False
    """A ratio of the lone network to itself."""

    def __str__(self) -> str:
        return f"{self.text} ± {self.std}" if self.std else self.text


@dataclass(frozen=True)
class Row:
    """A group and its cells by the key of their column."""

    group: Group
    versus: Versus | None
    random: Versus | None
    """Against the same fit from a random start."""
    cells: Mapping[str, Cell]


def seconds_per_step(record: RunRecord) -> float | None:
    """Training seconds of one optimiser step, mean over the run."""
    seconds = record.number("seconds", "training") or record.last("seconds")
    steps = record.number("steps") or record.last("step")
    return seconds / steps if seconds is not None and steps else None


def _training(record: RunRecord) -> float | None:
    seconds = record.number("seconds", "training")
    return record.last("seconds") if seconds is None else seconds


def _run(of: Callable[[RunRecord], float | None]) -> Callable[[Group, Versus | None], Stat]:
    return lambda group, versus: group.stat(of)


def _effort(axis: Axis, group: Group, versus: Versus | None) -> Stat | None:
    return versus.effort[axis] if versus else None


def _ratio(axis: Axis, group: Group, versus: Versus | None) -> Stat | None:
    return versus.ratio[axis] if versus else None


def _steps_to(level: float, record: RunRecord) -> float | None:
    return record.steps_to(level)


def _seconds_to(level: float, record: RunRecord) -> float | None:
    return record.seconds_to(level)


_SIZE, _COST, _QUALITY = "Size", "Cost", "Quality"
_SPEED = "Speed-up to lone PSNR"
_START = "Speed-up to random start's PSNR"
_RANDOM = "The PSNR at which the same fit from a random start ended"
_LONE = "The PSNR at which the network without a partition ended; otherwise the same configuration, but for the width"


def _seam(name: str, record: RunRecord) -> float | None:
    return record.number("metrics", "seam", name)


def _seam_column(
    name: str, heading: str, form: Format, span: str, note: str, better: Literal["high", "low"] | None = None
) -> Column:
    return Column(f"seam_{name}", heading, _run(partial(_seam, name)), form, span, note, better, "seams")


_BAND, _JUMP, _SLOPE = "PSNR dB", "Jump of values", "Jump of slopes"
_ACROSS = "across borders, root mean square"

COLUMNS: tuple[Column, ...] = (
    Column("regions", "regions", _run(lambda r: r.number("regions")), fixed(0), _SIZE, "Networks, one a region"),
    Column("parameters", "parameters", _run(lambda r: r.number("parameters")), si, _SIZE, "Over all regions"),
    Column(
        "macs_per_pixel",
        "MACs/pixel",
        _run(lambda r: r.number("macs_per_pixel")),
        si,
        _SIZE,
        "Multiply-accumulates of one forward pass, a pixel",
    ),
    Column(
        "map_bits",
        "map bits",
        _run(lambda r: r.number("partition", "bits")),
        si,
        _SIZE,
        "The label map in lossless WebP, to be kept beside the weights; 0 where it follows from the rule's options",
    ),
    Column(
        "partition_seconds",
        "partition s",
        _run(lambda r: r.number("seconds", "partition")),
        fixed(2),  # what is less is nothing beside a fit
        _COST,
        "What the partition rule took; not in the training seconds",
    ),
    Column("seconds", "training s", _run(_training), significant, _COST, "Training alone; evaluation is not counted"),
    Column("seconds_per_step", "ms/step", _run(seconds_per_step), milli, _COST, "Training time over steps", "low"),
    Column("psnr", "PSNR dB", _run(lambda r: r.final("psnr")), fixed(2), _QUALITY, "At the end of training", "high"),
    Column("ssim", "SSIM", _run(lambda r: r.final("ssim")), fixed(3), _QUALITY, "At the end of training", "high"),
    Column("lone_step_ratio", "in steps", partial(_ratio, "step"), fixed(2), _SPEED, f"Times fewer. {_LONE}", "high"),
    Column("lone_time_ratio", "in time", partial(_ratio, "seconds"), fixed(2), _SPEED, f"Times less. {_LONE}", "high"),
    Column(
        "lone_total_ratio",
        "in all",
        lambda group, versus: versus.ratio_with_partition if versus else None,
        fixed(2),
        _SPEED,
        f"Times less time, that of the partition rule counted too. {_LONE}",
        "high",
    ),
    *(
        Column(
            f"steps_{level}",
            f"{level} dB",
            _run(partial(_steps_to, level)),
            steps,
            "Steps to",
            "First crossing, linear between the two evaluations around it",
            "low",
            "convergence",
        )
        for level in LEVELS
    ),
    Column("lone_steps", "lone PSNR", partial(_effort, "step"), steps, "Steps to", _LONE, "low", "convergence"),
    *(
        Column(
            f"seconds_{level}",
            f"{level} dB",
            _run(partial(_seconds_to, level)),
            significant,
            "Seconds to",
            "Training alone, at the first crossing",
            "low",
            "convergence",
        )
        for level in LEVELS
    ),
    Column(
        "lone_seconds", "lone PSNR", partial(_effort, "seconds"), significant, "Seconds to", _LONE, "low", "convergence"
    ),
    Column(
        "random_step_ratio",
        "in steps",
        partial(_ratio, "step"),
        fixed(2),
        _START,
        f"Times fewer. {_RANDOM}",
        "high",
        "convergence",
        "random",
    ),
    Column(
        "random_time_ratio",
        "in time",
        partial(_ratio, "seconds"),
        fixed(2),
        _START,
        f"Times less; what learning the start took is not in it. {_RANDOM}",
        "high",
        "convergence",
        "random",
    ),
    _seam_column("band", "share", fixed(2), _BAND, "Of the pixels that lie in the band along borders"),
    _seam_column("psnr_band", "in the band", fixed(2), _BAND, "Of the pixels within two steps of a border", "high"),
    _seam_column("psnr_inside", "inside", fixed(2), _BAND, "Of all other pixels", "high"),
    _seam_column("jump_ratio", "ratio", fixed(2), _JUMP, f"Between neighbours {_ACROSS}; 1 is as in the image"),
    _seam_column("jump_error", "error", significant, _JUMP, f"Minus the image's own {_ACROSS}", "low"),
    _seam_column("gradient_ratio", "ratio", fixed(2), _SLOPE, f"Of the slope {_ACROSS}; 1 is as in the image"),
    _seam_column("gradient_error", "error", significant, _SLOPE, f"Minus the image's own {_ACROSS}", "low"),
)
"""Every number the report gives of a group of fits, in order."""

MOST_INNER_STEPS = 4
"""So many inner steps, from 0 on, have a column each; beyond them those of the training and the last have."""


def _algorithm(group: Group, versus: Versus | None) -> str:
    return str(flat_value(group.flat, ("regime", "algorithm")) or ABSENT)


def _cut(group: Group, versus: Versus | None) -> str:
    """How signals are cut in training and in testing."""
    said = [record.manifest.get("partition") for record in group.records]
    known = next((cut for cut in said if isinstance(cut, Mapping) and "train" in cut), {})
    train, test = known.get("train", ABSENT), known.get("test", ABSENT)
    return str(train) if train == test else f"{train} → {test}"


def _trained_steps(group: Group, versus: Versus | None) -> str:
    return str(group.inner_steps or ABSENT)


def _after(inner_steps: int, record: RunRecord) -> float | None:
    return record.psnr_after(inner_steps)


def _learning_columns(study: Study) -> tuple[Column, ...]:
    """Every number the report gives of a group that learned an initialisation, in order."""
    method = "Method"
    ends = [(group.inner_steps, group.inner_curve().psnr.size - 1) for group in study.groups]
    most = max((max(trained or 0, last) for trained, last in ends), default=0)
    first = {step for trained, _ in ends if trained for step in range(min(trained + 1, MOST_INNER_STEPS))}
    further = {step for steps in ends for step in steps if step is not None and step > 0}
    shown = sorted(step for step in first | further if step <= most)
    columns = (
        Column("algorithm", "algorithm", _algorithm, fixed(0), method, "Of learning the initialisation", words=True),
        Column(
            "cut",
            "partition",
            _cut,
            fixed(0),
            method,
            "How signals are cut; in training → in testing, where that differs",
            words=True,
        ),
        Column("inner_steps", "K", _trained_steps, fixed(0), method, "Inner steps in training", words=True),
        Column("regions", "regions", _run(lambda r: r.number("regions")), fixed(0), _SIZE, "Networks a signal"),
        Column(
            "parameters",
            "parameters",
            _run(lambda r: r.number("parameters")),
            si,
            _SIZE,
            "Of what represents one signal: over all regions",
        ),
        Column(
            "parameters_learned",
            "learned",
            _run(lambda r: r.number("parameters_learned")),
            si,
            _SIZE,
            "What the outer steps move: initialisation and learning rates",
        ),
        Column("seconds", "training s", _run(_training), significant, _COST, "Outer steps alone, without evaluation"),
        Column(
            "seconds_per_step", "ms/outer step", _run(seconds_per_step), milli, _COST, "Training time over steps", "low"
        ),
        Column(
            "peak_memory_bytes", "memory B", _run(lambda r: r.number("peak_memory_bytes")), si, _COST, "At its peak"
        ),
        *(
            Column(
                f"psnr_{step}",
                str(step),
                _run(partial(_after, step)),
                fixed(2),
                "PSNR dB after inner steps",
                f"Mean over held-out signals, at the end of training, {step} inner steps from the initialisation",
                "high",
            )
            for step in shown
        ),
        Column("ssim", "SSIM", _run(lambda r: r.final("ssim")), fixed(3), _QUALITY, "After K inner steps", "high"),
    )
    # In one table they would be wider than a page.
    return tuple(
        replace(column, table="learning-cost" if column.span in (_SIZE, _COST) else "learning") for column in columns
    )


def columns_of(study: Study) -> tuple[Column, ...]:
    """The numbers that are given of the groups of a study, in order."""
    if study.learns == "initialisation":
        return _learning_columns(study)
    learned = any(group.learned_start for group in study.groups)
    seams = any(_seam("psnr_band", record) is not None for group in study.groups for record in group.records)
    return tuple(
        column for column in COLUMNS if (learned or column.against == "lone") and (seams or column.table != "seams")
    )


CONSTANT = {
    "regions",
    "parameters",
    "parameters_learned",
    "macs_per_pixel",
    "map_bits",
    "partition_seconds",
    "seam_band",
}
"""Columns whose deviation says something only where it is not written as zero."""

RATIOS = {"lone_step_ratio", "lone_time_ratio", "lone_total_ratio"}


def rows(study: Study) -> list[Row]:
    """A row a group; the best of a column is marked among the groups of one image."""
    columns = columns_of(study)
    plain = {}
    for group in study.groups:
        measures = {"lone": study.versus(group), "random": study.versus_random(group)}
        cells = {column.key: _cell(column, group, measures[column.against]) for column in columns}
        plain[group] = Row(group, measures["lone"], measures["random"], cells)
    best = {
        (column.key, image): _best(column, [plain[group] for group in study.on(image)])
        for column in columns
        for image in study.images
    }
    return [
        Row(
            group,
            row.versus,
            row.random,
            {
                key: replace(cell, best=not group.provisional and cell.text == best[key, group.image])
                for key, cell in row.cells.items()
            },
        )
        for group, row in plain.items()
    ]


def of_run(
    columns: Sequence[Column], row: Row, record: RunRecord
) -> tuple[dict[str, float | str | None], Versus | None]:
    """What one run of a row's group has in each column, and its measure against the lone network.

    The run need not count: one that still runs has what it has reached so far.
    """
    alone = replace(row.group, counted=(record,), records=(record,))
    against = {
        "lone": row.versus and measured(alone, row.versus.lone),
        "random": row.random and measured(alone, row.random.lone),
    }
    stats = {column.key: column.of(alone, against[column.against]) for column in columns}
    return {key: stat.mean if isinstance(stat, Stat) else stat for key, stat in stats.items()}, against["lone"]


def lone_of(table: Sequence[Row], image: str) -> Versus | None:
    """The lone network of an image, as measured against itself; None if there is none, or more than one."""
    found = [row.versus for row in table if row.group.image == image and row.versus and row.versus.lone is row.group]
    return found[0] if len(found) == 1 else None


def _cell(column: Column, group: Group, versus: Versus | None) -> Cell:
    stat = column.of(group, versus)
    if isinstance(stat, str):
        return Cell(None, stat)
    if stat is None or stat.mean is None:
        return Cell(stat, f"{stat.have}/{stat.n}" if stat and stat.have else ABSENT)
    if versus and versus.lone is group and column.key in RATIOS:
        return Cell(stat, "1", own=True)
    form = column.form(stat.mean)
    std = "" if stat.std is None else _written(stat.std, *form)
    if column.key in CONSTANT and not std.strip("0.kMGT"):
        std = ""
    return Cell(stat, _written(stat.mean, *form), std)


def _best(column: Column, of_image: Sequence[Row]) -> str | None:
    """The best value as it is written, so that what reads alike is marked alike; None if nothing stands out."""
    found = {
        row.cells[column.key].text: stat.mean
        for row in of_image
        if not row.group.provisional and (stat := row.cells[column.key].stat) and stat.mean is not None
    }
    if column.better is None or len(found) < 2:
        return None
    return (max if column.better == "high" else min)(found, key=lambda text: found[text])


# -- for the terminal and as CSV ------------------------------------------------------------------------------------

_SUMMARY = ("regions", "parameters", "psnr", "ssim", "seconds", "lone_steps", "lone_step_ratio", "lone_time_ratio")
_SUMMARY_HEADINGS = {
    "lone_steps": "steps to lone",
    "lone_step_ratio": "× steps",
    "lone_time_ratio": "× time",
    "seconds": "seconds",
}
_LEARNING_SUMMARY = ("algorithm", "regions", "parameters", "seconds")
"""Beside PSNR after inner steps."""


def summary_rows(records: Sequence[RunRecord]) -> list[dict[str, str]]:
    """A short table for the terminal.

    Args:
        records: runs, as of :func:`~partinr.runs.records.collect`.

    Returns:
        A dictionary a group, from heading to text; all have the same headings in the same order. Columns that no group
        has a number for are left out. Groups that learned an initialisation follow the others, with PSNR in columns of
        their own. Runs too damaged to be in a group have a row of their own.
    """
    lines = [*_summary(Study.of(records)), *_summary(Study.of(records, "initialisation"))]
    damaged = [record for record in records if record.status == "damaged"]
    headings = list(dict.fromkeys(heading for line in lines for heading in line if heading not in _LAST))
    lines += [{"group": record.name, "seeds": "0", "state": record.status} for record in damaged]
    return [{heading: line.get(heading, ABSENT) for heading in ["group", *headings[1:], *_LAST]} for line in lines]


_LAST = ("seeds", "state")


def _summary(study: Study) -> list[dict[str, str]]:
    table = rows(study)
    if study.learns == "initialisation":
        chosen = [c for c in columns_of(study) if c.key in _LEARNING_SUMMARY or c.key.startswith("psnr_")]
        headings = {c.key: f"PSNR after {c.heading}" if c.key.startswith("psnr_") else c.heading for c in chosen}
        headings["seconds"] = _SUMMARY_HEADINGS["seconds"]
    else:
        chosen = [column for column in columns_of(study) if column.key in _SUMMARY]
        chosen = [c for c in chosen if any((stat := row.cells[c.key].stat) and stat.have for row in table)]
        headings = {column.key: _SUMMARY_HEADINGS.get(column.key, column.heading) for column in chosen}
    return [
        {
            "group": row.group.name,
            **{headings[column.key]: str(row.cells[column.key]) for column in chosen},
            "seeds": str(row.group.n),
            "state": row.group.state,
        }
        for row in table
    ]


def to_csv(study: Study) -> str:
    """The whole table with every digit: ``KEY``, ``KEY_std`` and ``KEY_reached``, the number of seeds that have it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heading = ["image", "group"]
    columns = columns_of(study)
    for column in columns:
        heading += [column.key] if column.words else [column.key, f"{column.key}_std", f"{column.key}_reached"]
    writer.writerow([*heading, "seeds", "state"])
    for row in rows(study):
        line: list[str | int | float | None] = [row.group.image, row.group.label]
        for column in columns:
            cell = row.cells[column.key]
            if column.words:
                line.append(cell.text)
            else:
                line += [cell.stat.mean, cell.stat.std, cell.stat.have] if cell.stat else [None, None, None]
        writer.writerow([*line, row.group.n, row.group.state])
    return text.getvalue()
