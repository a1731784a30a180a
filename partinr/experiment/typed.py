"""Keeps overrides as typed: a text key gets the text, whatever Hydra's grammar makes of it.

``study=2024_01_31`` is a whole number to Hydra, and ``data.path=[1]`` a list. The type of the field decides: a value
that the field does not accept is quoted if the field accepts the text.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
import pydantic
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, Sweep, ValueType
from hydra.errors import HydraException
from hydra.grammar.gen.OverrideLexer import CommonTokenStream, InputStream, OverrideLexer  # type: ignore[attr-defined]
from hydra.grammar.gen.OverrideParser import OverrideParser
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from partinr.base.later import load
from partinr.experiment import plugins
from partinr.experiment.annotations import UnknownError, type_of
from partinr.experiment.conf import conf_dir
from partinr.experiment.hydra_errors import in_quotes
from partinr.experiment.migrate import RENAMED

_ROOT = {"": "partinr.experiment.config.Root", "coords": "partinr.experiment.config.Coords"}
"""Classes for keys without a ``_target_``."""

_GROUP = str | list[str] | None
"""Tells whether a key accepts a value."""

Takes = Callable[[Any], bool]


def as_typed(overrides: Sequence[str], searched: Path | None = None) -> list[str]:
    """Overrides in a form that Hydra reads as typed.

    Args:
        overrides: overrides from the command line that Hydra can parse.
        searched: a further folder of configuration (``--config-dir``).
    """
    parts = [_parts(override) for override in overrides]
    if not any(parts):
        return list(overrides)
    types = _Types(overrides, searched)
    if not all(types.knows(_key(each)) for each in overrides):
        return list(overrides)  # Hydra refuses the unknown key; no class is imported before
    return [
        _quoted(override, found, types.of(_key(override))) if found else override
        for override, found in zip(overrides, parts, strict=True)
    ]


# -- typed values ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Part:
    """A value, or one of several in a sweep or list, that Hydra does not read as the typed text."""

    start: int
    stop: int
    value: Any
    inner: tuple[_Part, ...] = ()
    """Parts of the values of a list or dictionary."""


def _key(override: str) -> str:
    """The key of an override, with the plus of an added key."""
    return override.partition("=")[0]


@functools.lru_cache(1000)
def _parts(override: str) -> tuple[_Part, ...]:
    key, equals, _ = override.partition("=")
    if not equals or key.startswith("~") or (value := _tree(override).value()) is None:
        return ()
    several = value.simpleChoiceSweep()
    elements = [value.element()] if several is None else several.element()
    # Spaces around the whole value belong to a name; those after a comma do not.
    span = None if several else (len(key) + 1, len(override))
    return tuple(itertools.chain.from_iterable(_of_element(override, element, span) for element in elements))


def _tree(override: str) -> Any:
    lexer = OverrideLexer(InputStream(override))
    return OverrideParser(CommonTokenStream(lexer)).override()


def _of_element(override: str, element: Any, span: tuple[int, int] | None) -> Iterator[_Part]:
    function = element.function()
    if function is not None:
        if function.ID().getText() in ("choice", "shuffle", "sort", "tag"):
            for each in function.element():
                yield from _of_element(override, each, None)
        return
    start, stop = span or (element.start.start, element.stop.stop + 1)
    text = override[start:stop]
    value = OverridesParser.create().parse_rule(text, "element")
    if isinstance(value, (QuotedString, Sweep)) or value == text:
        return
    if isinstance(value, str) and value != text.strip():  # escaped, or spaces in a function
        return
    container = element.listContainer() or element.dictContainer()
    within = [] if container is None else _elements(container)
    inner = tuple(part for each in within for part in _of_element(override, each, None))
    yield _Part(start, stop, Override._convert_value(value), inner)


def _elements(container: Any) -> list[Any]:
    if isinstance(container, OverrideParser.ListContainerContext):
        return list(container.element())
    return [pair.element() for pair in container.dictKeyValuePair()]


def _quoted(override: str, parts: Sequence[_Part], takes: Takes | None) -> str:
    """An override with quotes around parts that the field accepts only as text."""
    if takes is None:
        return override
    for part in reversed(parts):
        text = override[part.start : part.stop]
        if isinstance(part.value, str) and takes(text):
            new = in_quotes(text)
        elif takes(part.value):
            continue
        elif takes(text):
            new = in_quotes(text)
        else:
            new = text
            for each in reversed(part.inner):
                at = slice(each.start - part.start, each.stop - part.start)
                new = f"{new[: at.start]}{in_quotes(new[at])}{new[at.stop :]}"
            if not takes(Override._convert_value(OverridesParser.create().parse_rule(new, "element"))):
                continue
        override = f"{override[: part.start]}{new}{override[part.stop :]}"
    return override


# -- types of keys --------------------------------------------------------------------------------------------------


class _Types:
    """The types of a configuration's keys, with groups as the overrides choose them."""

    def __init__(self, overrides: Sequence[str], searched: Path | None) -> None:
        self.searched = searched if searched is not None and searched.is_dir() else None
        further = [] if self.searched is None else [each.name for each in self.searched.iterdir() if each.is_dir()]
        self.groups = {*plugins.groups(), *further}
        # Hydra reports a word that is no override.
        asked = [each for each in overrides if "=" in each and self._is_group(_key(each))]
        self.choices = [_choices(_quoted(each, _parts(each), _takes(_GROUP))) for each in asked]
        self.classes = [each for each in overrides if _key(each).endswith("._target_")]

    def _is_group(self, key: str) -> bool:
        name = key.lstrip("+").partition("@")[0]
        return name in self.groups or "/" in name

    def of(self, key: str) -> Takes | None:
        """A test for a key's values; None if the key is unknown or takes numbers."""
        if self._is_group(key):
            return _takes(_GROUP)
        for config in self._composed:
            if (hint := _hint(config, key)) is not None:
                return _takes(hint)
        return None

    def knows(self, key: str) -> bool:
        """Whether a key exists, as far as can be told."""
        if not re.fullmatch(r"\w+(\.\w+)*", key) or self._is_group(key) or not self._composed:
            return True
        return any(_exists(config, key) for config in self._composed)

    @functools.cached_property
    def _composed(self) -> list[DictConfig]:
        """The configuration without values; several in a sweep over groups, so that each choice occurs."""
        number = max(map(len, self.choices), default=1)
        found = []
        for at in range(number):
            chosen = [*(each[at % len(each)] for each in self.choices), *self.classes]
            if self.searched is not None:
                chosen.append(f"hydra.searchpath=[{in_quotes(f'file://{self.searched.absolute()}')}]")
            try:
                with hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
                    found.append(hydra.compose("train", chosen, return_hydra_config=True))
            except (HydraException, OmegaConfBaseException, ValueError, OSError, yaml.YAMLError):
                continue  # Hydra reports unknown choices and damaged files
        return found


def _choices(override: str) -> list[str]:
    """One override of a group for each of its choices."""
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_choice_sweep() or parsed.value_type is ValueType.GLOB_CHOICE_SWEEP:
        return [override]
    return [f"{parsed.get_key_element()}={each}" for each in parsed.sweep_string_iterator()]


def _hint(config: DictConfig, key: str) -> Any:
    """The type of a key; None if the key is unknown or takes numbers."""
    *above, name = key.lstrip("+").split(".")
    nodes: list[Any] = [config]
    while len(nodes) <= len(above):
        child = _child(nodes[-1], above[len(nodes) - 1])
        if not isinstance(child, DictConfig) or child._is_missing() or child._is_none():
            break
        nodes.append(child)
    if len(nodes) > len(above):
        child = _child(nodes[-1], name)
        # Hydra's schemas have types.
        known = nodes[-1]._metadata.element_type if child is None else child._metadata.ref_type
        if known not in (Any, None, dict, list):
            return known | None if child is not None and child._metadata.optional else known
        # Classes are imported only if that can matter: not for unknown keys or numeric defaults.
        if (child is None and not key.startswith("+")) or (child is not None and _is_number(child._value())):
            return None
    for depth in range(len(nodes) - 1, -1, -1):
        target = _child(nodes[depth], "_target_")
        path = _ROOT.get(".".join(above[:depth])) if target is None else str(target._value())
        if path is not None:
            return _of_class(RENAMED.get(path, path), [*above[depth:], name])
    return None


def _exists(config: DictConfig, key: str) -> bool:
    node: Any = config
    for name in key.split("."):
        if not isinstance(node, DictConfig) or node._is_none() or node._is_interpolation():
            return isinstance(node, DictConfig) and node._is_interpolation()
        if (node := _child(node, name)) is None:
            return False
    return True


def _child(node: DictConfig, name: str) -> Any:
    """An unresolved child of a node, or None."""
    return node._get_node(name, validate_access=False)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _of_class(target: str, names: Sequence[str]) -> Any:
    """The type of a class's key, or of a nested key."""
    if len(names) == 1:
        with suppress(UnknownError):
            return type_of(target, names[0])
    try:
        module, _, attribute = target.rpartition(".")
        cls = load(f"{module}:{attribute}")
        hint = _fields(getattr(cls, "settings_class", cls)).get(names[0])
        for name in names[1:]:
            arguments = typing.get_args(hint)
            if issubclass(typing.get_origin(hint) or object, Mapping) and len(arguments) == 2:
                hint = arguments[1]
            else:
                hint = _fields(hint).get(name) if isinstance(hint, type) else None
    except Exception:  # a foreign module may raise anything, and says so when it is made
        return None
    return hint


def _fields(cls: Any) -> dict[str, Any]:
    """The types of a class's arguments."""
    if dataclasses.is_dataclass(cls):
        return typing.get_type_hints(cls, include_extras=True)
    known = typing.get_type_hints(cls.__init__, include_extras=True)
    return {name: hint for name, hint in known.items() if name in inspect.signature(cls).parameters}


def _takes(hint: Any) -> Takes:
    config = pydantic.ConfigDict(strict=True, arbitrary_types_allowed=True)
    adapter = pydantic.TypeAdapter(hint, config=config)

    def takes(value: Any) -> bool:
        try:
            adapter.validate_python(value)
        except pydantic.ValidationError as error:
            # Text that breaks a rule about text, such as a pattern, is refused later, as it was typed.
            kinds = {problem["type"] for problem in error.errors(include_url=False)}
            return any(kind.startswith("string_") for kind in kinds - {"string_type"})
        return True

    return takes
