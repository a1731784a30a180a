"""Configurations as flat, comparable settings, without those that do not change the computation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from partinr.runs.origin import with_guests

Path = tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """The place of a value in a config.

    ``scopes`` are the enclosing sections that have a kind, with that kind. They keep ``omega_0`` of a SIREN from being
    compared with a key of the same name of another backbone.
    """

    path: Path
    scopes: tuple[tuple[Path, str], ...] = ()
    is_kind: bool = False
    """The value is the kind of the section at ``path`` (a class, a ``name``), not a leaf of the file."""

    def belongs(self, flat: Flat) -> bool:
        """Whether the enclosing sections have the same kinds in ``flat``, and both are of partinr or of one method."""
        if METHOD in flat and self != METHOD and METHOD.path not in dict(self.scopes):
            return False
        around = enumerate(self.scopes)
        return all(flat.get(Setting(path, self.scopes[:depth], True)) == kind for depth, (path, kind) in around)


Flat = Mapping[Setting, Any]

METHOD = Setting(("method",), is_kind=True)
"""The name of the method of an imported run, which has none of the settings of partinr."""

_KIND = "_target_"

_SILENT_KEYS = {
    ("cache_dir",),
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
    ("study",),
    ("sweep",),
    *(("trainer", key) for key in ("default_root_dir", "enable_model_summary", "enable_progress_bar")),
    *(("trainer", key) for key in ("log_every_n_steps", "logger")),
}
"""Keys for the output and evaluation of a run, which do not change the computation."""

_IMAGE = ("name", "path", "size", "max_side", "alpha", "bits", "channels", "limit", "crops", "crop_size")
IMAGE_KEYS = {("data", key) for key in (_KIND, *_IMAGE)}
"""Keys that only choose the images; a run identifies these by their content."""

PARTITION = ("partition",)
REGION_KEYS = {("partition", key) for key in ("regions", "rows", "cols", "shape")}
WIDTH_KEY, MATCH_KEY = ("backbone", "hidden_features"), ("backbone", "match_params")
PARAMETERS_KEY = ("parameters",)
"""Parameters of an imported run."""

BUDGET_KEYS = {WIDTH_KEY, MATCH_KEY, PARAMETERS_KEY}
FRAME_KEY = ("coords", "frame")
CAPACITY_KEY = ("capacity",)
INIT_KEY = ("init",)
"""The run whose learned initialisation a fit starts from; null for a random one."""

OBSERVE_KEY, START_KEY = ("observe",), ("start",)
_USUAL = {OBSERVE_KEY: "Identity", START_KEY: "Random", ("sampler",): "Uniform"}
"""The choices of groups that do nothing, unless an option is set; older runs have no key for these groups."""

START_KEYS = {INIT_KEY, ("init_steps",)}
"""Keys for a learned start of a fit."""


def flatten(config: Mapping[str, Any], seed: int | None = None) -> dict[Setting, Any]:
    """The leaves of a config that affect the computation.

    A section's kind (its ``name``, else the class of its ``_target_``) is a leaf under the section's own path. Keys
    called ``seed`` are left out if they follow ``seed``.
    """
    flat: dict[Setting, Any] = {}

    def walk(node: Mapping[str, Any], path: Path, scopes: tuple[tuple[Path, str], ...]) -> None:
        kind_key = "name" if isinstance(node.get("name"), str) else _KIND
        kind = node.get(kind_key) if path else None
        if isinstance(kind, str):
            kind = kind.rpartition(".")[2]
            flat[Setting(path, scopes, True)] = kind
            scopes = (*scopes, (path, kind))
        for key, value in node.items():
            at = (*path, str(key))
            if at in _SILENT_KEYS or (key == kind_key and isinstance(kind, str)) or (key == "seed" and value == seed):
                continue
            # A given width overrides the parameter budget; older runs have no key for the start.
            if (at == MATCH_KEY and node.get("hidden_features") is not None) or (at == INIT_KEY and value is None):
                continue
            if at in _USUAL and _is_usual(value, _USUAL[at]):
                continue
            if isinstance(value, Mapping) and value:
                walk(value, at, scopes)
            else:
                flat[Setting(at, scopes)] = frozen(value)

    settings = with_guests(config)
    method = settings.pop(METHOD.path[0], None)
    if method is not None:
        flat[METHOD] = method
    walk(settings, (), () if method is None else ((METHOD.path, method),))
    return flat


def _is_usual(node: Mapping[str, Any], kind: str) -> bool:
    """Whether a section is of a kind, without options."""
    options = [value for key, value in node.items() if key != _KIND]
    return str(node.get(_KIND)).rpartition(".")[2] == kind and all(each is None for each in options)


def frozen(value: Any) -> Any:
    """``value`` as something that can be compared and hashed."""
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    return str(value) if isinstance(value, Mapping) else value


def identity(value: Any) -> tuple[bool, Any]:
    """A key for ``value`` by which 1 equals 1.0, as in a config, but not True."""
    return isinstance(value, bool), value


def same_settings(flat: Flat) -> frozenset[Any]:
    """What two configurations of the same settings share.

    A key that is null equals one that is absent: later versions have keys that are null unless they are used.
    """
    return frozenset((key, identity(value)) for key, value in flat.items() if value is not None)


def flat_value(flat: Flat, path: Path) -> Any:
    """The value at ``path``, or None."""
    return next((value for setting, value in flat.items() if setting.path == path and not setting.is_kind), None)


def observed(flat: Flat) -> frozenset[Any]:
    """How a fit sees its signal: empty as it is. Results are only compared where this is the same."""
    return same_settings({setting: value for setting, value in flat.items() if setting.path[:1] == OBSERVE_KEY})


def without_image(flat: Flat) -> dict[Setting, Any]:
    """``flat`` without the choice of the image, including the kind of the section ``data``."""
    return {
        replace(setting, scopes=tuple(scope for scope in setting.scopes if scope[0] != ("data",))): value
        for setting, value in flat.items()
        if setting.path != ("data",) and setting.path not in IMAGE_KEYS
    }


def without_data(flats: Sequence[Flat], signals: Sequence[str]) -> list[Flat]:
    """Configs without those settings of ``data`` that are the same in all runs on a signal: its name stands for them.

    Args:
        flats: one config a run.
        signals: the signal of each.
    """
    found: dict[tuple[Setting, str], set[Any]] = {}
    for flat, signal in zip(flats, signals, strict=True):
        for setting, value in flat.items():
            if setting.path[0] == "data":
                found.setdefault((setting, signal), set()).add(identity(value))
    varied = {setting for (setting, _), values in found.items() if len(values) > 1}
    return [{key: value for key, value in flat.items() if key.path[0] != "data" or key in varied} for flat in flats]


def without_start(flat: Flat) -> dict[Setting, Any]:
    """The settings that must agree to compare a learned start with a random one."""
    return {
        setting: value
        for setting, value in flat.items()
        if setting.path not in START_KEYS and setting.path[:1] != START_KEY
    }


def without_partition(flat: Flat) -> dict[Setting, Any]:
    """The settings that must agree to compare a group with a single network.

    With one region, both frames are the same and no other region shares parameters. Learned starts of nine networks and
    of one come from different runs, so it is enough that both starts are learned.
    """
    return {
        setting: setting.path == INIT_KEY or value
        for setting, value in flat.items()
        if setting.path[:1] != PARTITION and setting.path not in {WIDTH_KEY, MATCH_KEY, FRAME_KEY, CAPACITY_KEY}
    }


def differing(flats: Sequence[Flat]) -> list[Setting]:
    """Settings that differ between configs with the same enclosing kinds, in the configs' order.

    If several settings of one name agree everywhere (one is interpolated from the other), only the shallowest is kept.
    """
    found: dict[tuple[str, tuple[Any, ...]], Setting] = {}
    settings = list(dict.fromkeys(setting for flat in flats for setting in flat))
    for setting in settings:
        if len({identity(flat.get(setting, ABSENT_VALUE)) for flat in flats if setting.belongs(flat)}) < 2:
            continue
        same = (setting.path[-1], tuple(identity(flat.get(setting, ABSENT_VALUE)) for flat in flats))
        if same not in found or len(setting.path) < len(found[same].path):
            found[same] = setting
    chosen = set(found.values())
    return [setting for setting in settings if setting in chosen]


ABSENT_VALUE = object()
