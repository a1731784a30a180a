"""The numbers at the top of a page: the best groups compared with the lone network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from partinr.base.numbers import ABSENT, write
from partinr.report.groups import Group
from partinr.report.table import Row
from partinr.report.versus import Versus
from partinr.runs.records import Axis
from partinr.runs.sharing import SIGN


@dataclass(frozen=True)
class Tile:
    """One of the numbers at the top of a page."""

    key: str
    number: str
    what: str
    label: str
    note: str


def tiles_of(table: Sequence[Row]) -> list[Tile]:
    """The best groups compared with the lone network of an image; empty if there is nothing to compare."""
    compared = [
        (row, row.versus)
        for row in table
        if row.versus and row.versus.lone is not row.group and not row.group.provisional
    ]
    if not compared:
        return []
    tiles = []
    for key, axis in _SPEED_TILES.items():
        if axis == "cpu_seconds" and not any(_timed(row.group) and _timed(versus.lone) for row, versus in compared):
            continue
        ratios = [(mean, row, versus) for row, versus in compared if (mean := versus.ratio[axis].mean) is not None]
        if ratios:
            ratio, row, versus = max(ratios, key=lambda found: found[0])
            note = f"to the {row.group.leading.written(versus.level)} of the runs with {versus.lone.label}"
            number, what = _speed(ratio, axis, row.cells[key].text)
            tiles.append(Tile(key, number + row.cells[key].sign, what, row.group.label, note))
        else:
            tiles.append(_tile_below(compared, key, axis))
    gains = [(mean, row, versus) for row, versus in compared if (mean := versus.gain.mean) is not None]
    if gains:
        gain, row, versus = max(gains, key=lambda found: found[0])
        leading = row.group.leading
        number = f"{'+' if gain >= 0 else '−'}{leading.written(abs(gain))}"
        against = f"against the runs with {versus.lone.label}"
        tiles.append(Tile("gain", number, f"{leading.name} at the end", row.group.label, against))
    return tiles


_SPEED_TILES: Mapping[str, Axis] = {
    "lone_step_ratio": "step",
    "lone_time_ratio": "seconds",
    "lone_cpu_ratio": "cpu_seconds",
}
"""Tiles of speed-ups, by their column."""

_SPENT: Mapping[Axis, str] = {"step": "steps", "seconds": "training time", "cpu_seconds": "CPU time"}
"""Words for the axes in tiles."""


def _speed(ratio: float, axis: Axis, written: str) -> tuple[str, str]:
    """Number and words of a tile: a speed-up, or a slow-down below 1. ``written`` is the speed-up as text."""
    if ratio >= 1:
        return f"{written}×", f"speed-up in {_SPENT[axis]}"
    as_many = "as many" if axis == "step" else "as much"
    return f"{write(1 / ratio, 'significant')}× {as_many}", f"slow-down in {_SPENT[axis]}"


def _tile_below(compared: Sequence[tuple[Row, Versus]], key: str, axis: Axis) -> Tile:
    """The speed-up to the highest level that a group reached, if none reached the lone network's final PSNR."""
    lone = compared[0][1].lone
    seeds = " in all its seeds" if max(row.group.n for row, _ in compared) > 1 else ""
    leading = lone.leading
    unreached = f"No group reached the final {leading.name} of the runs with {lone.label}{seeds}."
    for level in reversed(leading.levels):
        found = []
        for row, versus in compared:
            alone, parts = (_effort(group, level, axis) for group in (versus.lone, row.group))
            if alone is not None and parts:
                found.append((alone / parts, row))
        if found:
            ratio, row = max(found, key=lambda pair: pair[0])
            note = f"to {level:g} {leading.unit}. {unreached}"
            number, what = _speed(ratio, axis, write(ratio, "significant"))
            marked = axis == "seconds" and any(each.shared for each in (*row.group.counted, *lone.counted))
            return Tile(key, number + SIGN * marked, what, row.group.label, note)
    return Tile(key, ABSENT, f"speed-up in {_SPENT[axis]}", "", unreached)


def _timed(group: Group) -> bool:
    """Whether all runs of a group know their CPU seconds, which runs of older versions do not."""
    return all(record.timed for record in group.counted)


def _effort(group: Group, level: float, axis: Axis) -> float | None:
    """The effort of a group to reach a PSNR, mean over seeds; None unless every seed reaches it."""
    return group.stat(lambda record: record.reaches(level, axis, group.leading.key)).mean


MOST_NAMES = 8
"""Limit of groups that a remark names; it counts more."""


def remarks_of(table: Sequence[Row]) -> list[str]:
    """Remarks for readers about the speed-ups on one image."""
    remarks = [
        f"Not at equal parameters: {row.group.label} has {write(1 / row.versus.parameters, 'significant')} times the "
        f"parameters of the runs with {row.versus.lone.label}, which it is measured against."
        for row in table
        if row.versus and row.versus.parameters and not 0.9 <= row.versus.parameters <= 1 / 0.9
    ]
    unmeasured = [row.group.label for row in table if row.group.regions != 1 and row.group.counted and not row.versus]
    if unmeasured:
        who = ", ".join(unmeasured) if len(unmeasured) <= MOST_NAMES else f"{len(unmeasured)} groups"
        remarks.append(f"No speed-up for {who}: no completed run has one region and otherwise the same configuration.")
    return remarks
