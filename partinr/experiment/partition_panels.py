"""What ``partinr partitions`` shows of each partition: its panel in the figure, and its row in the table."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from rich.table import Table
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.base.notes import print_error, print_note
from partinr.base.terminal import terminal
from partinr.partition import Partition, PartitionRule
from partinr.partition import make as make_partition
from partinr.pictures.draw import Panel, thumbnail
from partinr.signals.kind import SignalKind
from partinr.signals.source import Source


class Shown(NamedTuple):
    """A signal whose partitions are shown.

    Attributes:
        title: a short name.
        source: where it is from, for rules that look at more than its values.
        values: float32 ``[*grid, C]`` in [0, 1].
        kind: of the signal.
    """

    title: str
    source: Source | None
    values: Tensor
    kind: SignalKind

    @property
    def panel(self) -> Panel:
        """Its picture."""
        size = self.kind.size(self.values.shape[:-1])
        return Panel(thumbnail(self.kind.picture(self.values)), self.title, size)


@dataclass(frozen=True)
class Task:
    """A rule to apply.

    Attributes:
        name: name of its YAML.
        regions: number of regions asked for; None if the rule's options determine it.
        rule: the rule with its options.
        words: option names in the rule's messages, and their names in this command.
    """

    name: str
    regions: int | None
    rule: PartitionRule
    words: Mapping[str, str]

    @property
    def title(self) -> str:
        """``grid #9``."""
        return self.name if self.regions is None else f"{self.name} #{self.regions}"


@dataclass(frozen=True)
class Result:
    """The result of a task.

    Attributes:
        image: name of the signal.
        task: the task.
        partition: the partition; None if the rule fails on this signal.
    """

    image: str
    task: Task
    partition: Partition | None


@contextmanager
def named_as(words: Mapping[str, str]) -> Iterator[None]:
    """Rename options in errors as in this command: ``semantic.merge`` for ``partition.merge``.

    Args:
        words: regular expressions for whole dotted names, and their replacements.
    """
    try:
        yield
    except PartinrError as error:
        said = str(error)
        for pattern, here in words.items():
            said = re.sub(rf"(?<![\w.]){pattern}", here, said)
        raise PartinrError(said) from error


@door
def carried_out(task: Task, signal: Shown) -> Result:
    """Apply a rule; print a refusal or notice as one line."""
    partition = None
    try:
        with named_as(task.words):
            partition = make_partition(task.rule, signal.values, signal.source)
    except PartinrError as error:
        print_error(f"{signal.title}, {task.title}: {error}")
    except Exception as error:
        if type(task.rule).__module__.partition(".")[0] == "partinr":
            raise
        # A fault in a plug-in's rule must not stop other rules.
        print_error(f"{signal.title}, {task.title}: {type(error).__name__}: {error}")
    if partition is not None and partition.notice is not None:
        print_note(f"{signal.title}: {partition.notice}")
    return Result(signal.title, task, partition)


def panel(result: Result, signal: Shown) -> Panel:
    """A partition's picture."""
    partition = result.partition
    if partition is None:
        # The faded image fills the panel.
        faded = 0.85 + 0.15 * signal.kind.picture(signal.values)
        return Panel(thumbnail(faded), result.task.title, "cannot be carried out")
    title = f"{result.task.name} #{_regions(result)}"
    picture = signal.kind.partition_picture(partition.labels, signal.values)
    return Panel(thumbnail(picture), title, f"{_seconds(partition)} · {_bits(partition)}")


def in_lines(panels: Sequence[Panel]) -> list[list[Panel | None]]:
    """Few panels in one row, or many in rows of equal length."""
    lines = 1 if len(panels) <= 4 else max(2, math.ceil(len(panels) / 6))
    columns = math.ceil(len(panels) / lines)
    return [list(panels[start : start + columns]) for start in range(0, len(panels), columns)]


def print_table(results: Sequence[Result], several: bool) -> None:
    """Print one row per partition, with the name of the image if there are ``several``."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    if several:
        table.add_column("image")
    table.add_column("rule")
    for heading in ("regions", "smallest", "largest", "seconds", "bits"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        figures = ["–"] * 4
        if (partition := result.partition) is not None:
            sizes = partition.sizes
            figures = [f"{int(sizes.min()):,}", f"{int(sizes.max()):,}"]
            figures += [f"{partition.seconds:.3f}", f"{partition.bits:,}"]
        table.add_row(*[result.image] * several, result.task.name, _regions(result), *figures)
    terminal().print(table)


def _regions(result: Result) -> str:
    """The number of regions, and the number asked for if it differs."""
    found, asked = None if result.partition is None else result.partition.regions, result.task.regions
    said = "–" if found is None else f"{found:,}"
    return said if asked in (None, found) else f"{said} of {asked:,}"


def _seconds(partition: Partition) -> str:
    assert partition.seconds is not None
    return f"{partition.seconds:.2f} s" if partition.seconds >= 0.01 else "<0.01 s"


def _bits(partition: Partition) -> str:
    bits = partition.bits
    if bits < 1000:
        return f"{bits} bit"
    return f"{bits / 1e3:.1f} kbit" if bits < 1e6 else f"{bits / 1e6:.2f} Mbit"
