"""A few telling combinations in place of all of them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any

import pytest


def covering(cases: int = 0, **arguments: Collection[Any]) -> pytest.MarkDecorator:
    """Parametrises a test so that every value of every argument occurs, but not every combination of them.

    There are as many cases as the longest argument has values, or ``cases`` if those are more. Each next case is the
    combination with the most values, and then the most pairs of values, that no case had before. A mapping gives its
    values names.
    """
    names = [list(given) for given in arguments.values()]
    values = [list(given.values() if isinstance(given, Mapping) else given) for given in arguments.values()]
    left = list(itertools.product(*(range(len(given)) for given in names)))
    seen: set[tuple[tuple[int, int], ...]] = set()
    rows = []

    def parts(choice: tuple[int, ...], size: int) -> set[tuple[tuple[int, int], ...]]:
        return set(itertools.combinations(enumerate(choice), size))

    for _ in range(min(len(left), max(cases, *map(len, names)))):
        best = max(left, key=lambda choice: (len(parts(choice, 1) - seen), len(parts(choice, 2) - seen)))
        left.remove(best)
        seen |= parts(best, 1) | parts(best, 2)
        row = [given[index] for given, index in zip(values, best, strict=True)]
        name = "-".join(_name(given[index]) for given, index in zip(names, best, strict=True))
        rows.append(pytest.param(*row, id=name))
    return pytest.mark.parametrize(tuple(arguments), rows)


def _name(value: object) -> str:
    return getattr(value, "__name__", None) or str(value).replace("\n", " ")


def cases(*rows: Any) -> tuple[Any, ...]:
    """The cases of a loop: of any types, which a type checker would else take for one."""
    return rows
