"""Compares methods over several sizes: what one saves in parameters or bits at equal PSNR (Bjøntegaard's deltas)."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Literal, get_args

from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.numbers import ABSENT
from partinr.base.section import WORDS
from partinr.report.against import FEWEST, AgainstTable, Estimate, estimate, numbers_of
from partinr.report.columns import Column
from partinr.report.groups import Group, Study, cuts_of
from partinr.report.table import Cell, Row
from partinr.runs.configs import BUDGET_KEYS, Flat, same_settings
from partinr.runs.layout import CODECS
from partinr.runs.naming import Cut, labels, titles
from partinr.runs.records import RunRecord

if TYPE_CHECKING:
    from partinr.metrics import bjontegaard
else:
    bjontegaard = Later("partinr.metrics.bjontegaard")

Rate = Literal["parameters", "bits"]

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Family:
    """Groups that differ only in size.

    Attributes:
        label: what they share, in short.
        title: likewise, in a reader's words.
        groups: the groups, of all signals.
    """

    label: str
    title: str
    groups: tuple[Group, ...]

    @property
    def sizes(self) -> int:
        """Number of sizes on the signal with most of them."""
        return max(Counter(group.image for group in self.groups).values())

    def points(self, rate: Rate) -> dict[str, Points]:
        """Rate and PSNR of each size, mean over seeds, by signal; in bits one point for each precision."""
        found: dict[str, Points] = {}
        for group in self.groups:
            of_group: dict[tuple[str, str], Points] = {}
            for record in () if group.provisional else group.counted:
                for signal, setting, point in _POINTS[rate](record, group.image):
                    of_group.setdefault((signal, setting), []).append(point)
            for (signal, _), points in of_group.items():
                found.setdefault(signal, []).append((fmean(p[0] for p in points), fmean(p[1] for p in points)))
        return found


def _by_parameters(record: RunRecord, image: str) -> Iterator[tuple[str, str, tuple[float, float]]]:
    """Signal, setting, and parameters with PSNR, of each signal of a run."""
    if record.images:
        of = {name: (each.get("parameters"), each.get("psnr")) for name, each in record.images.items()}
    else:
        of = {image: (record.number("parameters"), record.final("psnr"))}
    for signal, (parameters, psnr) in of.items():
        if isinstance(parameters, (int, float)) and isinstance(psnr, (int, float)) and math.isfinite(psnr):
            yield signal, "", (float(parameters), float(psnr))


def _by_bits(record: RunRecord, image: str) -> Iterator[tuple[str, str, tuple[float, float]]]:
    """Signal, precision, and bits per pixel with PSNR, of each signal of a run that partinr export has measured."""
    for signal, rates in (record.image_rates or {image: record.rates}).items():
        for row in rates:
            if row["coder"] not in CODECS and math.isfinite(row["psnr"]):
                yield signal, str(row["setting"]), (row["bpp"], row["psnr"])


_POINTS = {"parameters": _by_parameters, "bits": _by_bits}


def families(study: Study) -> list[Family]:
    """The groups of a study by what they share beside their size, in their order."""
    flats: dict[frozenset[object], Flat] = {}
    members: dict[frozenset[object], list[Group]] = {}
    for group in study.groups:
        flat = {setting: value for setting, value in group.flat.items() if setting.path not in BUDGET_KEYS}
        key = same_settings(flat)
        flats.setdefault(key, flat)
        members.setdefault(key, []).append(group)
    counts = [{group.regions for group in groups if group.regions is not None} for groups in members.values()]
    cuts = [
        set[Cut]().union(*(cuts_of(record) for group in groups for record in group.records))
        for groups in members.values()
    ]
    own = list(flats.values())
    named = zip(labels(own, counts), titles(own, counts, cuts), members.values(), strict=True)
    return [Family(label, title, tuple(groups)) for label, title, groups in named]


@dataclass(frozen=True)
class Saving:
    """A family compared with the reference by one kind of rate.

    Attributes:
        family: the family.
        rate: what a size is measured in.
        signals: number of signals on which the curves overlap, and of those that both have.
        bd_rate: mean over signals of the difference in rate at equal PSNR [%]; None without an overlap.
        bd_psnr: likewise, of the difference in PSNR at equal rate [dB].
        refusal: why a signal has none; empty if all have one.
    """

    family: Family
    rate: Rate
    signals: tuple[int, int]
    bd_rate: Estimate | None
    bd_psnr: Estimate | None
    refusal: str


def savings(found: Sequence[Family], reference: Family) -> list[Saving]:
    """Each other family against the reference, by each kind of rate that both have."""
    return [
        _saving(family, rate, family.points(rate), reference.points(rate))
        for family in found
        if family is not reference
        for rate in get_args(Rate)
        if family.points(rate).keys() & reference.points(rate).keys()
    ]


def _saving(family: Family, rate: Rate, own: Mapping[str, Points], reference: Mapping[str, Points]) -> Saving:
    both = [signal for signal in own if signal in reference]
    deltas: list[tuple[float, float]] = []
    refusal = ""
    for signal in both:
        pair = own[signal], reference[signal]
        try:
            deltas.append((bjontegaard.bd_rate(*pair), bjontegaard.bd_psnr(*pair)))
        except PartinrError as error:
            refusal = refusal or f"{signal}: {error}"
    counts = len(deltas), len(both)
    if not deltas:
        return Saving(family, rate, counts, None, None, refusal)
    rates, psnrs = estimate(deltas, lambda columns: columns[0]), estimate(deltas, lambda columns: columns[1])
    return Saving(family, rate, counts, rates, psnrs, refusal)


# -- as a table -----------------------------------------------------------------------------------------------------

_HEADINGS = ("rate", "signals", "BD-rate %", "BD-PSNR dB")


def budgets_table(study: Study, reference: Family, found: Sequence[Saving]) -> AgainstTable:
    """The savings as a table, with notes on how it is made."""
    columns = [Column(heading, heading, lambda *_: None, WORDS, short=heading) for heading in _HEADINGS]
    rows = [
        Row(
            replace(each.family.groups[0], title=each.family.title, image=study.images[0]),
            *(None, None),
            dict(zip(_HEADINGS, (Cell(None, text) for text in _texts(each)), strict=True)),
        )
        for each in found
    ]
    notes = [
        f"Reference: {reference.title}, over its sizes. BD-rate: parameters, or bits per pixel, more or fewer at equal "
        "PSNR; BD-PSNR: decibels at equal rate (Bjøntegaard, by PCHIP); means over signals. Sizes that a smaller one "
        "beats do not count.",
    ]
    if any(each.bd_rate and each.bd_rate.interval for each in found):
        notes.append("In brackets: 95 % intervals by bootstrap over signals (BCa).")
    else:
        notes.append(f"There is no interval with fewer than {FEWEST} signals.")
    notes += [f"{each.family.title}, {each.rate}: {each.refusal}." for each in found if each.refusal]
    return AgainstTable(study, columns, rows, {"group": lambda group: group.title}, {}, "", notes)


def _texts(saving: Saving) -> list[str]:
    numbers = (saving.bd_rate, saving.bd_psnr)
    deltas = [ABSENT if each is None else each.text(signed=True) for each in numbers]
    return [saving.rate, "{}/{}".format(*saving.signals), *deltas]


def budgets_csv(found: Sequence[Saving]) -> str:
    """The savings with every digit; an interval has the columns ``_low`` and ``_high``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    deltas = [f"{name}{end}" for name in ("bd_rate", "bd_psnr") for end in ("", "_low", "_high")]
    writer.writerow(["group", "rate", "signals", "of_signals", *deltas])
    for each in found:
        numbers = [number for delta in (each.bd_rate, each.bd_psnr) for number in numbers_of(delta)]
        writer.writerow([each.family.title, each.rate, *each.signals, *numbers])
    return text.getvalue()
