"""Label maps of a whole set of signals, made once, before anything is learned from them."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from partinr.base.errors import named
from partinr.base.files import write_atomically
from partinr.partition import LabelCache, PartitionRule, make
from partinr.regimes.meta.workers import work_ahead
from partinr.signals.sets import Item


@dataclass(frozen=True)
class Prepared:
    """What came of it.

    Attributes:
        found: label maps that were there already.
        made: label maps that were not.
        fewer: of all, those with fewer regions than were asked for.
        seconds: it took.
    """

    found: int = 0
    made: int = 0
    fewer: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        """One line for whoever watches."""
        said = (
            f"{self.found + self.made:,} label maps: {self.found:,} found, {self.made:,} made in {self.seconds:.1f} s"
        )
        return f"{said}; {self.fewer:,} have fewer regions than were asked for" if self.fewer else said


def prepare_partitions(
    items: Sequence[Item],
    rule: PartitionRule | None,
    cache: LabelCache | None,
    workers: int | None = None,
    progress: bool = True,
) -> Prepared:
    """See that the label map of every item is in the cache, with several processes and a progress bar on a terminal.

    That a set is complete is noted in the cache, under all that its items and the rule say of themselves and the age of
    the files: the next time nothing need be read. A label map that somebody has deleted since is made when it is
    needed.

    Args:
        items: whose.
        rule: None, or one whose label maps are not kept (:attr:`PartitionRule.cached`), leaves nothing to do.
        cache: None leaves nothing to do.
        workers: processes; 0 for none but this one, None for one a CPU.
        progress: show a bar, if the standard error stream is a terminal.

    Raises:
        PartinrError: an item cannot be loaded or not be cut, and which one; or the cache cannot be written.
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
        disable=not (progress and console.is_terminal),
    ) as bar:
        task = bar.add_task("", total=len(items))
        for is_new, has_fewer in work_ahead(_Make(items, rule, cache), range(len(items)), min(workers, len(items))):
            made += is_new
            fewer += has_fewer
            bar.advance(task)
    with suppress(OSError):  # it only saves time
        write_atomically(note, json.dumps({"items": len(items), "fewer": fewer}).encode())
    return Prepared(len(items) - made, made, fewer, time.perf_counter() - start)


@dataclass(frozen=True)
class _Make:
    """The work: whether an item's label map had to be made, and whether it has fewer regions than were asked for."""

    items: Sequence[Item]
    rule: PartitionRule
    cache: LabelCache

    def __call__(self, index: int) -> tuple[bool, bool]:
        item = self.items[index]
        signal = item.load()
        with named(item.name):
            is_new = not self.cache.has(self.cache.key(self.rule, signal))
            return is_new, make(self.rule, signal, item.source, self.cache).notice is not None


def _digest(items: Sequence[Item], rule: PartitionRule) -> str:
    """Of what the label maps of all items depend on, as far as it can be told without reading them."""
    about = hashlib.sha256(json.dumps(rule.fingerprint(), sort_keys=True, default=os.fspath).encode())
    for item in items:
        path = None if item.source is None else item.source.path
        age: object = None
        if path is not None:
            with suppress(OSError):  # whoever reads it says what is wrong
                stat = os.stat(path)
                age = (stat.st_size, stat.st_mtime_ns)
        about.update(f"{item!r}\n{age}\n".encode(errors="surrogateescape"))
    return about.hexdigest()[:32]
