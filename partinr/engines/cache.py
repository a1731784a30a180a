"""What is made from the sizes of a batch and is of use again: kept up to so many bytes, and held while it is in use.

A full batch has the same sizes at every step, a drawn one (``points_per_step``) has others. Both are kept alike, the
last used the longest; the bound sees to it that drawn batches do not fill the memory with index tensors of their own.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import update_wrapper
from typing import Any, Generic, TypeVar

V = TypeVar("V")

KEPT_BYTES = 128 * 2**20
"""Of each function, at most; but always the value that was asked for last, however large."""

_holders: list[list[Any]] = []


class Kept(Generic[V]):
    """A function whose values are kept, the least recently used of them dropped first.

    Args:
        function: of arguments that can be hashed.
        size_of: about how many bytes a value, with its arguments, takes.
    """

    def __init__(self, function: Callable[..., V], size_of: Callable[[V], int]) -> None:
        update_wrapper(self, function)
        self._function, self._size_of = function, size_of
        self._values: OrderedDict[tuple[Any, ...], tuple[V, int]] = OrderedDict()
        self._bytes = 0
        # The backward pass on a GPU has a thread of its own.
        self._lock = threading.Lock()

    def __call__(self, *args: Any) -> V:
        """The value for these arguments, made or found."""
        with self._lock:
            found = self._values.get(args)
            if found is not None:
                self._values.move_to_end(args)
        value = self._add(args, self._function(*args)) if found is None else found[0]
        for held in _holders:
            held.append(value)
        return value

    def cache_clear(self) -> None:
        """Forget all values."""
        with self._lock:
            self._values.clear()
            self._bytes = 0

    def _add(self, args: tuple[Any, ...], value: V) -> V:
        size = self._size_of(value)
        with self._lock:
            if args in self._values:  # by another thread, meanwhile
                return self._values[args][0]
            self._values[args] = value, size
            self._bytes += size
            while self._bytes > KEPT_BYTES and len(self._values) > 1:
                _, (_, dropped) = self._values.popitem(last=False)
                self._bytes -= dropped
        return value


def kept(size_of: Callable[[Any], int]) -> Callable[[Callable[..., V]], Kept[V]]:
    """Keep a function's values, see :class:`Kept`."""
    return lambda function: Kept(function, size_of)


@contextmanager
def holding() -> Iterator[list[Any]]:
    """All values that kept functions give inside, in a list.

    A CUDA graph reads index tensors by their address: whoever records one has to hold them for as long as it lives.
    """
    held: list[Any] = []
    _holders.append(held)
    try:
        yield held
    finally:
        # By identity: two empty lists are equal.
        _holders[:] = [each for each in _holders if each is not held]
