"""Short names for configurations, made from their differences."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from partinr.base.section import Section
from partinr.base.text import natural
from partinr.runs.configs import (
    ABSENT_VALUE,
    INIT_KEY,
    MATCH_KEY,
    METHOD,
    PARTITION,
    REGION_KEYS,
    WIDTH_KEY,
    Flat,
    Path,
    Setting,
    differing,
    flat_value,
    identity,
)
from partinr.runs.experiments import Experiments, Overrides

_SHORT = {
    "first_omega_0": "first ω0",
    "hidden_features": "width",
    "hidden_layers": "layers",
    "inner_lr_kind": "rates",
    "match_params": "params",
    "max_seconds": "seconds",
    "max_steps": "steps",
    "omega_0": "ω0",
    "target_psnr": "target",
}
"""Words for long or frequent keys."""


_TAKEN = (*PARTITION, "start", "seconds")
"""Words that say something else in names and facets: ``data.seconds`` is not the time of the training."""

Cut = tuple[int, ...]
"""Rows and columns of a grid."""

UNSET = "unset"
"""The word for a setting that is null."""

UNCUT = "no partition"
"""What a reader calls a signal in one region."""

# -- words ----------------------------------------------------------------------------------------------------------


def compact(number: float) -> str:
    """A number in its shortest readable form: 1e-4, 0.05, 30, 1500, 100k, 2.5M."""
    if isinstance(number, int) or number.is_integer():
        for size, unit in ((1_000_000, "M"), (1_000, "k")):
            if abs(number) >= max(10_000, size) and number % (size // 10) == 0:
                return f"{number / size:g}{unit}"
        return f"{number:.15g}"
    if abs(number) < 0.01:
        mantissa, exponent = f"{number:.6e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{number:g}"


def word(name: str) -> str:
    """A class name in the field's spelling: ``ReluPE`` is relu_pe."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _value(value: Any) -> str:
    if value is None:
        return UNSET
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float)) and math.isfinite(value):
        return compact(value)
    if isinstance(value, tuple):
        extent = all(isinstance(each, int) for each in value)
        return ("×" if extent else ",").join(str(each) if extent else _value(each) for each in value)
    return str(value)


def in_words(setting: Setting, value: Any) -> str:
    """The value of a setting in words: relu_pe, on, 1e-4."""
    return word(str(value)) if setting.is_kind else _value(value)


def short_names(paths: Iterable[Path]) -> dict[Path, str]:
    """A short name for each path in a config, with its section where two would have the same."""
    paths = list(paths)
    short = {path: _SHORT.get(path[-1], path[-1]) for path in paths}
    keys = Counter([*short.values(), *_TAKEN])
    return {path: name if keys[name] == 1 or path == PARTITION else ".".join(path[-2:]) for path, name in short.items()}


def numbered(names: Sequence[str]) -> list[str]:
    """``names``, with a number appended to repeated ones."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return result


def _is_whole(flat: Flat) -> bool:
    return flat.get(Setting(PARTITION, is_kind=True)) == "Whole"


def _partition(flat: Flat, regions: set[int], section: Section) -> tuple[str, str]:
    """The name of the rule and the number of regions as text, 8–9 if it depends on the image; either may be empty."""
    if _is_whole(flat) or any(flat_value(flat, path) == value for path, value in section.uncut.items()):
        return "none", ""
    kind, wanted = flat.get(Setting(PARTITION, is_kind=True)), flat_value(flat, ("partition", "regions"))
    name = word(kind) if isinstance(kind, str) else str(flat.get(METHOD, "partition"))
    counts = sorted(regions) or ([wanted] if isinstance(wanted, int) else [])
    return name, "–".join(map(str, dict.fromkeys((counts[0], counts[-1])))) if counts else ""


def partition_word(flat: Flat, regions: set[int], section: Section) -> str:
    """The partition in the field's notation: none, grid #9, or grid #8–9 if it depends on the image."""
    name, count = _partition(flat, regions, section)
    return f"{name} #{count}" if count else name


def _partition_title(flat: Flat, regions: set[int], section: Section, cuts: set[Cut]) -> str:
    """The partition in a reader's words: no partition, 3×3 grid, 9 semantic regions."""
    name, count = _partition(flat, regions, section)
    if name == "none":
        return UNCUT
    if name == "grid" and len(cuts) == 1:
        (cut,) = cuts
        return f"{'×'.join(map(str, cut))} grid"
    if name == "grid" and count:
        return f"grid of {count} regions"
    readable = name.replace("_", " ")
    return f"{count} {readable} region{'s' * (count != '1')}" if count else readable


def _partition_titles(
    flats: Sequence[Flat], regions: Sequence[set[int]], sections: Sequence[Section], cuts: Sequence[set[Cut]]
) -> list[str]:
    """The title of each partition. Runs that have not begun share the cuts of others with as many regions."""
    words = [partition_word(*each) for each in zip(flats, regions, sections, strict=True)]
    known: dict[str, set[Cut]] = {}
    for notation, cut in zip(words, cuts, strict=True):
        known.setdefault(notation, set()).update(cut)
    shared = [cut or known[notation] for notation, cut in zip(words, cuts, strict=True)]
    return [_partition_title(*each) for each in zip(flats, regions, sections, shared, strict=True)]


def expected_regions(flat: Flat) -> float:
    """The number of regions that a config asks for; infinity if the image decides."""
    wanted = 1 if _is_whole(flat) else flat_value(flat, ("partition", "regions"))
    return wanted if isinstance(wanted, int) else math.inf


def _starts(flats: Sequence[Flat], by_run: bool = False) -> list[str | None]:
    """The start of each config, random or learned by a run, if starts differ.

    ``by_run`` names a learned start after the run's folder.
    """
    runs = [flat_value(flat, INIT_KEY) for flat in flats]
    if len(set(runs)) < 2:
        return [None] * len(flats)
    learned = list(dict.fromkeys(run for run in runs if run is not None))
    folders = numbered([f"learned start {PurePath(str(run)).name}" for run in learned])
    called = dict(zip(learned, folders, strict=True)) if by_run else dict.fromkeys(learned, "learned start")
    return [called.get(run, "random start") for run in runs]


def implied(flats: Sequence[Flat]) -> set[Path]:
    """Settings that other words of a name cover: partition, start, and a width that follows from the budget."""
    matched = all(flat_value(flat, MATCH_KEY) for flat in flats)
    return {PARTITION, INIT_KEY, METHOD.path} | ({WIDTH_KEY} if matched else set())


# -- names ----------------------------------------------------------------------------------------------------------

MIXED = 3
"""With at least this many differing keys, not counting the partition, names leave out usual values."""


def labels(
    flats: Sequence[Flat],
    regions: Sequence[set[int]],
    section: Section | None = None,
    asked: Sequence[Overrides] | None = None,
) -> list[str]:
    """A short name for each config, made from the differences.

    In an ordinary sweep every name has the value of each differing key, unless all but one of four or more share it.
    With :data:`MIXED` differing keys or more, a name has the partition and those values that distinguish it from most
    others. An experiment stands for the settings that differ because of it.

    Args:
        flats: distinct configs without the choice of the image.
        regions: numbers of regions of the runs of each config.
        section: the section of the runs, which provides words.
        asked: the overrides of the runs of each config.

    Returns:
        distinct names. ``none`` is one region; ``grid #9`` is PoG#9, a grid of nine regions.
    """
    own = section or Section()
    return _distinct(flats, [partition_word(*each, own) for each in zip(flats, regions, strict=True)], own, asked)


def titles(
    flats: Sequence[Flat],
    regions: Sequence[set[int]],
    cuts: Sequence[set[Cut]],
    section: Section | None = None,
    asked: Sequence[Overrides] | None = None,
) -> list[str]:
    """The names of :func:`labels` in a reader's words: ``no partition``, ``3×3 grid``, ``9 semantic regions``.

    Args:
        flats: as for :func:`labels`.
        regions: likewise.
        cuts: rows and columns of the images of each config, where its partition is a grid.
        section: likewise.
        asked: likewise.
    """
    own = section or Section()
    return _distinct(flats, _partition_titles(flats, regions, [own] * len(flats), cuts), own, asked)


def _distinct(
    flats: Sequence[Flat], parts: Sequence[str], section: Section, asked: Sequence[Overrides] | None
) -> list[str]:
    """A distinct name for each config, from words for its partition and its differences from the others."""
    namer = _Namer(section)
    differences = differing(flats)
    covered = implied(flats) | REGION_KEYS
    shown = [setting for setting in differences if setting.path not in covered]
    experiments = Experiments.of(flats, shown, asked)
    shown = [setting for setting in shown if setting not in experiments.explained]
    phrases = experiments.phrases(brief=len(set(parts)) > 1)
    varied: Sequence[str | None] = parts if len(set(parts)) > 1 else [None] * len(parts)
    varied = [" · ".join(filter(None, each)) or None for each in zip(varied, phrases, strict=True)]
    parts = [" · ".join(filter(None, each)) for each in zip(parts, phrases, strict=True)]
    starts = _starts(flats)
    names = namer.names(flats, [shown] * len(flats), varied, starts)
    names = [name or part for name, part in zip(names, parts, strict=True)]
    mixed = len({setting.path for setting in shown}) + (len(set(starts)) > 1) >= MIXED
    own, usual = namer.set_apart(flats, shown, mixed), _usual(starts) if mixed else None
    if any(each != shown for each in own) or usual not in (None, ABSENT_VALUE):
        placed = parts if mixed else varied
        short = namer.names(flats, own, placed, [None if start == usual else start for start in starts])
        short = [name or part for name, part in zip(short, parts, strict=True)]
        count = Counter(short)
        names = [name if count[brief] > 1 else brief for name, brief in zip(names, short, strict=True)]
    every = [setting for setting in differences if setting.path not in (PARTITION, INIT_KEY, METHOD.path)]
    whole = namer.names(flats, [every] * len(flats), parts, _starts(flats, by_run=True))
    count = Counter(names)
    return numbered([long if count[name] > 1 else name for name, long in zip(names, whole, strict=True)])


def _usual(values: Sequence[Any]) -> Any:
    """The most frequent of ``values``; :data:`ABSENT_VALUE` on a tie or without values."""
    count = Counter(values).most_common(2)
    tie = len(count) == 2 and count[0][1] == count[1][1]
    return count[0][0] if count and not tie else ABSENT_VALUE


@dataclass(frozen=True)
class _Namer:
    """Writes names in the words of a section."""

    section: Section

    def names(
        self,
        flats: Sequence[Flat],
        settings: Sequence[Sequence[Setting]],
        parts: Sequence[str | None],
        starts: Sequence[str | None],
    ) -> list[str]:
        """A name for each config: its partition and start if given, then its settings."""
        return [self._name(*each) for each in zip(flats, settings, parts, starts, strict=True)]

    def _name(self, flat: Flat, shown: Sequence[Setting], part: str | None, start: str | None) -> str:
        keys = Counter(path[-1] for path in {setting.path for setting in shown})
        # An unset option needs no word, since the other configs name theirs.
        stated = [each for each in shown if flat.get(each) is not None and self.speaks(flat, each)]
        stated.sort(key=lambda setting: setting.path[:1] != PARTITION)
        words = [self._phrase(each, flat[each], keys[each.path[-1]] > 1) for each in stated]
        return " · ".join([each for each in (part, start) if each] + words)

    def _phrase(self, setting: Setting, value: Any, ambiguous: bool) -> str:
        if setting.is_kind:  # a kind is a word by itself: siren, adam
            return word(value)
        phrases = self.section.phrases.get(setting.path, {})
        if isinstance(value, str) and value in phrases:
            return phrases[value]
        key = _SHORT.get(setting.path[-1], setting.path[-1])
        key = ".".join(setting.path[-2:]) if ambiguous or (len(setting.path) > 1 and key in _TAKEN) else key
        return f"{key} {_value(value)}"

    def speaks(self, flat: Flat, setting: Setting) -> bool:
        """Whether a setting has a meaning in a config; one about regions has none for a single region."""
        return setting.path not in self.section.of_regions or not _is_whole(flat)

    def set_apart(self, flats: Sequence[Flat], shown: Sequence[Setting], mixed: bool) -> list[list[Setting]]:
        """For each config, the settings whose value is not the usual one.

        A name does not mention a setting that the config lacks or leaves unset. To keep names unambiguous, a value
        therefore counts as usual only if no config leaves the setting unset, or most configs do. Unless the configs are
        ``mixed``, all but one of four or more must have it, and a kind is always told.
        """
        usual, unset = {}, identity(None)
        for setting in shown:
            values = [identity(f.get(setting)) for f in flats if setting.belongs(f) and self.speaks(f, setting)]
            found = _usual(values)
            alone = not setting.is_kind and len(values) > 3 and values.count(found) == len(values) - 1
            if found is not ABSENT_VALUE and (found == unset or unset not in values) and (mixed or alone):
                usual[setting] = found
        return [[each for each in shown if usual.get(each, ABSENT_VALUE) != identity(flat.get(each))] for flat in flats]


# -- facets ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Facet:
    """A setting in which configurations differ, in words, to filter and group runs by."""

    name: str
    key: str
    """Dotted path in the config."""
    values: tuple[str, ...]
    """Distinct values: numbers by size, words in natural order."""
    of: tuple[str | None, ...]
    """The value of each config; None if it lacks the setting."""


def facets(
    flats: Sequence[Flat],
    regions: Sequence[set[int]],
    sections: Sequence[Section] | None = None,
    cuts: Sequence[set[Cut]] | None = None,
    asked: Sequence[Overrides] | None = None,
) -> list[Facet]:
    """The settings in which configs differ, the partition first.

    Settings that follow from another (regions from the partition, the width from matched parameters) are left out.

    Args:
        flats: as for :func:`labels`.
        regions: likewise.
        sections: section of each config; the plain one by default.
        cuts: as for :func:`titles`, for a partition in a reader's words.
        asked: as for :func:`labels`.
    """
    own = sections or [Section()] * len(flats)
    if cuts is None:
        parts = [partition_word(*each) for each in zip(flats, regions, own, strict=True)]
    else:
        parts = _partition_titles(flats, regions, own, cuts)
    fewest = [min(counts) if counts else expected_regions(flat) for flat, counts in zip(flats, regions, strict=True)]
    starts = _starts(flats, by_run=True)
    covered = implied(flats) | (REGION_KEYS if len(set(parts)) > 1 else set())
    differences = [setting for setting in differing(flats) if setting.path not in covered]
    experiments = Experiments.of(flats, differences, asked)
    found = [
        _facet("partition", "partition", fewest, parts),
        _facet("start", "init", starts, starts),
        _facet("experiment", "experiment", experiments.words, experiments.words),
    ]
    paths = dict.fromkeys(setting.path for setting in differences if setting not in experiments.explained)
    short = short_names(paths)
    for path in paths:
        settings = [next((each for each in flat if each.path == path), None) for flat in flats]
        raw = [None if each is None else flat[each] for flat, each in zip(flats, settings, strict=True)]
        words = [None if each is None else in_words(each, value) for each, value in zip(settings, raw, strict=True)]
        found.append(_facet(short[path], ".".join(path), raw, words))
    return [facet for facet in found if len(set(facet.of)) > 1]


def _facet(name: str, place: str, raw: Sequence[Any], words: Sequence[str | None]) -> Facet:
    order = {said: value for value, said in zip(raw, words, strict=True) if said is not None}

    def key(said: str) -> tuple[bool, float, list[tuple[float, str]]]:
        value = order[said]
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return not number, value if number else 0, natural(said)

    return Facet(name, place, tuple(sorted(order, key=key)), tuple(words))
