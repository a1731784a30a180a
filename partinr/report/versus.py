"""Compares a group with another by the effort to reach the other's final PSNR."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, get_args

from partinr.report.stats import Stat
from partinr.runs.records import Axis, RunRecord

if TYPE_CHECKING:
    from partinr.report.groups import Group


@dataclass(frozen=True)
class Versus:
    """The comparison of a group with the lone network, by the effort to reach the latter's final PSNR.

    Other kinds of signals may have another metric that leads, such as the SNR of sounds.

    A fit from a learned start may be compared with the same fit from a random start instead.

    Seeds are compared one by one if both groups have them, else with the mean over the lone network's seeds. The
    lone network's effort is taken where *it* first reached that PSNR, which is before its end if its curve fell back.
    """

    lone: Group
    level: float
    """The leading metric of the lone network at the end, such as PSNR [dB], mean over its seeds."""
    parameters: float | None
    """Parameters of the lone network over those of the group; None if unknown."""
    effort: Mapping[Axis, Stat]
    """Steps, seconds and multiply-accumulates to that PSNR."""
    ratio: Mapping[Axis, Stat]
    """The lone network's effort over the group's: 2 means half the effort."""
    ratio_with_partition: Stat
    """The ratio of seconds, including those of the partition rules."""
    gain: Stat
    """The leading metric at the end minus that of the lone network."""


_AXES: tuple[Axis, ...] = get_args(Axis)


def measured(group: Group, lone: Group) -> Versus | None:
    """The comparison of ``group`` with ``lone``; None if a seed of ``lone`` has no final value to reach."""
    metric = group.leading.key
    ends = {record.seed: (record.last(metric), record) for record in lone.counted}
    levels = {seed: level for seed, (level, _) in ends.items() if level is not None and math.isfinite(level)}
    if not levels or len(levels) < len(ends):
        return None
    mean_level = statistics.fmean(levels.values())
    own = {(seed, axis): ends[seed][1].reaches(levels[seed], axis, metric) for seed in levels for axis in _AXES}

    def effort(record: RunRecord, axis: Axis) -> float | None:
        return record.reaches(levels.get(record.seed, mean_level), axis, metric)

    def ratio(record: RunRecord, axis: Axis) -> float | None:
        return over(effort(record, axis), [own[seed, axis] for seed in seeds_for(record)])

    def with_partition(record: RunRecord) -> float | None:
        lones = [_sum(own[seed, "seconds"], ends[seed][1].number("seconds.partition")) for seed in seeds_for(record)]
        return over(_sum(effort(record, "seconds"), record.number("seconds.partition")), lones)

    def seeds_for(record: RunRecord) -> list[int | None]:
        return [record.seed] if record.seed in levels else list(levels)

    def over(needed: float | None, lones: list[float | None]) -> float | None:
        known = [value for value in lones if value is not None]
        return statistics.fmean(known) / needed if needed and known else None

    def gain(record: RunRecord) -> float | None:
        end = record.last(metric)
        return None if end is None else end - levels.get(record.seed, mean_level)

    sizes = [g.stat(lambda record: record.number("parameters")).mean for g in (lone, group)]
    return Versus(
        lone=lone,
        level=mean_level,
        parameters=sizes[0] / sizes[1] if sizes[0] and sizes[1] else None,
        effort={axis: group.stat(partial(effort, axis=axis)) for axis in _AXES},
        ratio={axis: group.stat(partial(ratio, axis=axis)) for axis in _AXES},
        ratio_with_partition=group.stat(with_partition),
        gain=group.stat(gain),
    )


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second
