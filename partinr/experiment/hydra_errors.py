"""Hydra's errors as one line in partinr's words, and overrides in quotes where Hydra's grammar needs them."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from typing import Any

import hydra
import yaml
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from partinr.base.errors import PartinrError
from partinr.experiment import plugins
from partinr.experiment.conf import conf_dir


class _PluginFolders(SearchPathPlugin):
    """Lets Hydra search the folders of partinr's plug-ins, after partinr's own."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """See :class:`SearchPathPlugin`."""
        for plugin in plugins.installed():
            if plugin.conf is not None:
                search_path.append(plugin.distribution, f"file://{plugin.conf}")


def search_plugins() -> None:
    """Make the choices of plug-ins known to Hydra, and print what is wrong with them. A second call adds nothing."""
    Plugins.instance().register(_PluginFolders)
    plugins.print_complaints()


def one_line(error: Exception, overrides: Sequence[str] = (), commands: Collection[str] = ()) -> str:
    """An error of Hydra or OmegaConf as one line that says what to do.

    Args:
        error: what was raised.
        overrides: what Hydra was asked to compose.
        commands: names of subcommands; a word that is no override may be one of them, mistyped.
    """
    text = str(error)
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, name = found.groups()
        options = re.findall(r"\t(\S+)", text.partition("Config search path")[0])
        return f"there is no {group}={name}; choose from {', '.join(options)}"
    if "Config group override must be" in text:
        for group, names in plugins.groups().items():
            for override in overrides:
                if override.partition("=")[0] == group and not _names_a_choice(override):
                    return f"{override} names no choice; choose from {', '.join(names)}"
    if found := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(found.group(1), overrides)
    if found := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        return f"{found.group(1)} is there already; set it without the plus: {found.group(1)}=VALUE"
    if found := re.search(
        r"Error parsing override '([^']*)'|(?:at input|missing EQUAL at) '([^']*)'|NoViableAltException: (.*)", text
    ):
        what = next(group for group in found.groups() if group is not None)
        near = difflib.get_close_matches(what, commands, n=1)
        hint = f"did you mean partinr {near[0]}?" if near else "put quotes around a value with spaces"
        return f"cannot read {what!r}: give KEY=VALUE or GROUP=NAME; {hint}"
    if found := re.search(r"Ambiguous value for argument '([^=]+)=(.*)'", text):
        key, value = found.groups()
        return f"{key} has several values; add -m to run each of them, or say that it is one: {key}=\"'{value}'\""
    if isinstance(error, OSError):
        return f"cannot make the folder {error.filename}: {error.strerror}; choose another with hydra.run.dir=PATH"
    if isinstance(error, MissingMandatoryValue):
        return f"the option {error.full_key} is missing; give {error.full_key}=VALUE"
    if found := re.search(r"Interpolation key '([^']+)' not found", text):
        return f"the configuration refers to {found.group(1)!r}, which is not there; set it, or correct the name"
    cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
    if isinstance(error.__cause__, PartinrError):  # raised where Hydra makes an object of ours
        return str(error.__cause__)
    first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return f"{first}{cause}; see partinr --help"


def _unknown_key(key: str, overrides: Sequence[str]) -> str:
    """The error for an unknown key: the option that may have been meant, or where it belongs."""
    if key.startswith("hydra.launcher."):
        return f"unknown option {key}; conf/hydra/launcher has those of each launcher"
    groups = plugins.groups()
    # In a sweep over a group, the first choice stands for all.
    chosen = [each.partition(",")[0] for each in overrides if each.partition("=")[0] in groups]
    try:
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
            composed = hydra.compose("train", chosen)
    except HydraException:  # a choice from --config-dir
        return f"unknown option {key}; partinr --cfg job lists all"
    known = [name for name in _flatten(OmegaConf.to_container(composed)) if not name.endswith("_target_")]
    siblings = [name for name in known if name.rpartition(".")[0] == key.rpartition(".")[0]]
    near = difflib.get_close_matches(key.rpartition(".")[2], [name.rpartition(".")[2] for name in siblings], n=1)
    anywhere = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    if owners := _choices_with(key):
        return f"{key} is an option of {' and '.join(owners)} only; choose that, or leave the option out"
    if near:
        meant = ".".join([*key.split(".")[:-1], near[0]])
        return f"unknown option {key}; did you mean {meant}?"
    if anywhere:
        return f"unknown option {key}; did you mean {anywhere[0]}?"
    if "." in key and siblings:
        return f"unknown option {key}; there are {', '.join(siblings)}"
    return f"unknown option {key}; partinr --cfg job lists all"


def _names_a_choice(override: str) -> bool:
    return isinstance(OverridesParser.create().parse_override(override).value(), (str, list))


def _choices_with(key: str) -> list[str]:
    """The choices of a group that have an option: ``partition=grid`` has ``partition.regions``."""
    group, _, name = key.partition(".")
    found = []
    for folder in plugins.conf_dirs() if name else []:
        for file in sorted((folder / group).glob("*.yaml")):
            content: Any = None
            with suppress(OSError, ValueError, yaml.YAMLError, OmegaConfBaseException):  # a broken file of a plug-in
                content = OmegaConf.to_container(OmegaConf.load(file))
            if isinstance(content, dict) and name in _flatten(content):
                found.append(f"{group}={file.stem}")
    return list(dict.fromkeys(found))


def readable(override: str) -> str:
    """An override that Hydra can parse: its grammar refuses ``~/my pictures/photo (1).png``.

    A value that Hydra cannot parse is put in quotes, each part between commas by itself. A leading ``~/`` is the home
    folder, as in a shell.
    """
    key, equals, value = override.partition("=")
    if not equals or _parses(override):
        return override
    parts = [in_quotes(os.path.expanduser(part) if part.startswith("~/") else part) for part in value.split(",")]
    quoted = f"{key}={','.join(parts)}"
    return quoted if _parses(quoted) else override


def _parses(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def in_quotes(text: str) -> str:
    """Text in quotes, so that Hydra's grammar takes it as text."""
    return str(QuotedString(text, Quote.double if "'" in text else Quote.single).with_quotes())


def _flatten(node: Any, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
