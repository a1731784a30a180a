"""Runs in a list: the settings in which they differ, and runs chosen and sorted by settings and results."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any

from partinr.base.errors import PartinrError
from partinr.base.section import Section, leaves
from partinr.base.text import natural
from partinr.runs.configs import Flat, flatten
from partinr.runs.directory import RunDirectory
from partinr.runs.naming import UNSET, facets, partition_word, word
from partinr.runs.standing import Standing, standing


@dataclass(frozen=True, eq=False)
class Listed:
    """A run in a list.

    Attributes:
        standing: its state and progress.
        manifest: content of its ``run.json``; empty if it cannot be read.
        config: its configuration, likewise.
        overrides: overrides from its command line, likewise.
    """

    standing: Standing
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]
    overrides: Sequence[str]

    @classmethod
    def of(cls, run: RunDirectory, now: float) -> Listed:
        """A run at a time in seconds since 1970. Damaged files are reported in its standing, not raised."""
        parts: tuple[tuple[Callable[[], Any], Any], ...] = (
            (run.manifest, {}),
            (run.config, {}),
            (run.overrides, []),
        )
        read: list[Any] = []
        for part, nothing in parts:
            read.append(nothing)
            with suppress(PartinrError):
                read[-1] = part()
        return cls(standing(run, now), *read)

    @cached_property
    def flat(self) -> Flat:
        """The settings that affect the computation."""
        return flatten(self.config, self.seed)

    @property
    def seed(self) -> int | None:
        """The seed; None if unknown."""
        seed = self.config.get("seed", self.manifest.get("seed"))
        return seed if isinstance(seed, int) else None

    @property
    def regions(self) -> set[int]:
        """Number of regions; empty if unknown."""
        regions = self.manifest.get("regions")
        return {regions} if isinstance(regions, int) else set()

    @cached_property
    def values(self) -> Mapping[str, Any]:
        """Settings by their dotted keys, groups as the word for their kind, and results by their names."""
        of, metrics = self.standing, self.manifest.get("metrics")
        kinds = {".".join(setting.path): word(str(kind)) for setting, kind in self.flat.items() if setting.is_kind}
        if "partition" in kinds:
            kinds["partition"] = partition_word(self.flat, self.regions, Section())
        return {
            **leaves(self.config),
            **kinds,
            **(metrics if isinstance(metrics, Mapping) else {}),
            **{key: self.manifest.get(key) for key in ("parameters", "regions", "started")},
            **{key: getattr(of, key) for key in ("state", "steps", "seconds", "cpu_seconds", "psnr", "version")},
            "run": of.run.path.name,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Column:
    """A setting in which listed runs differ.

    Attributes:
        name: its short name.
        key: its dotted key in the configuration.
        of: its value in each run, in words; None where a run lacks it.
    """

    name: str
    key: str
    of: tuple[str | None, ...]


def columns(listed: Sequence[Listed], brief: bool = True) -> list[Column]:
    """The settings in which runs differ. A key that only some versions of partinr know is no difference.

    Args:
        listed: the runs.
        brief: whether an experiment stands for the settings that differ because of it.
    """
    known = [each for each in listed if each.config]
    asked = [[each.overrides] for each in known] if brief else None
    found = [
        # An unset option needs no word in a list.
        Column(facet.name, facet.key, tuple(None if said == UNSET else said for said in facet.of))
        for facet in facets([each.flat for each in known], [each.regions for each in known], asked=asked)
    ]
    seeds = tuple(None if each.seed is None else str(each.seed) for each in known)
    kept = [each for each in (*found, Column("seed", "seed", seeds)) if len({*each.of} - {None}) > 1]
    place = {each: number for number, each in enumerate(known)}
    return [
        Column(name, key, tuple(of[place[each]] if each in place else None for each in listed))
        for name, key, of in ((each.name, each.key, _without_folders(each.of)) for each in kept)
    ]


def _without_folders(of: tuple[str | None, ...]) -> tuple[str | None, ...]:
    """Paths of files without their folders, if that tells them apart."""
    brief = tuple(None if each is None else PurePath(each).name or each for each in of)
    return brief if len({*brief}) == len({*of}) else of


# -- choosing and sorting -------------------------------------------------------------------------------------------

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def chosen(listed: Sequence[Listed], conditions: Sequence[str]) -> list[Listed]:
    """The runs that meet all conditions.

    Args:
        listed: runs.
        conditions: ``KEY=VALUE``, ``KEY=VALUE,VALUE`` for either, ``KEY!=VALUE``, or ``KEY>NUMBER`` with ``<``, ``<=``,
            ``>`` or ``>=``.

    Raises:
        PartinrError: a condition has another form, or no run knows its key.
    """
    kept = list(listed)
    for condition in conditions:
        parts = re.fullmatch(r"\s*([^\s=<>!]+)\s*(!=|<=|>=|=|<|>)\s*(.*?)\s*", condition)
        if parts is None:
            raise PartinrError(f"--where={condition} is no condition; give KEY=VALUE, or 'KEY>NUMBER' in quotes")
        key, sign, asked = parts.groups()
        place = _key("--where", key, listed)
        if sign in _COMPARE:
            limit = _number(asked)
            if math.isnan(limit):
                raise PartinrError(f"--where={condition} compares with {asked!r}; give a number")
            kept = [each for each in kept if _COMPARE[sign](_number(each.values.get(place)), limit)]
        else:
            wanted = sign == "="
            kept = [each for each in kept if any(_is(each, place, one) for one in asked.split(",")) == wanted]
    return kept


def in_order(listed: Sequence[Listed], order: str) -> list[Listed]:
    """Runs sorted by a setting or a result, those without a value last.

    Args:
        listed: runs.
        order: the key; after a minus, the greatest value comes first.

    Raises:
        PartinrError: no run knows the key.
    """
    place = _key("--sort", order.removeprefix("-"), listed)
    known = [each for each in listed if not _is_nothing(each.values.get(place))]

    def rank(each: Listed) -> tuple[bool, float, list[tuple[float, str]]]:
        value, number = each.values[place], _number(each.values[place])
        return math.isnan(number), 0.0 if math.isnan(number) else number, natural(str(value))

    left = [each for each in listed if each not in known]
    return [*sorted(known, key=rank, reverse=order.startswith("-")), *left]


def _key(option: str, key: str, listed: Sequence[Listed]) -> str:
    """The whole key that a user means: a dotted key, its last part, or the name of a column.

    Raises:
        PartinrError: no run knows the key, or it has several meanings.
    """
    known = dict.fromkeys(place for each in listed for place in each.values)
    if key in known:
        return key
    called = {column.name: column.key for column in columns(listed)}
    ends = [place for place in known if place.endswith(f".{key}")]
    if key in called or len(ends) == 1:
        return called.get(key) or ends[0]
    if ends:
        raise PartinrError(f"{option}: {key} may be {' or '.join(ends)}; give one of them")
    words = dict.fromkeys([*called, *known, *(place.rpartition(".")[2] for place in known)])
    near = difflib.get_close_matches(key, words, n=1)
    hint = f"did you mean {near[0]}?" if near else f"such as {', '.join([*called, 'state', 'psnr'])}"
    raise PartinrError(f"{option}: no run has the setting or result {key!r}; {hint}")


def _is(each: Listed, place: str, asked: str) -> bool:
    """Whether a run has a value, in the words of its command line, of its configuration or of a table."""
    value = each.values.get(place)
    number = _number(asked)
    if f"{place}={asked}" in each.overrides or (number == _number(value) and not isinstance(value, bool)):
        return True
    # "grid #9" is a grid, and a file is known by its name.
    words = {str(value).lower(), str(value).partition(" #")[0].lower(), PurePath(str(value)).name.lower()}
    return asked.lower() in ({"null", ""} if value is None else words)


def _number(value: Any) -> float:
    """A number, also of its text; NaN for anything else."""
    try:
        return math.nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return math.nan


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
