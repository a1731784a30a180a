"""Specs: the typed, validated, frozen settings that a config group chooses.

A spec is a dataclass whose fields are the keys of the group's YAML. It is the schema of the config: making one checks
types, ranges, unknown keys, and options that exclude each other. A notebook uses the same class: ``partition=grid`` on
the command line and ``Grid(rows=3, cols=3)`` in Python are the same thing.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterable
from typing import Any, dataclass_transform

import pydantic
from pydantic.dataclasses import dataclass as _pydantic_dataclass
from pydantic.fields import FieldInfo

from partinr.base.errors import PartinrError


class _Mark:
    """What a field is marked with."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


ASIDE = _Mark("ASIDE")
"""Marks a field, as in ``Annotated[int, ASIDE]``, that does not change the course of training.

A checkpoint may be continued with another value of such a field, but not of other fields.
"""

READS = _Mark("READS")
"""Marks a field, as in ``Annotated[str | None, READS]``, that names a file or folder, or several, which a run reads.

A run is known by the content of these files. Of a folder every file counts that is not hidden, unless the object has a
method ``members(field, folder, data)``, which returns the files that a run of the set ``data`` reads. A value that is
no path on this machine, such as a name on a hub, is left out.
"""


@dataclasses.dataclass(frozen=True)
class Unused:
    """Marks a field that is not used where another has a value: ``Annotated[str | None, Unused(beside="path")]``.

    A command that gives both is refused; a default is overruled without a word.

    Attributes:
        beside: the other field.
    """

    beside: str

    @staticmethod
    def of(kind: type) -> dict[str, str]:
        """The marked fields of a class, each with the other."""
        hints = typing.get_type_hints(kind, include_extras=True)
        marks = ((name, mark) for name, hint in hints.items() for mark in getattr(hint, "__metadata__", ()))
        return {name: mark.beside for name, mark in marks if isinstance(mark, Unused)}


def course(settings: Any) -> dict[str, Any]:
    """The fields of a spec that change the course of training, with their values: plain containers."""
    aside = marked(type(settings), ASIDE)
    return {name: value for name, value in dataclasses.asdict(settings).items() if name not in aside}


def defaults(settings: Any) -> dict[str, Any]:
    """The fields of :func:`course` that have a default, with their defaults."""
    found, aside = {}, marked(type(settings), ASIDE)
    for each in dataclasses.fields(settings):
        factory = each.default_factory
        value: Any = each.default if factory is dataclasses.MISSING else factory()
        if isinstance(value, FieldInfo):
            value = dataclasses.MISSING if value.is_required() else value.get_default(call_default_factory=True)
        if each.name not in aside and value is not dataclasses.MISSING:
            found[each.name] = value
    return found


def marked(cls: type, mark: _Mark) -> list[str]:
    """The fields of a class with a mark, in order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return [name for name, hint in hints.items() if mark in getattr(hint, "__metadata__", ())]


@dataclass_transform(frozen_default=True, kw_only_default=True)
def spec(cls: type) -> Any:
    """Class decorator: a frozen, keyword-only dataclass, validated strictly when it is made.

    Strictly means that nothing is converted silently: ``"3"`` and ``3.5`` are not whole numbers, and ``True`` is not a
    number; but a whole number is a valid float. Check rules about several fields in ``__post_init__``, and raise
    :class:`~partinr.base.errors.PartinrError`.

    Raises (when a spec is made):
        PartinrError: a field is invalid; the line names each invalid field and its valid values.
    """
    config = pydantic.ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)
    made = _pydantic_dataclass(config=config, frozen=True, kw_only=True)(cls)
    validated_init = made.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if args:
            raise PartinrError(f"{cls.__name__} takes {_signature(made)}")
        try:
            validated_init(self, **kwargs)
        except pydantic.ValidationError as error:
            raise PartinrError(
                describe(cls.__name__, error, (field.name for field in dataclasses.fields(made)))
            ) from error

    made.__init__ = __init__  # type: ignore[method-assign]
    return made


def _signature(cls: Any) -> str:
    names = [field.name for field in dataclasses.fields(cls)]
    if not names:
        return "no arguments"
    return f"keyword arguments only, such as {', '.join(f'{name}=…' for name in names[:2])}"


_BRANCHES = ("function-", "lax-or", "constrained-", "literal[")
"""Prefixes that pydantic adds to the name of a field that may be one of several types."""


def describe(name: str, error: pydantic.ValidationError, options: Iterable[str] = ()) -> str:
    """A validation error as one line.

    Args:
        name: what was to be made.
        error: the error.
        options: names of its fields, to suggest one for a misspelt name.
    """
    options = list(options)
    problems: list[str] = []
    found: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False):
        cause = problem.get("ctx", {}).get("error")
        if isinstance(cause, PartinrError):  # raised by a __post_init__, and complete
            problems.append(str(cause))
            continue
        parts = [str(part) for part in problem["loc"] if not str(part).startswith(_BRANCHES)]
        key = ".".join([name, *parts] if name else parts)
        if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            near = difflib.get_close_matches(parts[-1], options, n=1) if len(parts) == 1 else []
            problems.append(f"there is no option {key}" + (f"; did you mean {near[0]}?" if near else ""))
        elif problem["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
            problems.append(f"the option {key} is missing")
        else:
            said = problem["msg"].removeprefix("Input ").removeprefix("Value error, ")
            if problem["type"] == "string_type" and isinstance(problem["input"], (int, float)):
                said = "should be text; where YAML takes it for a number or a truth value, put it in quotes"
            given = " ".join(repr(problem["input"]).split())  # an array's takes several lines
            # A field that may be one of several types has a problem for each; together they make one sentence.
            found.setdefault(f"{key}={given if len(given) <= 60 else given[:59] + '…'}", []).append(said)
    problems += [
        f"{what}: {', or '.join(dict.fromkeys([first, *(each.removeprefix('should be ') for each in others)]))}"
        for what, (first, *others) in found.items()
    ]
    return "; ".join(dict.fromkeys(problems))
