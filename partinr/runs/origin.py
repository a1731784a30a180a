"""What a run was made from, as its directory says: content of files, the checkpoint it began with, foreign code.

Runs of one configuration and one signal are runs of one setting only where these are alike.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from partinr.base.section import lookup

_SHOWN = ("callbacks", "logger", "sweep", "hydra")
"""Groups that say how a run is kept and shown; their code computes nothing of it."""

_ABSENT = ""
"""The content of a file that is not named."""

CODE_KEYS = ("source", "package")
"""What ``run.json`` says of a module: the content of its file, and that of its package; older versions the first."""

_MOST_LETTERS = 32
"""Letters of a file's name in the name of a group; the names of runs are long."""

_DIGITS = 6
"""Hexadecimal digits of a content in a name."""


def targets(node: Any) -> Iterator[str]:
    """The dotted paths of all classes that a configuration names, at any depth."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                yield str(value)
            else:
                yield from targets(value)


def is_foreign(module: str) -> bool:
    """Whether a module is not partinr's own."""
    return module.partition(".")[0] not in ("partinr", "")


def computing(config: Mapping[str, Any]) -> list[str]:
    """The modules that are not partinr's and that a run computes with."""
    kept = {key: value for key, value in config.items() if key not in _SHOWN}
    return sorted(filter(is_foreign, {target.rpartition(".")[0] for target in targets(kept)}))


class Origin:
    """What a run was made from.

    Args:
        manifest: its ``run.json``.
        config: its configuration.
        signal: whether files and code of its signal count, even if ``run.json`` has the digest of the values.
    """

    def __init__(self, manifest: Mapping[str, Any], config: Mapping[str, Any], signal: bool = False) -> None:
        inputs, code, values = (found if isinstance(found := manifest.get(key), Mapping) else {} for key in _ENTRIES)
        signal = signal or not (values.get("sha256") or values.get("file_sha256"))
        self._config = {key: value for key, value in config.items() if signal or key != "data"}
        self.content: dict[str, str | None] = {
            key: digest for key, digest in inputs.items() if signal or not key.startswith("data.")
        }
        for module in computing(self._config):
            known = code.get(module) or {}
            self.content[f"code of {module}"] = known.get("source")
            # Older versions have not looked at the modules around it.
            self.content[f"code around {module}"] = known.get("package")

    def of(self, key: str) -> str | None:
        """The content under a key; None where it is unknown."""
        if key in self.content:
            return self.content[key]
        return _ABSENT if self._value(key) is None else None

    def words(self, key: str, content: str | None) -> str:
        """A name of a content under a key: the file, or the module, and the first digits."""
        if content == _ABSENT:
            return f"no {key}"
        path = self._value(key)
        name = PurePath(path).name if isinstance(path, str) else key
        name = name if len(name) <= _MOST_LETTERS else f"{name[: _MOST_LETTERS - 1]}…"
        return f"{name} {'unknown' if content is None else content[:_DIGITS]}"

    def _value(self, key: str) -> Any:
        return lookup(f"config.{key}", {}, self._config)


_ENTRIES = ("inputs", "code", "signal")


@dataclass(frozen=True)
class Told:
    """What tells runs of one configuration apart.

    Attributes:
        keys: in which they differ.
        words: of each run the contents, in words, equal for runs that belong together; empty where nothing differs.
    """

    keys: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]


def told_apart(origins: Sequence[Origin], within: Sequence[Hashable]) -> Told:
    """What tells runs of one configuration apart.

    What is unknown of a run does not tell it from the others, unless these differ among themselves.

    Args:
        origins: of the runs.
        within: only runs that are alike in this, as in their image, are compared.
    """
    keys: list[str] = []
    words: list[tuple[str, ...]] = [()] * len(origins)
    for key in dict.fromkeys(key for each in origins for key in each.content):
        known: dict[Hashable, dict[str, None]] = {place: {} for place in within}
        for place, each in zip(within, origins, strict=True):
            if (content := each.of(key)) is not None:
                known[place][content] = None
        several = {content for found in known.values() if len(found) > 1 for content in found}
        called: dict[str | None, str] = {}
        finer = []
        for place, each, before in zip(within, origins, words, strict=True):
            # A content has the same name on every image, also where it is the only one.
            content = each.of(key) if len(known[place]) > 1 else next(iter(known[place]), None)
            named = len(known[place]) > 1 or content in several
            finer.append((*before, called.setdefault(content, each.words(key, content))) if named else before)
        if len(set(zip(within, finer, strict=True))) > len(set(zip(within, words, strict=True))):
            keys.append(key)
            words = finer
    return Told(tuple(keys), tuple(words))


def said(keys: Sequence[str]) -> str:
    """What differs, in words: ``the content of partition.path and the code of acme.rules``."""
    parts = [f"the {key}" if key.startswith("code ") else f"the content of {key}" for key in keys]
    return " and ".join(dict.fromkeys(parts))
