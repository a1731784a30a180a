"""Makes the label maps of a whole set of signals before training."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from partinr.base.errors import named
from partinr.base.files import write_atomically
from partinr.partition import LabelCache, PartitionRule, make
from partinr.regimes.meta.workers import work_ahead
from partinr.signals.sets import Item


@dataclass(frozen=True)
class Prepared:
    """The result of a preparation.

    Attributes:
        found: number of label maps that were in the cache.
        made: number of new label maps.
        fewer: number of label maps with fewer regions than requested.
        seconds: wall time.
    """

    found: int = 0
    made: int = 0
    fewer: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        """One line for the user."""
        said = (
            f"{self.found + self.made:,} label maps: {self.found:,} found, {self.made:,} made in {self.seconds:.1f} s"
        )
        return f"{said}; {self.fewer:,} have fewer regions than were asked for" if self.fewer else said


def prepare_partitions(
    items: Sequence[Item],
    rule: PartitionRule | None,
    cache: LabelCache | None,
    workers: int | None = None,
) -> Prepared:
    """Put the label map of every item into the cache, using several processes and a progress bar.

    A note in the cache records that a set is complete, under a digest of its items, the rule and the age of the files,
    so that the next call reads nothing. A label map that was deleted later is made when it is needed.

    Args:
        items: the signals.
        rule: makes the partitions. None, or a rule that is not :attr:`~PartitionRule.cached`, needs no preparation.
        cache: None needs no preparation.
        workers: number of processes; 0 for this one alone, None for one for each CPU.

    Raises:
        PartinrError: an item cannot be loaded, the rule fails on it, or the cache cannot be written.
    """
    if rule is None or cache is None or not rule.cached or not items:
        return Prepared()
    start = time.perf_counter()
    note = cache.folder / f"complete-{_digest(items, rule)}.json"
    with suppress(OSError, ValueError, KeyError, TypeError):
        return Prepared(len(items), 0, int(json.loads(note.read_bytes())["fewer"]), time.perf_counter() - start)
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = 0 if workers == 1 else workers
    made = fewer = 0
    console = Console(stderr=True)
    with Progress(
        TextColumn("  label maps"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=len(items))
        for is_new, has_fewer in work_ahead(
            partial(_make, items, rule, cache), range(len(items)), min(workers, len(items))
        ):
            made += is_new
            fewer += has_fewer
            bar.advance(task)
    with suppress(OSError):  # the note only saves time
        write_atomically(note, json.dumps({"items": len(items), "fewer": fewer}).encode())
    return Prepared(len(items) - made, made, fewer, time.perf_counter() - start)


def _make(items: Sequence[Item], rule: PartitionRule, cache: LabelCache, index: int) -> tuple[bool, bool]:
    """Make the label map of an item; returns whether it is new, and whether it has fewer regions than requested."""
    item = items[index]
    signal = item.load()
    with named(item.name):
        is_new = not cache.has(cache.key(rule, signal))
        return is_new, make(rule, signal, item.source, cache).notice is not None


def _digest(items: Sequence[Item], rule: PartitionRule) -> str:
    """Digest of everything that the label maps depend on, except the content of the files."""
    about = hashlib.sha256(json.dumps(rule.fingerprint(), sort_keys=True, default=os.fspath).encode())
    for item in items:
        path = None if item.source is None else item.source.path
        age: object = None
        if path is not None:
            with suppress(OSError):  # reading the file raises the error
                stat = os.stat(path)
                age = (stat.st_size, stat.st_mtime_ns)
        about.update(f"{item!r}\n{age}\n".encode(errors="surrogateescape"))
    return about.hexdigest()[:32]
