"""Makes Hydra compose in a fraction of its time: what it has read, chosen and merged is kept, by content.

A run composes up to three times (for the types of its overrides, for the mode, for the run), a sweep once more a job.
Most of that is YAML that pure Python parses, and the same choices found and merged again.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from hydra._internal import config_loader_impl
from hydra._internal import hydra as hydra_itself
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository, ConfigRepository, IConfigRepository
from hydra._internal.defaults_list import DefaultsList, create_defaults_list
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.default_element import ResultDefault
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import DictConfig

_MOST = 500
"""Combinations of choices that are kept, of some 20 KB each."""

_Key = tuple[object, ...]
_Files = dict[str, bytes | None]
_read: dict[_Key, tuple[object, bytes]] = {}
_chosen: dict[_Key, tuple[_Files, bytes]] = {}
_merged: dict[_Key, bytes] = {}
_last: list[tuple[ConfigSource, str, str]] = []
"""Source, path and package of what was composed last, in the order of merging."""


def register() -> None:
    """Have Hydra compose this way."""
    hydra_itself.ConfigLoaderImpl = _Loader  # type: ignore[misc]
    config_loader_impl.create_defaults_list = _defaults_list


def last_files() -> list[tuple[str, str]]:
    """Text and package of each file of the configuration that was composed last, in the order of merging."""
    contents = [(_content(source, path), package) for source, path, package in _last]
    return [(content.decode("utf-8-sig"), package) for content, package in contents if isinstance(content, bytes)]


class _Repository(ConfigRepository):
    """Hydra's sources. A configuration is parsed once for each content."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.files: _Files = {}
        """What was asked for: parsed and pickled, or None if there is no such file."""
        self.whole = True
        """Whether everything could be pickled."""

    def load_config(self, config_path: str) -> ConfigResult | None:
        stored = self.stored(config_path)
        return super().load_config(config_path) if stored is None else pickle.loads(stored)

    def stored(self, config_path: str) -> bytes | None:
        """A configuration, parsed and pickled."""
        if config_path not in self.files:
            self.files[config_path] = self._stored(config_path)
        return self.files[config_path]

    def _stored(self, config_path: str) -> bytes | None:
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None:
            return None
        key, content = (source.full_path(), config_path), _content(source, config_path)
        before, stored = _read.get(key, (None, None))
        if content is None or content != before:
            stored = _pickled(super().load_config(config_path))
            if content is None or stored is None:
                self.whole = False
                return None
            _read[key] = content, stored
        return stored


class _Loader(ConfigLoaderImpl):
    """Hydra's loader. The same contents are merged once."""

    def __init__(self, config_search_path: ConfigSearchPath) -> None:
        super().__init__(config_search_path)
        self.repository = _Repository(config_search_path)

    def _compose_config_from_defaults_list(self, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
        files = _below(repo)
        _last.clear()
        for each in defaults:
            path = each.config_path
            if path is not None and (source := files._find_object_source(path, ObjectType.CONFIG)) is not None:
                _last.append((source, path, each.package or ""))
        parts = ((each.config_path, each.package, each.primary) for each in defaults)
        key = tuple((*each, None if each[0] is None else files.stored(each[0])) for each in parts)
        if files.whole and key in _merged:
            found: DictConfig = pickle.loads(_merged[key])
            return found
        composed = super()._compose_config_from_defaults_list(defaults, repo)
        composed._metadata.resolver_cache.clear()  # the next run has a time and a token of its own
        if files.whole and (pickled := _pickled(composed)) is not None:
            _keep(_merged, key, pickled)
        return composed


def _defaults_list(
    repo: IConfigRepository,
    config_name: str | None,
    overrides_list: Sequence[Override],
    prepend_hydra: bool,
    skip_missing: bool,
) -> DefaultsList:
    """Hydra's function of this name. The same choices among the same files are followed once."""
    files = _below(repo)
    given = [each for each in overrides_list if not each.is_sweep_override()]
    values = [each for each in given if isinstance(each.value(), dict) or not repo.group_exists(each.key_or_group)]
    choices = [each for each in given if each not in values]
    key = (config_name, prepend_hydra, skip_missing, *(each.input_line for each in choices))
    kept, pickled = _chosen.get(key, ({}, None))
    if pickled is not None and all(files.stored(name) == content for name, content in kept.items()):
        found: DefaultsList = pickle.loads(pickled)
    else:
        found = create_defaults_list(repo, config_name, choices, prepend_hydra, skip_missing)
        _name_objects(found, files)
        if files.whole and not _asks_outside(repo) and (pickled := _pickled(found)) is not None:
            _keep(_chosen, key, (dict(files.files), pickled))
    found.config_overrides = values
    return found


def _name_objects(found: DefaultsList, files: _Repository) -> None:
    """Put each of several objects of a group, such as logger=[csv,wandb], under its own name: logger.csv, logger.wandb.

    Hydra would merge them into one. Lists of choices that are no objects, such as callbacks=[default,mine], are merged.
    """
    for key, value in found.overrides.override_choices.items():
        several = {f"{key.partition('@')[0]}/{name}": name for name in value} if isinstance(value, list) else {}
        for each in found.defaults:
            name = several.get(each.config_path or "")
            loaded = None if name is None else files.load_config(str(each.config_path))
            if loaded is not None and "_target_" in loaded.config:
                each.package = f"{each.package}.{name}"


def _below(repo: IConfigRepository) -> _Repository:
    assert isinstance(repo, CachingConfigRepository)
    assert isinstance(repo.delegate, _Repository)
    return repo.delegate


def _asks_outside(repo: IConfigRepository) -> bool:
    """Whether a list of defaults depends on a resolver, such as ``${oc.env:NAME}``."""
    assert isinstance(repo, CachingConfigRepository)
    return any(found and re.search(r"\$\{[^}]*:", str(found.defaults_list)) for found in repo.cache.values())


def _content(source: ConfigSource, config_path: str) -> object:
    """What a configuration is read from; None if it cannot be told."""
    name = source._normalize_file_name(config_path)
    # By scheme: Hydra imports the modules of these classes anew when it looks for plug-ins.
    match source.scheme():
        case "file":
            return Path(source.path, name).read_bytes()
        case "pkg":
            return resources.files(source.path).joinpath(name).read_bytes()
        case "structured":  # a node is compared only if it is not the same
            return (ConfigStore.instance()._load(name).node,)
    return None


def _pickled(found: object) -> bytes | None:
    """Much faster to load than to copy; None if a plug-in put in what cannot be stored."""
    try:
        return pickle.dumps(found)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None


def _keep(where: dict[_Key, Any], key: _Key, value: object) -> None:
    if len(where) >= _MOST:
        where.clear()
    where[key] = value
