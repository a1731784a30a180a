"""Configurations as flat settings that can be compared, without what did not change the computation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Path = tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """Where a value stands in a config.

    ``scopes`` are the sections around it that have a kind, with that kind: ``omega_0`` of a SIREN is never compared
    with a key of another backbone, even under one name.
    """

    path: Path
    scopes: tuple[tuple[Path, str], ...] = ()
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
    ("study",),
    ("sweep",),
    *(("trainer", key) for key in ("default_root_dir", "enable_model_summary", "enable_progress_bar")),
    *(("trainer", key) for key in ("log_every_n_steps", "logger")),
}
"""Keys that say where a run went and when it was evaluated, not what it computed."""

IMAGE_KEYS = {
    ("data", key) for key in (_KIND, "name", "path", "size", "max_side", "alpha", "limit", "crops", "crop_size")
}
"""Keys that only choose the image, or the images, which a run knows by their content."""

PARTITION = ("partition",)
REGION_KEYS = {("partition", key) for key in ("regions", "rows", "cols")}
WIDTH_KEY, MATCH_KEY = ("backbone", "hidden_features"), ("backbone", "match_params")
FRAME_KEY = ("coords", "frame")
CAPACITY_KEY = ("capacity",)
INIT_KEY = ("init",)
"""The run whose learned initialisation a fit begins with; null for a random one."""

START_KEYS = {INIT_KEY, ("init_steps",)}
"""How a fit begins."""


def flatten(config: Mapping[str, Any], seed: int | None = None) -> dict[Setting, Any]:
    """The leaves of a config that say something about the computation.

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
            # A width that is given decides, whatever number stands beside it; older runs have no key for the start.
            if (at == MATCH_KEY and node.get("hidden_features") is not None) or (at == INIT_KEY and value is None):
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


def identity(value: Any) -> tuple[bool, Any]:
    """``value`` so that 1 and 1.0 are one, as they are to a config, and True is another."""
    return isinstance(value, bool), value


def flat_value(flat: Flat, path: Path) -> Any:
    """The value at ``path``; None where there is none."""
    return next((value for setting, value in flat.items() if setting.path == path and not setting.is_kind), None)


def without_image(flat: Flat) -> dict[Setting, Any]:
    """``flat`` without the choice of the image. The section's kind goes too: it is how an image is read."""
    return {
        replace(setting, scopes=tuple(scope for scope in setting.scopes if scope[0] != ("data",))): value
        for setting, value in flat.items()
        if setting.path != ("data",) and setting.path not in IMAGE_KEYS
    }


def without_start(flat: Flat) -> dict[Setting, Any]:
    """What must agree for a learned start to be measured against a random one."""
    return {setting: value for setting, value in flat.items() if setting.path not in START_KEYS}


def without_partition(flat: Flat) -> dict[Setting, Any]:
    """What must agree for a group to be measured against a lone network.

    With one region both frames are the same, and no other region shares parameters. Another run learns the start of
    nine networks than that of one, so it is enough that both starts are learned.
    """
    return {
        setting: setting.path == INIT_KEY or value
        for setting, value in flat.items()
        if setting.path[:1] != PARTITION and setting.path not in {WIDTH_KEY, MATCH_KEY, FRAME_KEY, CAPACITY_KEY}
    }


def differing(flats: Sequence[Flat]) -> list[Setting]:
    """Settings on which the configs disagree, in the configs' order; each only among those of the same kind around it.

    Of several settings that agree everywhere under one name (one interpolated from the other) only the shallowest is
    kept.
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
