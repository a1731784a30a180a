"""Compares groups with one of them over all signals, pair by pair: differences, intervals, tests and times."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, get_args

from partinr.base.numbers import ABSENT, write
from partinr.base.section import WORDS
from partinr.base.statistics import bootstrap, holm, paired, restricted_means
from partinr.report.columns import Column
from partinr.report.groups import Group, Study
from partinr.report.paper import PaperTable
from partinr.report.significance import LEVEL
from partinr.report.table import Cell, Row
from partinr.runs.records import RunRecord

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FEWEST = 5
"""Pairs from which there is an interval: fewer are too few to draw from."""

Clock = Literal["step", "seconds"]

Arrival = tuple[float, bool]
"""When a run reached a value of the leading metric, and True; or when it ended, and False."""


@dataclass(frozen=True)
class Pair:
    """What a group and the reference have on one signal with one seed.

    Attributes:
        signal: name of the signal.
        seed: the seed of both runs.
        ends: the leading metric at the end, such as PSNR [dB], of the group and of the reference.
        arrivals: at the reference's final value, of the group and of the reference; empty for runs of several signals,
            whose curves are of all of them.
        shared: whether other work shared the machine of a run.
    """

    signal: str
    seed: int | None
    ends: tuple[float, float]
    arrivals: Mapping[Clock, tuple[Arrival, Arrival]]
    shared: bool


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, which is None for too few pairs."""

    value: float
    interval: tuple[float, float] | None

    def text(self, signed: bool = False) -> str:
        """The number with two decimals, and the interval in brackets."""
        value, *ends = (f"{each:{'+' if signed else ''}.2f}" for each in (self.value, *(self.interval or ())))
        return f"{value} ({' to '.join(ends)})" if ends else value


@dataclass(frozen=True)
class Effort:
    """Restricted mean times to the reference's final PSNR.

    Attributes:
        own: of the group; None if no run arrived.
        reference: of the reference.
        until: the horizon; infinite if all runs arrived, or none of the group.
        ratio: the reference's over the group's: 2 means half the effort. None if the group needs none, or does not
            arrive.
    """

    own: float | None
    reference: float
    until: float
    ratio: Estimate | None


@dataclass(frozen=True)
class PairedComparison:
    """A group compared with the reference.

    Attributes:
        group: the group, of the first signal.
        units: number of signals that both have, or of seeds if there is one signal.
        gain: difference of the leading metric at the end, such as PSNR [dB].
        p: of a paired t-test of the difference, corrected for the number of groups by Holm; None for a single pair.
        arrived: number of runs that reached the reference's final PSNR, and of those that could.
        efforts: steps and seconds to that PSNR; empty for runs of several signals.
        shared: whether other work shared the machine of a run.
    """

    group: Group
    units: int
    gain: Estimate
    p: float | None
    arrived: tuple[int, int]
    efforts: Mapping[Clock, Effort]
    shared: bool


def comparisons(study: Study, label: str) -> tuple[list[PairedComparison], list[str]]:
    """Every other group compared with one, and notes about results that have no partner.

    Groups that share no signal and seed with it are left out.

    Args:
        study: runs that fit signals.
        label: label of the reference.
    """
    alone, metric = _results(study, label), study.subject.leading.key
    found: list[tuple[Group, list[list[Pair]]]] = []
    notes = []
    for other in dict.fromkeys(group.label for group in study.groups if group.label != label):
        results = _for_seeds(_results(study, other), alone)
        reference = _for_seeds(alone, results)
        both = [(key, results[key], reference[key]) for key in results if key in reference]
        pairs = [pair for each in both if (pair := _pair(*each, metric))]
        group = next(group for group in study.groups if group.label == other)
        if left := len(results.keys() | reference.keys()) - len(pairs):
            notes.append(f"{group.title}: left out without a partner on the same signal with the same seed: {left}.")
        if pairs:
            found.append((group, _units(pairs)))
    tests = [paired(_means(units)) if len(units) > 1 else None for _, units in found]
    corrected = iter(holm([p for p in tests if p is not None]))
    return [
        _comparison(group, units, None if p is None else next(corrected))
        for (group, units), p in zip(found, tests, strict=True)
    ], notes


Key = tuple[str, int | None]


def _results(study: Study, label: str) -> dict[Key, RunRecord]:
    """The counted runs of a configuration by signal and seed; a run of several signals under each of them."""
    return {
        (signal, record.seed): record
        for group in study.groups
        if group.label == label and not group.provisional
        for record in group.counted
        for signal in record.images or (group.image,)
    }


def _for_seeds(results: Mapping[Key, RunRecord], others: Mapping[Key, RunRecord]) -> dict[Key, RunRecord]:
    """The runs, those without a seed (which were imported) for each seed that others have on the signal."""
    found: dict[Key, RunRecord] = {}
    for (signal, seed), record in results.items():
        seeds = [other for name, other in others if name == signal] if seed is None else [seed]
        found |= {(signal, each): record for each in seeds or [seed]}
    return found


def _pair(key: Key, own: RunRecord, reference: RunRecord, metric: str) -> Pair | None:
    """The pair of two runs; None if one has no finite value at the end."""
    signal, seed = key
    both, several = (own, reference), own.images or reference.images
    found = [record.images.get(signal, {}).get(metric) if several else record.last(metric) for record in both]
    values = [float(value) for value in found if isinstance(value, (int, float)) and math.isfinite(value)]
    if len(values) < 2:
        return None
    clocks: tuple[Clock, ...] = () if several else get_args(Clock)
    arrivals = {
        clock: (_arrival(own, values[1], clock, metric), _arrival(reference, values[1], clock, metric))
        for clock in clocks
    }
    return Pair(signal, seed, (values[0], values[1]), arrivals, any(record.shared for record in both))


def _arrival(record: RunRecord, level: float, clock: Clock, metric: str) -> Arrival:
    time = record.reaches(level, clock, metric)
    return (record.last(clock) or 0.0, False) if time is None else (time, True)


def _units(pairs: Sequence[Pair]) -> list[list[Pair]]:
    """What is drawn and tested: the pairs of each signal, or each pair if there is one signal."""
    several = len({pair.signal for pair in pairs}) > 1
    found: dict[Any, list[Pair]] = {}
    for pair in pairs:
        found.setdefault(pair.signal if several else pair.seed, []).append(pair)
    return list(found.values())


def _means(units: Sequence[Sequence[Pair]]) -> list[tuple[float, float]]:
    """The leading metric of the group and the reference, means over the pairs of each unit."""
    return [(fmean(pair.ends[0] for pair in unit), fmean(pair.ends[1] for pair in unit)) for unit in units]


def _comparison(group: Group, units: Sequence[Sequence[Pair]], p: float | None) -> PairedComparison:
    pairs = [pair for unit in units for pair in unit]
    watched = [pair.arrivals["step"][0][1] for pair in pairs if pair.arrivals]
    gain = estimate(_means(units), lambda means: means[0] - means[1])
    efforts = {clock: _effort(units, clock) for clock in get_args(Clock)} if watched else {}
    shared = any(pair.shared for pair in pairs)
    return PairedComparison(group, len(units), gain, p, (sum(watched), len(watched)), efforts, shared)


def _effort(units: Sequence[Sequence[Pair]], clock: Clock) -> Effort:
    arms = [[[pair.arrivals[clock][arm] for pair in unit if pair.arrivals] for unit in units] for arm in (0, 1)]
    every = [[each for unit in arm for each in unit] for arm in arms]
    if not any(arrived for _, arrived in every[0]):
        return Effort(None, fmean(fmean(time for time, _ in unit) for unit in arms[1]), math.inf, None)
    _, until = restricted_means(*every)
    own, reference = ([fmean(min(time, until) for time, _ in unit) for unit in arm] for arm in arms)
    ratio = estimate(list(zip(own, reference, strict=True)), lambda means: means[1] / means[0]) if all(own) else None
    return Effort(fmean(own), fmean(reference), until, ratio)


def estimate(
    means: Sequence[tuple[float, float]], statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> Estimate:
    """A statistic of the means of both columns, with its interval."""
    import numpy as np

    columns = np.array(means).T
    value = float(statistic(columns.mean(axis=1, keepdims=True))[0])
    return Estimate(value, bootstrap(columns, statistic) if len(means) >= FEWEST else None)


# -- as a table -----------------------------------------------------------------------------------------------------


_HEADINGS = ("pairs", "gain", "p", "arrived", "steps", "steps of reference", "× fewer steps", "× less time")


@dataclass(frozen=True)
class AgainstTable(PaperTable):
    """Comparisons with one group as a table for a document."""

    said: Sequence[str] = ()
    """What the numbers are, one sentence each."""

    @property
    def notes(self) -> list[str]:
        """What a reader of the table has to know, one sentence each."""
        return [*self.said, *self.study.notices]


def against_table(study: Study, label: str, clocks: bool = True) -> AgainstTable:
    """The comparisons with one group as a table, with notes on how it is made.

    Args:
        study: runs that fit signals.
        label: label of the reference.
        clocks: whether to keep the ratio of seconds.
    """
    compared, notes = comparisons(study, label)
    title = next(group.title for group in study.groups if group.label == label)
    headings = _HEADINGS if clocks else _HEADINGS[:-1]
    leading = study.subject.leading
    shown = {"gain": f"{leading.name} {leading.unit}".rstrip()}
    columns = [Column(key, key, lambda *_: None, WORDS, short=shown.get(key, key)) for key in headings]
    rows = [Row(each.group, None, None, dict(zip(headings, _cells(each), strict=False))) for each in compared]
    said = [*_explained(compared, title, clocks, leading.name), *notes]
    return AgainstTable(study, columns, rows, {"group": lambda group: group.title}, {}, "", said)


def against_lone(study: Study) -> AgainstTable | None:
    """The comparisons with the lone network; None if there is none, or no two pairs."""
    label = study.contrast
    table = None if label is None else against_table(study, label)
    return table if table and any(int(row.cells["pairs"].text) > 1 for row in table.rows) else None


def _cells(compared: PairedComparison) -> list[Cell]:
    steps, seconds = (compared.efforts.get(clock) for clock in get_args(Clock))
    p = compared.p
    texts = [
        str(compared.units),
        compared.gain.text(signed=True),
        ABSENT if p is None else "<0.001" if p < 0.001 else f"{p:.3f}",
        "{}/{}".format(*compared.arrived) if steps else ABSENT,
        write(steps.own, "steps") if steps and steps.own is not None else ABSENT,
        write(steps.reference, "steps") if steps else ABSENT,
        *(effort.ratio.text() if effort and effort.ratio else ABSENT for effort in (steps, seconds)),
    ]
    clear, last = p is not None and p < LEVEL, len(texts) - 1
    return [
        Cell(None, text, best=place == 1 and clear, shared=place == last and text != ABSENT and compared.shared)
        for place, text in enumerate(texts)
    ]


def _explained(compared: Sequence[PairedComparison], title: str, clocks: bool, metric: str) -> list[str]:
    """What the numbers are, a sentence each."""
    notes = [f"Reference: {title}. Pairs: signals, each the mean over seeds that both have; with one signal, seeds."]
    if any(each.gain.interval for each in compared):
        notes.append("In brackets: 95 % intervals by bootstrap over pairs (BCa).")
    if any(each.gain.interval is None for each in compared):
        notes.append(f"There is no interval with fewer than {FEWEST} pairs.")
    tests = sum(each.p is not None for each in compared)
    if tests:
        notes.append(f"p: paired t-test of the {metric}{f', corrected for {tests} groups by Holm' * (tests > 1)}.")
    if any(each.p is not None and each.p < LEVEL for each in compared):
        notes.append(f"Bold: p is below {LEVEL:.0%}.")
    steps = [each.efforts["step"] for each in compared if each.efforts]
    if steps:
        notes.append(f"Steps{' and time' * clocks}: mean to the {metric} at which the reference ended on the signal.")
    if any(effort.own is None for effort in steps):
        notes.append(f"{ABSENT}: no run of the group reached that {metric}.")
    if ends := sorted({effort.until for effort in steps if math.isfinite(effort.until)}):
        most = f"{ends[0]:,.0f}" if len(ends) == 1 else f"{ends[0]:,.0f} to {ends[-1]:,.0f}"
        notes.append(f"Restricted means: where a run did not arrive, all runs count at most {most} steps.")
    return notes


def against_csv(study: Study, label: str) -> str:
    """The comparisons with every digit; an interval has the columns ``_low`` and ``_high``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ratios = [f"{name}_ratio{end}" for name in ("step", "time") for end in ("", "_low", "_high")]
    efforts = [f"{name}{end}" for name in ("step", "time") for end in ("", "_reference", "_until")]
    metric = study.subject.leading.key
    writer.writerow(
        ["group", "pairs", metric, f"{metric}_low", f"{metric}_high", "p", "arrived", "runs", *efforts, *ratios]
    )
    for each in comparisons(study, label)[0]:
        found = [each.efforts.get(clock) for clock in get_args(Clock)]
        line = [each.group.label, each.units, *numbers_of(each.gain), each.p, *each.arrived]
        for effort in found:
            line += [effort.own, effort.reference, effort.until] if effort else [None] * 3
        writer.writerow(
            [*line, *(number for effort in found for number in numbers_of(effort.ratio if effort else None))]
        )
    return text.getvalue()


def numbers_of(estimate: Estimate | None) -> list[float | None]:
    """An estimate and the ends of its interval, None where there is none."""
    return [None] * 3 if estimate is None else [estimate.value, *(estimate.interval or (None, None))]
