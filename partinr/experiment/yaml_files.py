"""YAML of users as Hydra reads it, with a byte-order mark or without one."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import yaml
from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

from partinr.base.errors import PartinrError
from partinr.base.section import lookup
from partinr.base.text import decoded


class FileConfigSource(file_config_source.FileConfigSource):
    """Hydra's source of files, under its name. A byte-order mark would hide the line ``# @package`` from it."""

    # Hydra resolves the links in a path first, which takes longer than to open the file.
    def is_group(self, config_path: str) -> bool:
        """Whether there is such a folder."""
        return os.path.isdir(os.path.join(self.path, config_path))

    def is_config(self, config_path: str) -> bool:
        """Whether there is such a file."""
        return os.path.isfile(os.path.join(self.path, self._normalize_file_name(config_path)))

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a file.

        Raises:
            PartinrError: it is not UTF-8.
        """
        path = Path(os.path.realpath(os.path.join(self.path, self._normalize_file_name(config_path))))
        if not path.exists():
            raise ConfigLoadError(f"Config not found : {path}")
        try:
            text = io.StringIO(decoded(path.read_bytes()))
        except UnicodeDecodeError as error:
            raise PartinrError(f"{path} is not UTF-8; save it as UTF-8") from error
        except ValueError as error:
            raise PartinrError(f"cannot read {path}: {error}") from error
        text.name = str(path)  # YAML's errors begin with it
        config = OmegaConf.load(text)
        _keep_names(config, text.getvalue())
        return ConfigResult(
            config=config,
            path=f"{self.scheme()}://{self.path}",
            provider=self.provider,
            header=ConfigSource._get_header_dict(text.getvalue()[:512]),
        )


_NAMES = ("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.job.name")
"""Keys of Hydra for names, which it takes as text, whatever YAML read."""


def _keep_names(config: Any, text: str) -> None:
    """Give the names among Hydra's keys the text of a file: 2024_01_31 is a whole number to YAML."""
    if "hydra" not in config:
        return
    plain: Any = OmegaConf.to_container(config, resolve=False)
    for key in _NAMES:
        if isinstance(lookup(key, plain, {}), (int, float)):
            OmegaConf.update(config, key, lookup(key, yaml.load(text, yaml.BaseLoader), {}))


def register() -> None:
    """Have Hydra read YAML files this way."""
    SourcesRegistry.instance().types[FileConfigSource.scheme()] = FileConfigSource
