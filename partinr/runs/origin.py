"""The origin of a run, from its directory: content of files, its first checkpoint, code of other packages.

Runs of one configuration and one signal have the same settings only if their origins are equal.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from partinr.base.section import lookup

_SHOWN = ("logger", "sweep", "hydra")
"""Groups for storing and showing a run; their code does not affect its results."""

_ABSENT = ""
"""Stands for the content of a file that the configuration does not name."""

CODE_KEYS = ("source", "package")
"""Digests of a module in ``run.json``: of its file and of its package; older versions have only the first."""

_MOST_LETTERS = 32
"""Limit of letters of a file name in the name of a group, since names of runs are long."""

_DIGITS = 6
"""Hexadecimal digits of a digest in a name."""


def targets(node: Any) -> Iterator[str]:
    """The dotted paths of all classes in a configuration, at any depth."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "_target_":
                yield str(value)
            else:
                yield from targets(value)


def is_foreign(module: str) -> bool:
    """Whether a module is not partinr's own."""
    return module.partition(".")[0] not in ("partinr", "")


def with_guests(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration whose callbacks are those of other packages, which may change the training.

    partinr's own only keep what a run does. Without any others, there is no key ``callbacks``.
    """
    callbacks = config.get("callbacks")
    nodes = callbacks.items() if isinstance(callbacks, Mapping) else ()
    guests = {name: node for name, node in nodes if any(is_foreign(target) for target in targets(node))}
    kept = {key: value for key, value in config.items() if key != "callbacks"}
    return {**kept, "callbacks": guests} if guests else kept


def computing(config: Mapping[str, Any]) -> list[str]:
    """The modules of other packages that affect the results of a run. Lightning's version is known otherwise."""
    kept = {key: value for key, value in with_guests(config).items() if key not in _SHOWN}
    modules = {target.rpartition(".")[0] for target in targets(kept)}
    return sorted(each for each in modules if is_foreign(each) and each.partition(".")[0] not in _LIGHTNING)


_LIGHTNING = ("lightning", "pytorch_lightning")


class Origin:
    """The origin of a run.

    Args:
        manifest: content of its ``run.json``.
        config: its configuration.
        signal: whether files and code of the signal count even if ``run.json`` has a digest of its values.
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
            # Older versions have no digest of the package.
            self.content[f"code around {module}"] = known.get("package")

    def of(self, key: str) -> str | None:
        """The digest for a key; None if unknown."""
        if key in self.content:
            return self.content[key]
        return _ABSENT if self._value(key) is None else None

    def words(self, key: str, content: str | None) -> str:
        """A name for a digest: the file or the module, and the first digits."""
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
    """The differences between runs of one configuration.

    Attributes:
        keys: keys whose content differs.
        words: names of the contents for each run; equal for runs that belong together, empty if nothing differs.
    """

    keys: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]


def told_apart(origins: Sequence[Origin], within: Sequence[Hashable]) -> Told:
    """The differences between runs of one configuration.

    An unknown content separates a run from the others only if these differ among themselves.

    Args:
        origins: origins of the runs.
        within: a property of each run, such as its image; only runs with the same one are compared.
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
            # A content has the same name on every image, even if it is the only one there.
            content = each.of(key) if len(known[place]) > 1 else next(iter(known[place]), None)
            named = len(known[place]) > 1 or content in several
            finer.append((*before, called.setdefault(content, each.words(key, content))) if named else before)
        if len(set(zip(within, finer, strict=True))) > len(set(zip(within, words, strict=True))):
            keys.append(key)
            words = finer
    return Told(tuple(keys), tuple(words))


def said(keys: Sequence[str]) -> str:
    """The differing keys in words: ``the content of partition.path and the code of acme.rules``."""
    parts = [f"the {key}" if key.startswith("code ") else f"the content of {key}" for key in keys]
    return " and ".join(dict.fromkeys(parts))
