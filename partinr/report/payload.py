"""The data for the page's script: every run once, so that the page can filter and group runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, get_args

import numpy as np

from partinr.base.section import Section
from partinr.base.statistics import critical_values
from partinr.base.text import visible
from partinr.pictures.palette import Style
from partinr.report.columns import Column, columns_of
from partinr.report.curves import Numbers
from partinr.report.groups import Group, Study, cuts_of
from partinr.report.measures import measures_of
from partinr.report.search import search_of
from partinr.report.significance import LEVEL
from partinr.report.table import Row, is_marked, lone_of, of_run
from partinr.report.thin import thin
from partinr.runs.layout import CODECS
from partinr.runs.naming import UNCUT, Cut, Facet, facets
from partinr.runs.records import Axis, RunRecord

DIGITS = 6
"""Significant digits of curves on the page: finer than any screen, at half the size."""

CRITICAL = 201
"""Number of critical values of the page's t-tests."""

_NEEDED = (*get_args(Axis), "psnr")
"""Columns of a curve that the page always has."""


class Words:
    """Stores each text that runs share once."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    def __call__(self, text: str) -> int:
        """The number of a text."""
        return self._index.setdefault(text, len(self._index))

    @property
    def texts(self) -> list[str]:
        """All texts, in the order of their numbers."""
        return list(self._index)


def payload(
    records: Sequence[RunRecord],
    studies: Mapping[str, tuple[Study, Sequence[Row], Mapping[str, Style]]],
    details: Sequence[tuple[Mapping[str, str], str]],
) -> dict[str, Any]:
    """The JSON that is embedded in the page.

    Args:
        records: all runs, in the order of the page.
        studies: studies by key, each with its rows and the styles of its groups.
        details: facts and config of each run as text.

    Returns:
        ``runs`` in the order of ``records``: their study, group and image by number, their values for the columns of
        the study, curve, and details by the number of the lines in ``words``; ``studies`` with images, labels and
        columns; ``facets`` to filter and group runs by; ``uncut``, a word for one region; ``tolerance`` [dB] of curves.
    """
    words = Words()
    curves, tolerance = thin([_curve(record) for record in records])
    runs: dict[RunRecord, dict[str, Any]] = {}
    for record, curve, (facts, config) in zip(records, curves, details, strict=True):
        runs[record] = {
            "name": record.name,
            "path": visible(str(record.path)),
            "status": record.status,
            "seed": record.seed,
            "message": record.message,
            "shared": bool(record.shared),
            "facts": [[words(name), words(fact)] for name, fact in facts.items()],
            "config": [words(line) for line in config.splitlines()],
            "curve": {name: _written(name, values) for name, values in curve.items()} if curve["step"].size else None,
        }
    for key, (study, table, _) in studies.items():
        _place(runs, key, study, table)
    searches = {key: search_of(study, runs) for key, (study, _, _) in studies.items()}
    found = _facets(records, [study for study, _, _ in studies.values()], runs)
    return {
        "runs": list(runs.values()),
        "studies": {key: {**_study(*parts), "search": searches[key]} for key, parts in studies.items()},
        "facets": found,
        "uncut": UNCUT,
        "critical": [round(each, 4) for each in critical_values(LEVEL, CRITICAL)],
        "tolerance": number(tolerance),
        "words": words.texts,
    }


def _curve(record: RunRecord) -> dict[str, Numbers]:
    """The axes and PSNR of a curve, and its other columns that have a number."""
    columns = {name: np.array(values) for name, values in record.curve.items()}
    needed = (*_NEEDED, record.subject.leading.key)
    return {name: values for name, values in columns.items() if name in needed or np.isfinite(values).any()}


def _written(name: str, values: Numbers) -> list[float | int | None] | float | int | None:
    """A column of a curve; a metric that never changes, as a constant learning rate, is one number."""
    constant = name not in _NEEDED and bool((values == values[0]).all())
    return number(float(values[0])) if constant else numbers(values)


def _study(study: Study, table: Sequence[Row], style: Mapping[str, Style]) -> dict[str, Any]:
    lones = {image: lone_of(table, image) for image in study.images}
    return {
        "images": [
            {"name": image, "level": (lone := lones[image]) and number(lone.level), **_codecs(study, image)}
            for image in study.images
        ],
        "leading": asdict(study.subject.leading),
        "words": study.subject.words,
        "labels": [{"label": label, "slot": style[label].slot, "dash": style[label].dash} for label in study.labels],
        "columns": [_column(column) for column in columns_of(study)],
        "charts": [asdict(chart) for chart in (study.section.charts if study.section else ())],
        "metrics": [asdict(each) for each in measures_of(study)],
        "steps": study.section.steps if study.section else "optimiser steps",
    }


def _codecs(study: Study, image: str) -> dict[str, Any]:
    """Bits per pixel and PSNR of JPEG and WebP on an image, taken from one of its runs.

    For several images these are means, and ``parts`` has the values of each image in order.
    """
    rated = [record for group in study.on(image) for record in group.records if record.rates]
    record = next((each for each in rated if each.image_rates), rated[0] if rated else None)
    if record is None:
        return {"codecs": {}, "count": None, "parts": []}
    parts = [{"name": name, "codecs": _by_coder(rates)} for name, rates in record.image_rates.items()]
    return {"codecs": _by_coder(record.rates), "count": len(record.images) or None, "parts": parts}


def _by_coder(rates: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float | int | None]]]:
    found: dict[str, list[list[float | int | None]]] = {}
    for row in rates:
        if row["coder"] in CODECS:
            found.setdefault(str(row["coder"]), []).append(numbers([row["bpp"], row["psnr"]]))
    return found


def _column(column: Column) -> dict[str, Any]:
    names = ("key", "table", "form", "better", "words", "constant", "ratio")
    return {name: getattr(column, name) for name in names}


def _place(runs: Mapping[RunRecord, dict[str, Any]], key: str, study: Study, table: Sequence[Row]) -> None:
    """Add position and column values to the runs of a study."""
    columns = columns_of(study)
    labels = {label: index for index, label in enumerate(study.labels)}
    seen = list(dict.fromkeys(group.seen for group in study.groups))
    images = {image: index for index, image in enumerate(study.images)}
    for rank, row in enumerate(table):
        group, versus = row.group, row.versus
        for record in group.records:
            values, own = of_run(columns, row, record)
            runs[record] |= {
                "study": key,
                "image": images[group.image],
                "label": labels[group.label],
                "seen": seen.index(group.seen),
                "rank": rank,
                # Superseded by a later run of the same group and seed.
                "repeated": _repeated(group, record),
                "own": versus is not None and versus.lone is group,
                "values": [_value(values[column.key]) for column in columns],
                # The columns with seconds of a shared machine.
                "marked": [
                    index
                    for index, column in enumerate(columns)
                    if is_marked(column, record, row.random if column.against == "random" else versus)
                ],
                "charts": [
                    {"values": numbers(record.numbers(chart.values)), "mark": record.at(chart.mark)}
                    for chart in (study.section.charts if study.section else ())
                ],
            }
            if record.images:
                runs[record]["of_images"] = _of_images(columns, record)
            if fits := _fits(record.rates):
                runs[record]["rates"] = [[setting, *numbers(point)] for setting, point in fits.items()]
                # The precisions are the same for each image and left out.
                parts = [_fits(rates) for rates in record.image_rates.values()]
                if parts:
                    nothing = (math.nan, math.nan)
                    runs[record]["parts"] = [[numbers(own.get(each, nothing)) for each in fits] for own in parts]
            if versus and own and versus.lone is not group:
                effort = {axis: number(stat.mean) for axis, stat in own.effort.items()}
                runs[record]["reached"] = {"level": number(versus.level), **effort}


def _of_images(columns: Sequence[Column], record: RunRecord) -> dict[str, Any]:
    """The names of the images of a run, and the numbers of each in the columns that a test compares."""
    names = sorted(record.images)
    values = {}
    for index, column in enumerate(columns):
        found = [record.images[name].get(column.of_image) for name in names]
        if column.better and all(isinstance(each, (int, float)) for each in found):
            values[index] = numbers(found)
    return {"names": names, "values": values}


def _fits(rates: Sequence[Mapping[str, Any]]) -> dict[str, tuple[float, float]]:
    """Bits per pixel and PSNR of a fit, by precision."""
    return {row["setting"]: (row["bpp"], row["psnr"]) for row in rates if row["coder"] not in CODECS}


def _repeated(group: Group, record: RunRecord) -> bool:
    """Whether a run does not count because a later one has the same seed."""
    countable = bool(record.curve["step"]) if group.provisional else record.status == "completed"
    return countable and record not in group.counted


def _facets(
    records: Sequence[RunRecord], studies: Sequence[Study], runs: Mapping[RunRecord, dict[str, Any]]
) -> list[dict[str, Any]]:
    """The settings in which runs differ. Each run in ``runs`` gets the index of its value, or -1."""
    groups = [group for study in studies for group in study.groups]
    flats = list({id(group.flat): group.flat for group in groups}.values())
    sections = {id(group.flat): study.section or Section() for study in studies for group in study.groups}
    counts: dict[int, set[int]] = {id(flat): set() for flat in flats}
    cuts: dict[int, set[Cut]] = {id(flat): set() for flat in flats}
    asked: dict[int, list[Sequence[str]]] = {id(flat): [] for flat in flats}
    for group in groups:
        asked[id(group.flat)] += [record.overrides for record in group.records]
        counts[id(group.flat)] |= {record.regions for record in group.records if record.regions is not None}
        cuts[id(group.flat)] = cuts[id(group.flat)].union(*map(cuts_of, group.records))
    ids = [id(flat) for flat in flats]
    of_flats = [counts[each] for each in ids], [sections[each] for each in ids], [cuts[each] for each in ids]
    found = facets(flats, *of_flats, [asked[each] for each in ids]) if flats else []
    at = {id(flat): index for index, flat in enumerate(flats)}
    of_group = {record: group for group in groups for record in group.records}
    columns = []
    for facet in found:
        chosen = [facet.of[at[id(of_group[record].flat)]] if record in of_group else None for record in records]
        columns.append((replace(facet, of=tuple(chosen)), "setting"))
    apart = tuple(" · ".join(of_group[each].apart) or None if each in of_group else None for each in records)
    contents = tuple(sorted({words for words in apart if words is not None}))
    columns.append((Facet("content", "inputs", contents, apart), "setting"))
    images = list(dict.fromkeys(image for study in studies for image in study.images))
    of_image = tuple(of_group[record].image if record in of_group else None for record in records)
    columns.append((Facet("image", "image", tuple(images), of_image), "image"))
    seeds = sorted({record.seed for record in records if record.seed is not None})
    of_seed = tuple(None if record.seed is None else str(record.seed) for record in records)
    columns.append((Facet("seed", "seed", tuple(map(str, seeds)), of_seed), "seed"))
    states = list(dict.fromkeys(record.status for record in records))
    columns.append((Facet("status", "status", tuple(states), tuple(record.status for record in records)), "status"))
    kept = [(facet, kind) for facet, kind in columns if len(facet.values) > 1]
    for index, record in enumerate(records):
        runs[record]["facets"] = [
            -1 if (value := facet.of[index]) is None else facet.values.index(value) for facet, _ in kept
        ]
    return [{"name": facet.name, "key": facet.key, "kind": kind, "values": list(facet.values)} for facet, kind in kept]


def _value(value: float | str | None) -> float | str | None:
    """A value for JSON, with a word of the script for infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return "Infinity" if value > 0 else None
    return float(f"{value:.10g}") if isinstance(value, float) else value


def number(value: float | None) -> float | int | None:
    """``value`` with few digits; None if JSON cannot express it."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.{DIGITS}g}")
    return int(rounded) if rounded.is_integer() else rounded


def numbers(values: Any) -> list[float | int | None]:
    """Each of ``values`` as :func:`number` writes it."""
    return [number(float(value)) for value in values]
