"""Names of runs: plain configurations, their identity, and names of folders.

This module needs no torch, so that Hydra can compose and a sweep can find its runs before anything is loaded.
"""

from __future__ import annotations

import copy
import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from partinr.base.later import Later
from partinr.base.text import utf8
from partinr.runs.origin import with_guests

if TYPE_CHECKING:
    from partinr.tracking import environment
else:
    environment = Later("partinr.tracking.environment")

_PATHS = (
    ("", "ckpt_path"),
    ("", "init"),
    ("data", "path"),
    ("data", "val_path"),
    ("data", "val_list"),
    ("partition", "path"),
    ("partition", "checkpoint"),
)
"""Keys that name files or folders, each with its group."""

_FOLDERS_OR_NAMES = (("partition", "model"),)
"""Keys that name a folder if it exists, and otherwise something else."""


NOT_IDENTITY = ("output_dir", "cache_dir", "debug", "logger", "study", "sweep")
"""Keys for the place or display of a run, which are not part of its identity."""

OWN_CALLBACKS = ("checkpoint", "pictures", "progress")
"""Keys of ``callbacks`` for partinr's own callbacks, which are not part of it, either."""

_LONGEST = 64
"""Limit of letters of the name of a single run without its date."""

_IN_LABEL = ("data", "data.path", "data.name", "partition", "backbone")
"""Keys that a label tells without their names."""


def register_resolvers() -> None:
    """Register ``${partinr.token:}`` (with a new token), ``partinr.label``, the experiment and the places of loggers.

    All processes of one start share the token, and no two starts have the same, unlike with the clock alone.
    """
    token = f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(3)}"
    OmegaConf.register_new_resolver("partinr.token", lambda: token, replace=True, use_cache=True)
    OmegaConf.register_new_resolver("partinr.label", lambda *_, _root_: run_label(_root_), replace=True)
    OmegaConf.register_new_resolver("partinr.experiment", experiment, replace=True)
    OmegaConf.register_new_resolver("partinr.wandb", _from_environment, replace=True)
    OmegaConf.register_new_resolver("partinr.mlflow", lambda folder: environment.mlflow_uri(folder), replace=True)


def _from_environment(*key: Any) -> Any:
    """The value of a key of ``logger``, with a list in the form that ``--cfg job --resolve`` can print."""
    said = environment.heeded(*key)
    return OmegaConf.create(said) if isinstance(said, list) else said


def experiment(study: str | None = None) -> str | None:
    """The name of a study: the given name, else its experiment; None without one, or outside a Hydra job."""
    if study is not None or not HydraConfig.initialized():
        return study
    choices = HydraConfig.get().runtime.choices
    return sized(choices["experiment"], choices.get("size")) if choices.get("experiment") else None


def sized(experiment: str, size: str | None) -> str:
    """The name of an experiment at a size, which distinguishes a small study from the full one."""
    return experiment if size in (None, "full") else f"{experiment}_{size}"


def run_label(config: DictConfig) -> str:
    """The name of a single run without its date: its signal, partition, backbone and other requested settings."""
    chosen = [str(config.hydra.runtime.choices.get(group)) for group in ("partition", "backbone")]
    path, name = OmegaConf.select(config, "data.path"), OmegaConf.select(config, "data.name")
    asked = [each for each in config.hydra.overrides.task if is_shown(each)]
    others = sorted(short(each) for each in asked if key_of(each) not in _IN_LABEL)
    signal = PurePath(path).stem if path else name or config.hydra.runtime.choices.get("data")
    words = [str(signal), *chosen, *others]
    whole = ",".join(words)
    if len(safe_name(whole)) <= _LONGEST:
        return safe_name(whole)
    # Between settings, since a value that is cut is another one.
    while len(words) > 1 and len(safe_name(",".join(words))) > _LONGEST - 9:
        words.pop()
    return f"{safe_name(','.join(words))[: _LONGEST - 9]}-{short_hash(whole)}"


def folder_label(overrides: str, limit: int = 80) -> str:
    """Overrides as part of a folder name, safe in any file system and limited in length."""
    label = safe_name(overrides)
    if len(label) > limit:
        label = f"{label[: limit - 9]}-{short_hash(overrides)}"
    return label


def safe_name(overrides: str) -> str:
    """Overrides as a name that is safe in any file system."""
    # Neither "=" nor ",", so that an override (ckpt_path=…) can contain the path of a run without quotes.
    return re.sub(r"[^\w.+-]+", "-", re.sub("['\"]", "", overrides).replace(",", "_")).strip("-._") or "default"


def short_hash(text: str) -> str:
    """Eight hexadecimal digits of a text's SHA-256."""
    return hashlib.sha256(utf8(text)).hexdigest()[:8]


def identity(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration without :data:`NOT_IDENTITY` and partinr's own callbacks, with absolute paths.

    ``ckpt_path`` is part of it where there is one: what was continued is not what was fitted at one go.
    """
    absolute = with_absolute_paths(with_guests(plain))
    return {
        key: value for key, value in absolute.items() if key not in NOT_IDENTITY and (key, value) != ("ckpt_path", None)
    }


def with_absolute_paths(plain: dict[str, Any]) -> dict[str, Any]:
    """A configuration with absolute paths, so that its run can be resumed from any folder."""
    plain = copy.deepcopy(plain)
    for group, key in _PATHS + _FOLDERS_OR_NAMES:
        node = plain[group] if group else plain
        if isinstance(node.get(key), str):
            path = os.path.abspath(os.path.expanduser(node[key]))
            if (group, key) in _PATHS or os.path.isdir(path):
                node[key] = path
    return plain


def with_values(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with changed values for keys at its root or in a group."""
    changed = dict(config)
    for key, value in changes.items():
        group, _, name = key.rpartition(".")
        changed.update({group: {**changed[group], name: value}} if group else {name: value})
    return changed


def plain(config: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """A resolved configuration as plain containers."""
    if not isinstance(config, DictConfig):
        return dict(config)
    found = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


# -- overrides --------------------------------------------------------------------------------------------------------


def first_key(override: str) -> str:
    """The group or root key of an override."""
    return re.split(r"[=./@]", override.lstrip("+~"), maxsplit=1)[0]


def is_shown(override: str) -> bool:
    """Whether an override is part of names: not where it only says what is kept, and where."""
    group, _, name = re.split("[=/@]", key_of(override), maxsplit=1)[0].partition(".")
    if group == "callbacks":
        return bool(name) and name.partition(".")[0] not in OWN_CALLBACKS
    return group not in (*NOT_IDENTITY, "hydra")


def key_of(override: str) -> str:
    """The key, or the group, of an override."""
    return override.lstrip("+~").partition("=")[0]


def short(override: str) -> str:
    """An override without the group of its key, and a file path without its folders."""
    key, _, value = override.partition("=")
    value = value.strip("'\"")
    if key.endswith("._target_") and first_key(override) == "callbacks":
        return value.rpartition(".")[2]
    name = Path(value).stem if "/" in value else _digits(value)
    return name if key == "data.path" else f"{key.rpartition('.')[2]}={name}"


def _digits(value: str) -> str:
    """A number drawn by a sampler in its usual notation."""
    try:
        return f"{float(value):.4g}" if "." in value and len(value) > 8 else value
    except ValueError:
        return value
