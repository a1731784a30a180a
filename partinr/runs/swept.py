"""The settings in which runs differ, with their values as numbers, for views of a search."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from partinr.runs.configs import INIT_KEY, PARTITION, Flat, Path, Setting, differing
from partinr.runs.naming import implied, in_words, short_names

ENOUGH = 4
"""Number of distinct configurations from which a search has a view."""

MOST_WORDS = 12
"""Limit of distinct words of a setting; one with more is a label and no choice."""

_DECADE = 10.0


@dataclass(frozen=True)
class Swept:
    """A setting that differs, and its value in each config."""

    name: str
    key: str
    """Dotted path in the config."""
    values: tuple[float | str | None, ...]
    """All numbers or all words; None for a config that lacks the setting."""

    @property
    def numbers(self) -> list[float]:
        """The distinct numbers in order; empty for words."""
        return sorted({value for value in self.values if isinstance(value, (int, float))})

    @property
    def words(self) -> list[str]:
        """The distinct words in order; empty for numbers."""
        return sorted({value for value in self.values if isinstance(value, str)})

    @property
    def log(self) -> bool:
        """Whether the numbers are spaced by factors: their median is nearer to the middle of a logarithmic axis."""
        found = self.numbers
        if not found or found[0] <= 0 or found[-1] < _DECADE * found[0]:
            return False
        return _off_middle([math.log(value) for value in found]) <= _off_middle(found)


def _off_middle(ordered: Sequence[float]) -> float:
    """Distance of the median from the middle of the range, relative to the range."""
    first, last = ordered[0], ordered[-1]
    median = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return abs(median - (first + last) / 2) / (last - first)


def swept(flats: Sequence[Flat]) -> list[Swept]:
    """The settings that differ between distinct configs; empty unless there is a search over numbers.

    A search has :data:`ENOUGH` configs with two values of a number. Settings that follow from others are left out.
    """
    covered = implied(flats) - {PARTITION} | {INIT_KEY}
    paths = dict.fromkeys(setting.path for setting in differing(flats) if setting.path not in covered)
    names = short_names(paths)
    found = [Swept(names[path], ".".join(path), _values(flats, path)) for path in paths]
    numbers = [each for each in found if len(each.numbers) > 1]
    rows = set(zip(*(each.values for each in numbers), strict=True))
    # A network without a partition has no number of regions.
    distinct = [row for row in rows if any(value is not None for value in row)]
    words = [each for each in found if 1 < len(each.words) <= MOST_WORDS]
    return [*numbers, *words] if len(distinct) >= ENOUGH else []


def _values(flats: Sequence[Flat], path: Path) -> tuple[float | str | None, ...]:
    """The value of each config: words if any is one, except that a number may be unset."""
    places = [next((setting for setting in flat if setting.path == path), None) for flat in flats]
    raw = [(place, None if place is None else flat[place]) for place, flat in zip(places, flats, strict=True)]
    if all(value is None or _is_number(value) for _, value in raw):
        return tuple(value for _, value in raw)
    return tuple(None if place is None else _word(place, value) for place, value in raw)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _word(place: Setting, value: object) -> str:
    said = in_words(place, value)
    return "none" if place.path == PARTITION and said == "whole" else said
