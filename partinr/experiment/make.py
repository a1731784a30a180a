"""Makes objects from nodes of a configuration: ``_target_`` names the class, the other keys are its arguments."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import pydantic

from partinr.base.errors import PartinrError
from partinr.base.spec import describe


def make(node: Any, key: str, *kinds: type) -> Any:
    """The object that a node of the configuration describes.

    Args:
        node: a dictionary with the dotted path of a class as ``_target_``, and its arguments.
        key: key of the node, for messages.
        kinds: classes from one of which the class must derive; none for any class.

    Raises:
        PartinrError: the class does not exist, is of another kind, or refuses the arguments.
    """
    cls = class_of(node, key)
    if kinds and not issubclass(cls, kinds):
        raise PartinrError(
            f"{key}._target_={node['_target_']} is no {' or '.join(kind.__name__ for kind in kinds)}; "
            f"derive the class from {' or '.join(f'{kind.__module__}.{kind.__name__}' for kind in kinds)}"
        )
    return checked(cls, {name: value for name, value in node.items() if name != "_target_"}, key)


def class_of(node: Any, key: str) -> type:
    """The class that a node of the configuration names.

    Raises:
        PartinrError: it names none, or one that does not exist.
    """
    if not isinstance(node, dict) or "_target_" not in node:
        nodes = node if isinstance(node, dict) else {}
        if several := [name for name, each in nodes.items() if isinstance(each, dict) and "_target_" in each]:
            raise PartinrError(f"{key} takes one choice; give {' or '.join(f'{key}={name}' for name in several)}")
        raise PartinrError(f"{key} needs a _target_, the dotted path of a class")
    return _class(node["_target_"], key)


def _class(target: Any, key: str) -> type:
    module, _, attribute = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # a foreign module may raise anything
        name = "" if isinstance(error, (ImportError, AttributeError)) else f"{type(error).__name__}: "
        raise PartinrError(
            f"{key}._target_={target!r} cannot be imported: {name}{' '.join(str(error).split())}; "
            "give MODULE.CLASS, the module on PYTHONPATH or installed"
        ) from error
    if not isinstance(found, type):
        raise PartinrError(f"{key}._target_={target!r} is no class; give the dotted path of one")
    return found


def checked(cls: type, arguments: dict[str, Any], key: str) -> Any:
    """An object of a class; errors name the keys as the user knows them.

    Raises:
        PartinrError: an option is unknown, or a value is refused.
    """
    check_options(cls, arguments, key)
    try:
        return cls(**arguments)
    except PartinrError as error:
        if isinstance(error.__cause__, pydantic.ValidationError):
            raise PartinrError(describe(key, error.__cause__)) from error.__cause__
        raise
    except Exception as error:  # a foreign class may raise anything
        kind = "" if isinstance(error, (TypeError, ValueError)) else f"{type(error).__name__}: "
        raise PartinrError(f"{key}: {kind}{' '.join(str(error).split())}; debug=trace shows where") from error


def check_options(cls: type, arguments: Mapping[str, Any], key: str) -> None:
    """Check that a class has the options that a node of the configuration sets.

    Raises:
        PartinrError: it has no such option.
    """
    accepted = inspect.signature(cls).parameters
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    for name in arguments:
        if name not in accepted and not free:
            near = difflib.get_close_matches(name, accepted, n=1)
            known = f"there are: {', '.join(accepted)}" if accepted else f"{cls.__name__} has no options"
            hint = f"did you mean {_dotted(key, near[0])}?" if near else known
            unknown = [f"~{_dotted(key, each)}" for each in arguments if each not in accepted]
            without = f"to take out what an experiment gives, add {' '.join(unknown)}"
            raise PartinrError(f"unknown option {_dotted(key, name)}; {hint}; {without}")


def _dotted(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
