"""Work that tiles of samples make: how it is cut, and how it is spread over threads.

A tile's products are torch's on one thread, and its passes numba's; both give up Python's lock. The threads that tiles
are spread over are Python's: torch's and numba's would each start and stop for every product and every pass, and wait
for one another.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

TILE = 4096
"""Samples that go through a network at once, at most. More than a cache holds: a call of a product costs some tens of
microseconds beside its work, so few long tiles are faster than many that fit, most of all in bfloat16."""

SHORTEST_TILE = 256
"""Tiles this short are not cut to have more of them."""

TILE_NUMBERS = 2**20
"""Numbers in the activations of one layer in a tile, at most, so that a thread needs some tens of megabytes."""

TILES = 16
"""A stack is cut into this many tiles at least, where it has the samples: work for as many threads."""

RUNS = 64
"""Pieces of work that a stack is cut into, about: each sums its own gradients. Like the tiles they do not depend on the
number of threads, so results do not either."""

ROWS = 32
"""Tiles are rounded up to a multiple of this many rows, so that there are few shapes to prepare products for."""


SINGLE: Any = {"dtype": torch.float32, "device": "cpu"}
"""What kernels work on, whatever torch makes by default."""


@dataclass(frozen=True)
class Run:
    """Tiles of one network, one after the other on one thread.

    Attributes:
        network: theirs.
        tiles: first sample and number of samples of each.
        part: which of the network's runs it is.
    """

    network: int
    tiles: tuple[tuple[int, int], ...]
    part: int


@lru_cache(maxsize=32)  # a few numbers for each tile and network, none for a sample
def runs_of(sizes: tuple[int, ...], widest: int) -> tuple[Run, ...]:
    """Cut the samples of each network into tiles, and these into runs.

    Args:
        sizes: samples of each network.
        widest: numbers that a sample has in the widest layer.
    """
    tile = max(SHORTEST_TILE, min(TILE, TILE_NUMBERS // widest, -(-sum(sizes) // TILES)))
    # Tiles of a network are equally long, but for the last.
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


def spread(work: Callable[[Iterable[Any]], None], pieces: Sequence[Any]) -> None:
    """Have ``work`` take the pieces, on as many threads as torch takes; each goes on to the next piece there is."""
    if not pieces:
        return
    threads = torch.get_num_threads()
    # What next() does to it is one step for Python's lock.
    left = iter(pieces)

    def quietly(_: int) -> None:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            work(left)

    if threads == 1:
        quietly(0)
    else:
        # Also for a single piece: here torch would spread its products, whose results would then depend on threads.
        for _ in _pool(threads, os.getpid()).map(quietly, range(min(threads, len(pieces)))):
            pass


@lru_cache(maxsize=4)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Threads in each of which torch keeps to that one.

    Args:
        threads: how many.
        process: in which: a forked one has none of its parent's.
    """
    pool = ThreadPoolExecutor(threads, "partinr-tiles")
    all_there = threading.Barrier(threads)

    def alone(_: int) -> None:
        # Asked first: a thread that has never asked takes the number of all threads at its first larger operation.
        torch.get_num_threads()
        torch.set_num_threads(1)
        all_there.wait()

    for _ in pool.map(alone, range(threads)):
        pass
    # The number is the thread's own, but threads to come inherit the last one set.
    torch.set_num_threads(threads)
    return pool


def sum_over_runs(
    runs: Sequence[Run],
    networks: int,
    shapes: Sequence[Sequence[int]],
    work: Callable[[Iterable[tuple[Run, list[Tensor]]]], None],
) -> list[Tensor]:
    """The sums over the tiles of each network.

    They are made on as many threads as torch takes, in an order that does not depend on that number.

    Args:
        runs: of tiles.
        networks: how many.
        shapes: of the parameters of one network.
        work: takes runs, each with zeros of those shapes that it adds to.

    Returns:
        a sum for each parameter, ``[N, *shape]``.
    """
    # What a network's first run sums is the sum itself, what the others sum is added to it.
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
