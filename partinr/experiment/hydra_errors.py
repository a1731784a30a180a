"""Rewrites Hydra's errors as one line, and quotes overrides if Hydra's grammar needs it."""

from __future__ import annotations

import difflib
import functools
import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Quote, QuotedString
from hydra.core.plugins import Plugins
from hydra.errors import HydraException, MissingConfigException
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from partinr.base.errors import PartinrError
from partinr.base.readers import reader_of
from partinr.base.text import for_shell
from partinr.experiment import composing, flags, plugins, yaml_files
from partinr.experiment.conf import conf_dir


class _PluginFolders(SearchPathPlugin):
    """Adds the folders of partinr's plug-ins to Hydra's search path, after partinr's."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """See :class:`SearchPathPlugin`."""
        for plugin in plugins.installed():
            if plugin.conf is not None:
                search_path.append(plugin.distribution, f"file://{plugin.conf}")


def search_plugins() -> None:
    """Register the choices of plug-ins with Hydra, and print faults of plug-ins. A second call changes nothing."""
    Plugins.instance().register(_PluginFolders)
    yaml_files.register()
    composing.register()
    plugins.print_complaints()


def one_line(
    error: Exception,
    overrides: Sequence[str] = (),
    commands: Collection[str] = (),
    own: str | None = None,
    place: str = "hydra.run.dir",
) -> str:
    """An error of Hydra or OmegaConf as one line that says what to do.

    Args:
        error: the exception.
        overrides: overrides given to Hydra.
        commands: names of subcommands, since a word that is not an override may be a mistyped subcommand.
        own: folder of ``--config-dir``.
        place: key of the folder that Hydra makes.
    """
    folders = [*([] if own is None else [Path(own)]), *plugins.conf_dirs()]
    text = str(error)
    if isinstance(error.__cause__, PartinrError):  # raised when Hydra made one of partinr's objects
        return str(error.__cause__)
    if isinstance(error, MissingConfigException):
        return _missing(error, overrides, folders)
    # Last, since it only rewrites Hydra's text.
    if (line := _of_a_choice(text, overrides, folders) or _of_a_key(text, overrides)) is not None:
        return line
    if found := re.search(
        r"Error parsing override '([^']*)'|(?:at input|missing EQUAL at) '([^']*)'|NoViableAltException: (.*)", text
    ):
        what = next(group for group in found.groups() if group is not None)
        near = difflib.get_close_matches(what, commands, n=1)
        hint = f"did you mean partinr {near[0]}?" if near else "put quotes around a value with spaces"
        if Path(what).is_dir():
            hint = f"did you mean data=folder data.path={for_shell(what)}?"
        return f"cannot read {what!r}: give KEY=VALUE or GROUP=NAME; {hint}"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name} is no YAML: {error.problem} in line {mark.line + 1}; correct it, or leave the file out"
    if isinstance(error, OSError) and error.filename is not None:
        if str(error.filename).endswith(".yaml"):
            return f"cannot read {error.filename}: {error.strerror}; make it readable, or move it away"
        return f"cannot make the folder {error.filename}: {error.strerror}; choose another with {place}=PATH"
    if isinstance(error, MissingMandatoryValue):
        return f"the option {error.full_key} is missing; give {error.full_key}=VALUE"
    if found := re.search(r"Interpolation key '([^']+)' not found", text):
        key = found.group(1)
        escaped = f"\\${{{key}}}"
        return f"the configuration refers to {key!r}, which is not there; set it, or, if a name has it, write {escaped}"
    if found := re.search(r"Additional config directory '([^']+)' not found", text):
        return f"there is no folder {found.group(1)}; give --config-dir one that is there"
    cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
    first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
    return f"{first.rstrip('.')}{cause}; see partinr --help"


def _missing(error: MissingConfigException, overrides: Sequence[str], folders: Sequence[Path]) -> str:
    """The error for a missing YAML: what named it, and what may be meant."""
    text, missing = str(error), error.missing_cfg_file
    if missing is None:  # --config-path
        return f"{' '.join(text.split())}; leave --config-path out: --config-dir PATH adds a folder of your own"
    group, _, name = missing.rpartition("/")
    files = (file for folder in folders for file in (folder / group).glob("*.yaml"))
    there = sorted({file.stem for file in files} | set(error.options or ()))
    near = difflib.get_close_matches(name.lower(), there, n=3)
    if "Cannot find primary config" in text:
        near = near or (["train"] if "train" in there else [])
        return f"there is no configuration {missing}.yaml; leave out --config-name, or give --config-name {near[0]}"
    what = f"{group}={name}"
    if not name:
        return f"{what} names no choice; choose from {', '.join(there)}"
    if any(_key(each) == group and name in re.split(r"[=,\[\]\s'\"]", each) for each in overrides):
        meant = f"; did you mean {group}={near[0]}?" if near else ""
        return f"there is no {what}; choose from {', '.join(there)}{meant}"
    found = re.match(r"In '([^']+)'", text)
    file = _naming(folders, group, name) or _file(folders, found.group(1) if found else "train")
    meant = (
        f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(there) or 'none'}; correct the name"
    )
    return f"{file} names {what} in its defaults, which is not there; {meant}"


def _file(folders: Sequence[Path], config: str) -> Path:
    """The file of a configuration, in the first folder that has it."""
    return next((path for folder in folders if (path := folder / f"{config}.yaml").is_file()), Path(f"{config}.yaml"))


def _naming(folders: Iterable[Path], group: str, name: str) -> Path | None:
    """The file whose defaults select ``name`` of a group, wherever that file is included."""
    for file in (file for folder in folders for file in sorted(folder.rglob("*.yaml"))):
        for entry in _defaults_of(file, name):
            for key, value in entry.items():
                if value == name and str(key).split()[-1].lstrip("/").partition("@")[0] == group:
                    return file
    return None


def _defaults_of(file: Path, word: str) -> list[dict[str, Any]]:
    """The choices in a file's defaults if the file contains ``word``."""
    with suppress(OSError, ValueError, yaml.YAMLError):
        text = file.read_text(encoding="utf-8")
        if "defaults" in text and word in text:
            content = yaml.safe_load(text)
            listed = content.get("defaults") if isinstance(content, dict) else None
            return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return []


def _of_a_choice(text: str, overrides: Sequence[str], folders: Sequence[Path]) -> str | None:
    """The error for an invalid choice of a group."""
    groups = plugins.groups()
    if "Config group override must be" in text or text.startswith("You must specify"):
        for override in overrides:
            if (group := _key(override)) in groups and not _names_a_choice(override):
                return f"{override} names no choice; choose from {', '.join(groups[group])}"
    if found := re.search(r"Multiple values for ([^.]+)\. .*'override [^:]+: ([^']+)'", text):
        group, name = found.groups()
        for override in overrides:
            if override.startswith("+") and _key(override) == group:
                return f"{group} has a choice already; replace it, without the plus: {override.lstrip('+')}"
        file = _naming(folders, group, name) or "a YAML"
        return f"{file} adds a second choice of {group}; write in its defaults: - override /{group}: {name}"
    if found := re.search(r"force-add of config groups is not supported: '\+*([^']+)'", text):
        return f"{_key(found.group(1))} has a choice already; replace it, without the plus: {found.group(1)}"
    if found := re.search(r"Invalid defaults list in '([^']+)'", text):
        return f"{_file(folders, found[1])} has defaults that are no list; begin each with a dash: - GROUP: NAME"
    if found := re.search(r"In '([^']+)': Could not override '([^']+)'\. No match", text):
        file, group = found.groups()
        cure = f"write in its defaults: - /{group}: NAME"
        return f"{_file(folders, file)} overrides {group}, which has no choice so far; {cure}"
    if found := re.search(r"Could not override '([^'@]+)'\. No match(?s:.*)use (\+\S+)", text):
        return f"{found.group(1)} has no choice so far; add one: {found.group(2)}"
    if found := re.search(r"config group '([^']+)' does not exist", text):
        near = difflib.get_close_matches(found.group(1), groups, n=1)
        cure = f"did you mean {near[0]}?" if near else "partinr --help lists all"
        return f"there is no group {found.group(1)}; {cure}"
    return None


_NUMBERS = re.compile(r"[-+.\deE_, ]+")


def _of_a_key(text: str, overrides: Sequence[str]) -> str | None:
    """The error for a key that exists already, or does not exist."""
    if found := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(found.group(1), overrides)
    if found := re.search(r"Could not append to config. An item is already at '([^']+)'", text):
        return f"{found.group(1)} is there already; set it without the plus: {found.group(1)}=VALUE"
    if found := re.search(r"Could not delete from config. '([^']+)'|Could not delete '([^'=]+)(?:=[^']*)?'", text):
        return f"~{found.group(1) or found.group(2)} removes nothing, as there is no such key or choice; leave it out"
    if found := re.search(r"Could not delete from config. The value of '([^']+)' is (.*) and not", text):
        return f"the value of {found.group(1)} is {found.group(2)}; to remove it whatever it is: ~{found.group(1)}"
    if found := re.search(r"Ambiguous value for argument '([^=]+)=(.*)'", text):
        key, value = found.groups()
        several = f"{key} has several values; add -m to run each of them"
        if _NUMBERS.fullmatch(value):  # which no text is
            return several
        if key in plugins.groups():
            return f"{several}, or give one; a group that takes several at once takes them in brackets: {key}=[{value}]"
        quoted = in_quotes(_as_typed(value))
        one = for_shell(f"{key}={quoted}") if set(quoted) & set('"$`\\!') else f'{key}="{quoted}"'
        return f"{several}, or say that it is one: {one}"
    return None


def _unknown_key(key: str, overrides: Sequence[str]) -> str:
    """The error for an unknown key: the option that may be meant, where it belongs, or how to add it."""
    if (line := flags.refusal(key)) is not None:
        return line
    if key.startswith("hydra.launcher."):
        return f"unknown option {key}; conf/hydra/launcher has those of each launcher"
    groups = plugins.groups()
    if owners := [f"{group}={key.lower()}" for group, choices in groups.items() if key.lower() in choices]:
        return f"unknown option {key}; did you mean {' or '.join(owners)}?"
    # In a sweep over a group, the first choice represents all.
    chosen = [_first(each) for each in overrides if each.partition("=")[0] in groups]
    of_hydra = key.startswith("hydra.")
    listed = f"partinr --cfg {'hydra' if of_hydra else 'job'} lists all"
    now = GlobalHydra.instance()
    running, now.hydra = now.hydra, None  # of a sweep, one of whose jobs is refused
    try:
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
            composed = hydra.compose("train", chosen, return_hydra_config=of_hydra)
    except HydraException:  # a choice from --config-dir
        return f"unknown option {key}; {listed}"
    finally:
        now.hydra = running
    whole: Any = OmegaConf.to_container(composed)
    known = [name for name in _flatten(whole) if not name.endswith("_target_")]
    siblings = [name for name in known if name.rpartition(".")[0] == key.rpartition(".")[0]]
    near = difflib.get_close_matches(key.rpartition(".")[2], [name.rpartition(".")[2] for name in siblings], n=1)
    anywhere = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    head, dot, rest = key.partition(".")
    if deeper := [name for name in anywhere if dot and name.startswith(f"{head}.") and name.endswith(f".{rest}")]:
        return f"unknown option {key}; did you mean {deeper[0]}?"  # of one of several objects, as with logger=[a,b]
    if owners := _choices_with(key):
        given = next((each.partition("=")[2] for each in overrides if each.partition("=")[0] == key), "")
        reader = reader_of(given) if key == "data.path" else None
        choice = next((each for each in chosen if each.startswith("data=")), None)
        if reader is not None and choice is not None:
            return f"{choice} reads no file; choose data={reader.data} for data.path={given}"
        choice = "one of them" if len(owners) > 1 else "that"
        return f"{key} is an option of {', '.join(owners)} only; choose {choice}, or leave the option out"
    if dot and head not in whole and (group := difflib.get_close_matches(head, [str(name) for name in whole], n=1)):
        return f"unknown option {key}; did you mean {group[0]}.{rest}?"
    if near:
        meant = ".".join([*key.split(".")[:-1], near[0]])
        return f"unknown option {key}; did you mean {meant}?"
    if _may_be_added(whole, key):
        return f"there is no {key} so far; add it with a plus: +{key}=VALUE"
    if anywhere and not of_hydra:
        return f"unknown option {key}; did you mean {anywhere[0]}?"
    if "." in key and siblings:
        return f"unknown option {key}; there are {', '.join(siblings)}"
    return f"unknown option {key}; {listed}"


def _first(override: str) -> str:
    """The first choice of a sweep over a group, or the override itself."""
    parsed = OverridesParser.create().parse_override(override)
    several = isinstance(parsed.value(), ChoiceSweep)
    return f"{_key(override)}={next(parsed.sweep_string_iterator())}" if several else override


def _may_be_added(node: Any, key: str) -> bool:
    """Whether a key is in a mapping that accepts any key, such as callbacks or options that are passed on."""
    group, *path = key.split(".")
    node, below_class = node.get(group), False
    for name in path:
        if not isinstance(node, dict) or ("_target_" in node and name not in node):
            return False
        if name not in node:
            return below_class or group == "callbacks"
        below_class = below_class or "_target_" in node
        node = node[name]
    return False


def _names_a_choice(override: str) -> bool:
    value = OverridesParser.create().parse_override(override).value()
    return isinstance(value, (str, list)) and value not in ("", "???")


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _choices_with(key: str) -> list[str]:
    """The choices of a group that have an option, such as ``partition=grid`` for ``partition.regions``."""
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
    """An override in a form that Hydra can parse; its grammar refuses ``~/my pictures/photo (1).png``.

    A value that Hydra cannot parse is quoted, each part between commas separately. A leading ``~/`` is the home folder,
    as in a shell.
    """
    key, equals, value = override.partition("=")
    if not equals or _parses(override):
        return override
    parts = [in_quotes(os.path.expanduser(part) if part.startswith("~/") else part) for part in value.split(",")]
    quoted = f"{key}={','.join(parts)}"
    return quoted if _parses(quoted) else override


@functools.lru_cache(1000)
def _parses(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True


def _as_typed(values: str) -> str:
    """Several values as they were typed: some may have got quotes since."""
    if "'" not in values and '"' not in values:
        return values
    found = OverridesParser.create().parse_override(f"key={values}").value()
    assert isinstance(found, ChoiceSweep)
    return ",".join(each.text if isinstance(each, QuotedString) else str(each) for each in found.list)


def in_quotes(text: str) -> str:
    """Text in quotes, so that Hydra's grammar takes it as text."""
    return str(QuotedString(text, Quote.double if "'" in text else Quote.single).with_quotes())


def _flatten(node: Any, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
