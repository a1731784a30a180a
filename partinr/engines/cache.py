"""A cache for values that follow from the sizes of a batch, bounded in bytes and held while in use.

A full batch has the same sizes at every step; a drawn one (``points_per_step``) has new ones each time. The cache keeps
both and drops the least recently used. Its bound keeps drawn batches from filling the memory with index tensors.
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
"""The bound for each function. The most recent value is always kept, whatever its size."""

NETWORK_BYTES = 300
"""Bound of Python's memory per network in a cached value: a number and its place in two tuples."""

_holders: list[list[Any]] = []


class Kept(Generic[V]):
    """A function with cached values, of which the least recently used are dropped first.

    Args:
        function: a function of hashable arguments.
        size_of: approximate size in bytes of a value with its arguments.
    """

    def __init__(self, function: Callable[..., V], size_of: Callable[[V], int]) -> None:
        update_wrapper(self, function)
        self._function, self._size_of = function, size_of
        self._values: OrderedDict[tuple[Any, ...], tuple[V, int]] = OrderedDict()
        self._bytes = 0
        # The backward pass on a GPU runs in its own thread.
        self._lock = threading.Lock()

    def __call__(self, *args: Any) -> V:
        """The value for these arguments, computed or cached."""
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
            if args in self._values:  # added by another thread in the meantime
                return self._values[args][0]
            self._values[args] = value, size
            self._bytes += size
            while self._bytes > KEPT_BYTES and len(self._values) > 1:
                _, (_, dropped) = self._values.popitem(last=False)
                self._bytes -= dropped
        return value


def kept(size_of: Callable[[Any], int]) -> Callable[[Callable[..., V]], Kept[V]]:
    """A decorator that caches a function's values, see :class:`Kept`."""
    return lambda function: Kept(function, size_of)


@contextmanager
def holding() -> Iterator[list[Any]]:
    """A list of all values that cached functions return within the context.

    A CUDA graph reads index tensors by their address, so its owner must hold them as long as the graph exists.
    """
    held: list[Any] = []
    _holders.append(held)
    try:
        yield held
    finally:
        # By identity, since two empty lists are equal.
        _holders[:] = [each for each in _holders if each is not held]
