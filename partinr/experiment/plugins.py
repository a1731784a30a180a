"""Plug-ins: installed packages that add partition rules, backbones, regimes, data and experiments.

A plug-in is an installed package with an entry point of the group ``partinr.plugins`` that names a package. The folder
``conf/`` in that package joins Hydra's search path after partinr's, so that its ``conf/partition/stripes.yaml`` becomes
``partition=stripes``. Listing plug-ins runs none of their code.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from partinr.base.notes import print_note
from partinr.base.text import decoded
from partinr.base.trust import entry_points
from partinr.experiment.comments import read_comments
from partinr.experiment.conf import conf_dir

_LOCAL = "local"
"""The group for settings of this machine, which is always composed if it exists."""


@dataclass(frozen=True)
class Plugin:
    """An installed plug-in.

    Attributes:
        distribution: name for pip.
        version: version of the distribution.
        package: package that the entry point names, such as ``acme_inr``.
        conf: folder of its configuration; None if unusable.
        fault: why it is unusable, and the cure; None if it is usable.
        clashes: its choices that exist already, such as ``partition=grid``, with their owner, whose choice is used.
    """

    distribution: str
    version: str
    package: str
    conf: Path | None = None
    fault: str | None = None
    clashes: tuple[tuple[str, str], ...] = ()

    @property
    def title(self) -> str:
        """``acme-inr 1.2``."""
        return f"{self.distribution} {self.version}".strip()

    @property
    def adds(self) -> list[str]:
        """The choices that it adds, such as ``partition=stripes``."""
        taken = {choice for choice, _ in self.clashes}
        return [choice for choice in _choices(self.conf) if choice not in taken] if self.conf is not None else []

    @property
    def complaints(self) -> list[str]:
        """Faults of the installation, one line each."""
        if self.fault is not None:
            return [f"plug-in {self.title} is left out: {self.fault}"]
        return [
            f"plug-in {self.title}: its {choice} is left out, {owner} has one; give it another name"
            for choice, owner in self.clashes
        ]


def installed() -> list[Plugin]:
    """All plug-ins, usable or not, in the order of their names, which is the search order."""
    owners = dict.fromkeys(_choices(conf_dir()), "partinr itself")
    plugins = []
    for distribution, version, value in sorted(set(_entries())):
        found = _examined(distribution, version, value)
        if found.conf is not None:
            choices = _choices(found.conf)
            clashes = tuple((choice, owners[choice]) for choice in choices if choice in owners)
            found = Plugin(distribution, version, value, found.conf, clashes=clashes)
            for choice in choices:
                owners.setdefault(choice, f"plug-in {found.title}")
        plugins.append(found)
    return plugins


def conf_dirs() -> list[Path]:
    """The folders of the configuration in search order: partinr's, then those of plug-ins."""
    return [conf_dir(), *(plugin.conf for plugin in installed() if plugin.conf is not None)]


def groups() -> dict[str, list[str]]:
    """The groups of the configuration and their choices, with those of plug-ins, without local settings."""
    found: dict[str, set[str]] = {}
    for folder in conf_dirs():
        for choice in _choices(folder):
            group, _, name = choice.partition("=")
            found.setdefault(group, set()).add(name)
    return {group: sorted(found[group]) for group in sorted(found) if group != _LOCAL}


def described(group: str) -> dict[str, str]:
    """The choices of a group, each with the first sentence of its YAML file."""
    files = {path.stem: path for folder in reversed(conf_dirs()) for path in (folder / group).glob("*.yaml")}
    texts = {name: path.read_text(encoding="utf-8", errors="replace") for name, path in sorted(files.items())}
    return {name: read_comments(text).summary for name, text in texts.items()}


def print_complaints() -> None:
    """Print faults of plug-ins to standard error, one line each."""
    for plugin in installed():
        for complaint in plugin.complaints:
            print_note(complaint)


def check(plugin: Plugin) -> str | None:
    """Import everything that a plug-in adds; returns its fault in one line, or None.

    Exceptions of the plug-in are reported, not raised.
    """
    if plugin.conf is None:
        return plugin.fault
    try:
        importlib.import_module(plugin.package)
    except Exception as error:
        return f"import {plugin.package} fails: {_said(error)}"
    for choice in plugin.adds:
        group, _, name = choice.partition("=")
        file = plugin.conf / group / f"{name}.yaml"
        try:
            content = yaml.safe_load(decoded(file.read_bytes()))
        except (OSError, ValueError, yaml.YAMLError) as error:
            return f"cannot read {file}: {_said(error)}"
        if not isinstance(content, dict):
            return f"{file} has no keys; a {group} is a mapping"
        if "_target_" not in content:
            continue
        module, _, attribute = str(content["_target_"]).rpartition(".")
        try:
            getattr(importlib.import_module(module), attribute)
        except Exception as error:
            return f"{choice}: {content['_target_']} cannot be imported: {_said(error)}"
    return None


def _entries() -> Iterator[tuple[str, str, str]]:
    """Distribution, version and value of every entry point; its name replaces missing metadata."""
    for entry in entry_points():
        known = {} if entry.dist is None else {key: entry.dist.metadata[key] for key in entry.dist.metadata}
        yield known.get("Name", entry.name), known.get("Version", ""), entry.value


def _examined(distribution: str, version: str, value: str) -> Plugin:
    """A plug-in with its folder or its fault."""

    def broken(fault: str) -> Plugin:
        return Plugin(distribution, version, value, fault=fault)

    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", value):
        return broken(f"its entry point names {value!r}; it should name a package, such as acme_inr, that has conf/")
    try:
        top, *below = value.split(".")
        spec = importlib.util.find_spec(top)
        if spec is None:
            return broken(f"there is no package {top}; install {distribution} again")
        places = [Path(place, *below) for place in spec.submodule_search_locations or ()]
        conf = next((place / "conf" for place in places if (place / "conf").is_dir()), None)
        if conf is None:
            where = f" ({places[0]})" if places else ""
            return broken(f"the package {value}{where} has no folder conf/; its author forgot to ship it")
        choices = _choices(conf)
    except Exception as error:  # a damaged installation may raise any type
        return broken(f"{value}: {_said(error)}")
    if any(choice.startswith(f"{_LOCAL}=") for choice in choices):
        return broken(f"{conf / _LOCAL} would change every run without being asked for; its author should remove it")
    if not choices:
        return broken(f"{conf} has no GROUP/NAME.yaml, such as partition/stripes.yaml")
    return Plugin(distribution, version, value, conf)


def _choices(conf: Path) -> list[str]:
    """``GROUP=NAME`` for every YAML in a folder of configuration."""
    return [f"{'/'.join(group)}={name[:-5]}" for *group, name in sorted(_yaml_files(str(conf), ())) if group]


def _yaml_files(folder: str, above: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The parts of the path of every YAML. Commands list them several times, and ``rglob`` takes four times as long."""
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=not above):
            yield from _yaml_files(entry.path, (*above, entry.name))
        elif entry.name.endswith(".yaml"):
            yield *above, entry.name


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
