"""Divides samples into tiles and runs, and distributes the work over threads.

A tile's products are torch's on one thread, and its passes are numba's; both release Python's lock. Tiles are
distributed over Python threads, since those of torch and numba would start and stop for every product and pass and wait
for each other.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

TILE = 4096
"""Limit of samples per tile. It exceeds the cache: a product has an overhead of some tens of microseconds, so few long
tiles are faster than many that fit into the cache, above all in bfloat16."""

SHORTEST_TILE = 256
"""Tiles of at most this length are not divided further."""

TILE_NUMBERS = 2**20
"""Limit of numbers in the activations of one layer in a tile, so that a thread needs some tens of megabytes."""

TILES = 16
"""Least number of tiles of a stack with enough samples, so that as many threads have work."""

RUNS = 64
"""Approximate number of runs of a stack; each sums its own gradients. Neither tiles nor runs depend on the number of
threads, and so neither do results."""

ROWS = 32
"""Rows of tiles are rounded up to a multiple of this, so that products have few shapes."""


SINGLE: Any = {"dtype": torch.float32, "device": "cpu"}
"""The type that kernels use, whatever torch's default is."""


@dataclass(frozen=True)
class Run:
    """A sequence of tiles of one network on one thread.

    Attributes:
        network: the network.
        tiles: first sample and number of samples of each tile.
        part: number of the run among those of its network.
    """

    network: int
    tiles: tuple[tuple[int, int], ...]
    part: int


@lru_cache(maxsize=32)  # a few numbers for each tile and network, none for a sample
def runs_of(sizes: tuple[int, ...], widest: int) -> tuple[Run, ...]:
    """The tiles of each network's samples, divided into runs.

    Args:
        sizes: samples of each network.
        widest: numbers per sample in the widest layer.
    """
    tile = max(SHORTEST_TILE, min(TILE, TILE_NUMBERS // widest, -(-sum(sizes) // TILES)))
    # Tiles of a network have equal lengths, except for the last.
    cut: list[list[tuple[int, int]]] = []
    start = 0
    for size in sizes:
        length = whole(-(-size // max(1, -(-size // tile))), ROWS)
        cut.append([(start + at, min(length, size - at)) for at in range(0, size, max(length, 1))])
        start += size
    longest = max(1, -(-sum(map(len, cut)) // RUNS))
    runs = []
    for network, pieces in enumerate(cut):
        parts = -(-len(pieces) // longest)
        for part in range(parts):
            own = pieces[len(pieces) * part // parts : len(pieces) * (part + 1) // parts]
            runs.append(Run(network, tuple(own), part))
    return tuple(runs)


def whole(count: int, unit: int) -> int:
    """``count`` rounded up to a multiple of ``unit``."""
    return -(-count // unit) * unit


_threads = 0
"""The number of threads within :func:`own_threads_only`, else 0."""


def threads() -> int:
    """The number of threads that share the work: torch's."""
    return _threads or torch.get_num_threads()


@contextmanager
def own_threads_only() -> Iterator[None]:
    """Run torch's operations of this thread on this thread alone, within the context.

    Torch's threads spin while they wait for each other. Where another process has one of the cores, each operation
    would wait for a thread that is off its core.
    """
    global _threads
    before, _threads = _threads, threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(_threads)
        _threads = before


def together(work: Callable[[], None]) -> None:
    """Call ``work`` on as many threads as torch uses, this one included; it shares out its pieces itself."""
    count = threads()
    if count == 1:
        work()
        return
    pool, ids = _pool(count, os.getpid())
    _place(ids, beside_caller=True)
    waiting = [pool.submit(work) for _ in range(count - 1)]
    work()
    # Without spinning: a thread that waits leaves its core to those that have work.
    for each in waiting:
        each.result()


def _place(ids: Sequence[int], beside_caller: bool) -> None:
    """Let the threads of a pool run on cores of their own, if they have the cores of the process to themselves.

    Beside a busy process Linux wakes a thread on the core of the thread that woke it, and leaves it there: the two
    would share one core, and the neighbour would have the other to itself.

    Args:
        ids: the threads.
        beside_caller: whether the calling thread works too, so that its core is taken.
    """
    current = _current_core()
    core = -1 if current is None else current()
    if core < 0:  # the system does not tell
        return
    allowed = os.sched_getaffinity(0)
    own = sorted(allowed) if len(ids) == len(allowed) > 1 else None
    for number, each in enumerate(ids):
        cores = allowed if own is None else allowed - {core} if beside_caller else {own[number]}
        if _cores.get(each) != cores:
            with suppress(OSError):  # a container may forbid it
                os.sched_setaffinity(each, cores)
            _cores[each] = cores


_cores: dict[int, set[int]] = {}
"""The cores that each thread of a pool was last given."""


@lru_cache(maxsize=1)
def _current_core() -> Callable[[], int] | None:
    """The C library's function that gives the core of the calling thread; None if there is none."""
    return getattr(ctypes.CDLL(None), "sched_getcpu", None) if sys.platform == "linux" else None


def spread(work: Callable[[Iterable[Any]], None], pieces: Sequence[Any]) -> None:
    """Let ``work`` process pieces on as many threads as torch uses; each thread takes the next free piece."""
    if not pieces:
        return
    count = threads()
    # next() on it is atomic under Python's lock.
    left = iter(pieces)

    def quietly(_: int) -> None:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            work(left)

    if count == 1:
        quietly(0)
    else:
        # Also for a single piece: on this thread, torch would distribute products, and results would depend on threads.
        pool, ids = _pool(count, os.getpid())
        _place(ids, beside_caller=False)
        for _ in pool.map(quietly, range(min(count, len(pieces)))):
            pass


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> tuple[ThreadPoolExecutor, list[int]]:
    """A pool of threads in each of which torch uses only that thread, and their numbers in the system.

    Args:
        threads: number of threads.
        process: id of the process, since a forked process has no threads of its parent.
    """
    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, "partinr-tiles")
    all_there = threading.Barrier(threads)

    def alone(_: int) -> int:
        # Read first: otherwise the thread would take the global number at its first larger operation.
        torch.get_num_threads()
        torch.set_num_threads(1)
        all_there.wait()
        return threading.get_native_id()

    ids = list(pool.map(alone, range(threads)))
    # The number is set per thread, but later threads inherit the last one.
    torch.set_num_threads(before)
    return pool, ids


def sum_over_runs(
    runs: Sequence[Run],
    networks: int,
    shapes: Sequence[Sequence[int]],
    work: Callable[[Iterable[tuple[Run, list[Tensor]]]], None],
) -> list[Tensor]:
    """The sums over the tiles of each network.

    They are computed on as many threads as torch uses, in an order that does not depend on that number.

    Args:
        runs: runs of tiles.
        networks: number of networks.
        shapes: shapes of one network's parameters.
        work: processes runs, adding to the given zeros of those shapes.

    Returns:
        a sum for each parameter, ``[N, *shape]``.
    """
    # The sum of a network's first run is the total, to which the others are added.
    totals = [torch.zeros(networks, *shape, **SINGLE) for shape in shapes]
    others: list[list[list[Tensor]]] = [[] for _ in range(networks)]
    places = []
    for run in runs:
        if run.part == 0:
            place = [total[run.network] for total in totals]
        else:
            place = [torch.zeros(*shape, **SINGLE) for shape in shapes]
            others[run.network].append(place)
        places.append(place)

    def add(left: Iterable[int]) -> None:
        for network in left:
            for place in others[network]:
                for total, other in zip(totals, place, strict=True):
                    total[network].add_(other)

    spread(work, list(zip(runs, places, strict=True)))
    spread(add, [network for network, more in enumerate(others) if more])
    return totals
