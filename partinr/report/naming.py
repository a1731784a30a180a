"""What differs between configurations, and the short names that follow from it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

# -- configurations -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """Where a value stands in a config.

    ``scopes`` are the sections around it that are of some kind, with that kind: ``omega_0`` of a SIREN is never
    compared with a key of another backbone, even under one name.
    """

    path: tuple[str, ...]
    scopes: tuple[tuple[tuple[str, ...], str], ...] = ()
    is_kind: bool = False
    """The value is the kind of the section at ``path`` (a class, a ``name``), not a leaf of the file."""

    def belongs(self, flat: Flat) -> bool:
        """Whether the sections around it are of the same kinds in ``flat``."""
        around = enumerate(self.scopes)
        return all(flat.get(Setting(path, self.scopes[:depth], True)) == kind for depth, (path, kind) in around)


Flat = Mapping[Setting, Any]

_KIND = "_target_"

_SILENT_KEYS = {
    ("cache_dir",),
    ("callbacks",),
    ("ckpt_path",),
    ("debug",),
    ("hydra",),
    ("logger",),
    ("name",),
    ("output_dir",),
    ("regime", "evaluate_at"),
    ("regime", "evaluate_every"),
    ("regime", "evaluations_per_decade"),
    ("seed",),
    ("trainer", "default_root_dir"),
    ("trainer", "enable_model_summary"),
    ("trainer", "enable_progress_bar"),
    ("trainer", "log_every_n_steps"),
    ("trainer", "logger"),
}
"""Keys that say where a run went and when it was looked at, not what it computed."""

IMAGE_KEYS = {
    ("data", key) for key in (_KIND, "name", "path", "size", "max_side", "alpha", "limit", "crops", "crop_size")
}
"""Keys that only choose the image, or the images, which a run knows by their content."""

WIDTH_KEYS = {("backbone", "hidden_features"), ("backbone", "match_params")}
FRAME_KEY = ("coords", "frame")
CAPACITY_KEY = ("capacity",)
INIT_KEY = ("init",)
"""The run whose learned initialisation a fit begins with; null for a random one."""

START_KEYS = {INIT_KEY, ("init_steps",)}
"""How a fit begins."""

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
"""Words of a name for keys that are long or often differ."""

_PHRASES: Mapping[tuple[str, ...], Mapping[Any, str]] = {
    ("regime", "algorithm"): {name: name for name in ("maml", "fomaml", "reptile", "unadapted")},
    ("regime", "partition_in"): {"both": "cut in both", "test": "cut in test only", "neither": "not cut"},
    ("regime", "initialisation"): {"shared": "shared initialisation", "region": "an initialisation a region"},
}
"""What is said in place of a key and its value."""

_OF_REGIONS = {("regime", "partition_in"), ("regime", "initialisation")}
"""Keys that mean nothing where there is one region."""


def flatten(config: Mapping[str, Any], seed: int | None = None) -> dict[Setting, Any]:
    """The leaves of a config that say something about the computation.

    A section's kind (its ``name``, else the class of its ``_target_``) is a leaf under the section's own path. Keys
    called ``seed`` are left out if they follow ``seed``.
    """
    flat: dict[Setting, Any] = {}

    def walk(node: Mapping[str, Any], path: tuple[str, ...], scopes: tuple[tuple[tuple[str, ...], str], ...]) -> None:
        kind_key = "name" if isinstance(node.get("name"), str) else _KIND
        kind = node.get(kind_key) if path else None
        if isinstance(kind, str):
            kind = kind.rpartition(".")[2]
            flat[Setting(path, scopes, True)] = kind
            scopes = (*scopes, (path, kind))
        for key, value in node.items():
            at = (*path, str(key))
            if at in _SILENT_KEYS or (key == kind_key and isinstance(kind, str)):
                continue
            if key == "seed" and value == seed:
                continue
            if at == ("backbone", "match_params") and node.get("hidden_features") is not None:
                # A width that is given decides; the number beside it is not used.
                continue
            if at == INIT_KEY and value is None:
                # Runs of before there was such a key began at random, too.
                continue
            if isinstance(value, Mapping) and value:
                walk(value, at, scopes)
            else:
                flat[Setting(at, scopes)] = frozen(value)

    walk(config, (), ())
    return flat


def frozen(value: Any) -> Any:
    """``value`` as something that can be compared and hashed."""
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    return str(value) if isinstance(value, Mapping) else value


def without_image(flat: Flat) -> dict[Setting, Any]:
    """``flat`` without the choice of the image. The section's kind goes too: it is how an image is read."""
    keep = {}
    for setting, value in flat.items():
        if setting.path == ("data",) or setting.path in IMAGE_KEYS:
            continue
        # What is left of the section is not of a kind any more, as that was only the way of reading.
        scopes = tuple(scope for scope in setting.scopes if scope[0] != ("data",))
        keep[replace(setting, scopes=scopes)] = value
    return keep


def differing(flats: Sequence[Flat]) -> list[Setting]:
    """Settings on which the configs disagree, in the configs' order; each only among those of the same kind around it.

    Of several settings that agree everywhere under one name (one interpolated from the other) only the shallowest is
    kept.
    """
    settings = list(dict.fromkeys(setting for flat in flats for setting in flat))
    found: dict[tuple[str, tuple[Any, ...]], Setting] = {}
    for setting in settings:
        values = {identity(flat.get(setting, _ABSENT)) for flat in flats if setting.belongs(flat)}
        if len(values) < 2:
            continue
        same = (setting.path[-1], tuple(identity(flat.get(setting, _ABSENT)) for flat in flats))
        if same not in found or len(setting.path) < len(found[same].path):
            found[same] = setting
    chosen = set(found.values())
    return [setting for setting in settings if setting in chosen]


_ABSENT = object()


def identity(value: Any) -> tuple[bool, Any]:
    """``value`` so that 1 and 1.0 are one, as they are to a config, and True is another."""
    return isinstance(value, bool), value


# -- words ----------------------------------------------------------------------------------------------------------


def compact(number: float) -> str:
    """A number as short as it can be read: 1e-4, 0.05, 30, 1500, 100k, 2.5M."""
    if isinstance(number, int) or number.is_integer():
        for size, unit in ((1_000_000, "M"), (1_000, "k")):
            if abs(number) >= 10_000 and number % (size // 10) == 0 and abs(number) >= size:
                return f"{number / size:g}{unit}"
        return f"{number:.15g}"
    if abs(number) < 0.01:
        mantissa, exponent = f"{number:.6e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{number:g}"


def word(name: str) -> str:
    """A class name in the field's spelling: ``ReluPE`` is relu_pe."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _phrase(setting: Setting, value: Any, ambiguous: bool) -> str:
    phrases = _PHRASES.get(setting.path, {})
    if isinstance(value, str) and value in phrases:
        return phrases[value]
    key = ".".join(setting.path[-2:]) if ambiguous else _SHORT.get(setting.path[-1], setting.path[-1])
    if isinstance(value, bool):
        return f"{key} {'on' if value else 'off'}"
    if isinstance(value, (int, float)):
        return f"{key} {compact(value)}" if math.isfinite(value) else f"{key} {value}"
    if isinstance(value, tuple):
        return f"{key} {'×'.join(map(str, value))}"
    return f"{key} {value}"


PARTITION = ("partition",)
_SAID_BY_REGIONS = {("partition", key) for key in ("regions", "rows", "cols")}


def _partition_word(flat: Flat, regions: set[int]) -> str:
    """The partition in the field's notation: none, grid #9; grid #8–9 where it depends on the image."""
    kind = flat.get(Setting(PARTITION, is_kind=True))
    if kind == "Whole":
        return "none"
    wanted = flat_value(flat, ("partition", "regions"))
    name = word(kind) if isinstance(kind, str) else "partition"
    if flat_value(flat, ("regime", "partition_in")) == "neither":
        return "none"
    counts = sorted(regions) or ([wanted] if isinstance(wanted, int) else [])
    if not counts:
        return name
    return f"{name} #{counts[0]}" if len(counts) == 1 else f"{name} #{counts[0]}–{counts[-1]}"


def expected_regions(flat: Flat) -> float:
    """How many regions a config asks for, of runs that have not come to them; infinity where the image decides."""
    if flat.get(Setting(PARTITION, is_kind=True)) == "Whole":
        return 1
    wanted = flat_value(flat, ("partition", "regions"))
    return wanted if isinstance(wanted, int) else math.inf


def flat_value(flat: Flat, path: tuple[str, ...]) -> Any:
    """The value at ``path``; None where there is none."""
    return next((value for setting, value in flat.items() if setting.path == path and not setting.is_kind), None)


def _starts(flats: Sequence[Flat], by_run: bool = False) -> list[str | None]:
    """What each config begins with, where that is not the same in all: at random, or with what a run has learned.

    ``by_run`` calls what was learned by the folder of the run.
    """
    runs = [flat_value(flat, INIT_KEY) for flat in flats]
    learned = list(dict.fromkeys(run for run in runs if run is not None))
    if len(set(runs)) < 2:
        return [None] * len(flats)
    folders = numbered([f"learned start {PurePath(str(run)).name}" for run in learned])
    called = dict(zip(learned, folders, strict=True)) if by_run else dict.fromkeys(learned, "learned start")
    return [called.get(run, "random start") for run in runs]


MIXED = 3
"""From so many keys on that differ, beside the partition, names leave out usual values."""


def _usual(values: Sequence[Any]) -> Any:
    """The most frequent of ``values``; :data:`_ABSENT` where two are as frequent, or there is none."""
    count = Counter(values).most_common(2)
    tie = len(count) == 2 and count[0][1] == count[1][1]
    return count[0][0] if count and not tie else _ABSENT


def _set_apart(flats: Sequence[Flat], shown: Sequence[Setting]) -> list[Sequence[Setting]]:
    """Of each config the settings whose value is not the usual one of the configs at hand.

    A setting that some configs lack, or leave unset, is usual only where most do so: of these nothing is said in any
    case, and what is left out for another reason must not look like them.
    """
    usual = {}
    unset = identity(None)
    for setting in shown:
        values = [identity(flat.get(setting)) for flat in flats if setting.belongs(flat) and _speaks(flat, setting)]
        found = _usual(values)
        if found is not _ABSENT and (found == unset or unset not in values):
            usual[setting] = found
    return [[each for each in shown if usual.get(each, _ABSENT) != identity(flat.get(each))] for flat in flats]


def _in_short(
    flats: Sequence[Flat],
    shown: Sequence[Setting],
    partitions: Sequence[str],
    starts: Sequence[str | None],
    names: Sequence[str],
) -> list[str]:
    """``names`` without usual values, where there are such; a name stays that would not be the only one of its kind."""
    own = _set_apart(flats, shown)
    usual_start = _usual(starts)
    if all(each == shown for each in own) and usual_start in (None, _ABSENT):
        return list(names)
    short = [
        _name(flat, settings, part, None if start == usual_start else start)
        for flat, settings, part, start in zip(flats, own, partitions, starts, strict=True)
    ]
    count = Counter(short)
    return [name if count[brief] > 1 else brief for name, brief in zip(names, short, strict=True)]


def _speaks(flat: Flat, setting: Setting) -> bool:
    """Whether a setting means something in a config: what is said of regions does not where there is one."""
    return setting.path not in _OF_REGIONS or flat.get(Setting(PARTITION, is_kind=True)) != "Whole"


def labels(flats: Sequence[Flat], regions: Sequence[set[int]]) -> list[str]:
    """A short name for each config, by what differs between them.

    In an ordinary sweep every name has the value of each key that differs. Where these are :data:`MIXED` keys or more,
    a name has the partition, and of the other values those that set it apart from most of the others.

    Args:
        flats: configs without the choice of the image, no two alike.
        regions: how many regions the runs of each config came to.

    Returns:
        Names, no two alike. ``none`` is one region; ``grid #9`` is PoG#9, a grid of nine regions.
    """
    differences = differing(flats)
    partitions = [_partition_word(flat, counts) for flat, counts in zip(flats, regions, strict=True)]
    by_partition = len(set(partitions)) > 1
    matched = all(
        any(setting.path == ("backbone", "match_params") and value for setting, value in flat.items()) for flat in flats
    )
    said = {PARTITION, INIT_KEY} | _SAID_BY_REGIONS
    if matched:
        # The width then follows from the number of parameters.
        said.add(("backbone", "hidden_features"))
    shown = [setting for setting in differences if setting.path not in said]
    starts = _starts(flats)
    names = [
        _name(flat, shown, part if by_partition else None, start)
        for flat, part, start in zip(flats, partitions, starts, strict=True)
    ]
    names = [name or part for name, part in zip(names, partitions, strict=True)]
    if len({setting.path for setting in shown}) + (len(set(starts)) > 1) >= MIXED:
        names = _in_short(flats, shown, partitions, starts, names)
    alike = {name for name, count in Counter(names).items() if count > 1}
    names = [
        _name(flat, [each for each in differences if each.path not in (PARTITION, INIT_KEY)], part, start)
        if name in alike
        else name
        for name, flat, part, start in zip(names, flats, partitions, _starts(flats, by_run=True), strict=True)
    ]
    return numbered(names)


@dataclass(frozen=True)
class Facet:
    """A setting in which configurations differ, in words: what runs can be chosen and grouped by."""

    name: str
    key: str
    """Where it stands in the config, with dots."""
    values: tuple[str, ...]
    """Each once, numbers by size and words as people sort them."""
    of: tuple[str | None, ...]
    """The value of each config; None where it has no such setting."""


def facets(flats: Sequence[Flat], regions: Sequence[set[int]]) -> list[Facet]:
    """The settings in which configs differ, the partition first; args as of :func:`labels`.

    What follows from another setting (regions from the partition, the width from matched parameters) is none.
    """
    found = []
    partitions: list[Any] = [_partition_word(flat, counts) for flat, counts in zip(flats, regions, strict=True)]
    fewest = [min(counts) if counts else expected_regions(flat) for flat, counts in zip(flats, regions, strict=True)]
    found.append(_facet("partition", "partition", fewest, partitions))
    starts = _starts(flats, by_run=True)
    found.append(_facet("start", "init", starts, starts))
    said: set[tuple[str, ...]] = {PARTITION, INIT_KEY}
    if len(set(partitions)) > 1:
        said |= _SAID_BY_REGIONS
    if all(flat_value(flat, ("backbone", "match_params")) for flat in flats):
        said.add(("backbone", "hidden_features"))
    paths = list(dict.fromkeys(setting.path for setting in differing(flats) if setting.path not in said))
    keys = Counter(_SHORT.get(path[-1], path[-1]) for path in [("partition",), ("start",), *paths])
    for path in paths:
        short = _SHORT.get(path[-1], path[-1])
        settings = [next((each for each in flat if each.path == path), None) for flat in flats]
        raw = [None if each is None else flat[each] for flat, each in zip(flats, settings, strict=True)]
        words = [
            None if each is None else word(str(value)) if each.is_kind else _value(value)
            for each, value in zip(settings, raw, strict=True)
        ]
        key = ".".join(path)
        found.append(_facet(short if keys[short] == 1 else ".".join(path[-2:]), key, raw, words))
    return [facet for facet in found if len(set(facet.of)) > 1]


def _facet(name: str, place: str, raw: Sequence[Any], words: Sequence[str | None]) -> Facet:
    order = {said: value for value, said in zip(raw, words, strict=True) if said is not None}

    def key(said: str) -> tuple[bool, float, list[tuple[int, str]]]:
        value = order[said]
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return not number, value if number else 0, natural(said)

    return Facet(name, place, tuple(sorted(order, key=key)), tuple(words))


def _value(value: Any) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float)) and math.isfinite(value):
        return compact(value)
    return "×".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _name(flat: Flat, shown: Sequence[Setting], partition: str | None, start: str | None) -> str:
    keys = Counter(setting.path[-1] for setting in {setting.path: setting for setting in shown}.values())
    first = [each for each in (partition, start) if each]
    own: list[str] = []
    rest: list[str] = []
    for setting in shown:
        if setting not in flat:
            continue
        value = flat[setting]
        if value is None:
            # An option that is not set goes without saying; the others of the study name theirs.
            continue
        if not _speaks(flat, setting):
            continue
        # A section's kind stands for itself: siren, adam.
        said = word(value) if setting.is_kind else _phrase(setting, value, keys[setting.path[-1]] > 1)
        (own if setting.path[:1] == PARTITION else rest).append(said)
    return " · ".join(first + own + rest)


def numbered(names: Sequence[str]) -> list[str]:
    """``names``, a later one of the same name with its number."""
    seen: Counter[str] = Counter()
    result = []
    for name in names:
        seen[name] += 1
        result.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return result


def natural(label: str) -> list[tuple[int, str]]:
    """A key by which #9 comes before #16."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"([0-9]+)", label)]


def without_start(flat: Flat) -> dict[Setting, Any]:
    """What must agree for a learned start to be measured against a random one."""
    return {setting: value for setting, value in flat.items() if setting.path not in START_KEYS}


def without_partition(flat: Flat) -> dict[Setting, Any]:
    """What must agree for a group to be measured against a lone network.

    With one region both frames are the same, and there is nobody to share parameters with. What is learned for nine
    networks is learned by another run than what is learned for one: that both have learned is enough.
    """
    return {
        setting: setting.path == INIT_KEY or value
        for setting, value in flat.items()
        if setting.path[:1] != PARTITION and setting.path not in {*WIDTH_KEYS, FRAME_KEY, CAPACITY_KEY}
    }
