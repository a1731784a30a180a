"""The contract between a regime and readers of its runs: data in ``run.json``, and a section of the report.

The data are enough for a report that cannot import the regime. A :class:`Section` adds charts, captions and words.
Sections import neither torch nor the report, so both wings can use this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from partinr.base.numbers import ABSENT, write

Node = Mapping[str, Any]

WORDS = "words"
"""The form of a field that is text."""


def field(key: str, heading: str, value: str, form: str = "fixed:2", **further: Any) -> dict[str, Any]:
    """One column, as stored in ``run.json``.

    Args:
        key: key of the column, unique within its section.
        heading: heading of the column.
        value: a path for :func:`lookup`.
        form: form of the number, see :mod:`partinr.base.numbers`; :data:`WORDS` for text.
        **further: ``span``, above this column and its neighbours of the same span; ``note``, which explains it;
            ``better``, ``high`` or ``low`` where such values are the better ones; ``short``, its heading in narrow
            tables, which leave a column without one out; ``table``, the key of the :class:`Table` that has the column,
            by default the first; ``clock``, true if the value depends on wall seconds, ``cpu``
            if it depends on CPU seconds; ``constant``, true if a deviation over
            seeds is left out where it is written as zero.
    """
    return {"key": key, "heading": heading, "value": value, "form": form, **further}


def lookup(path: str, manifest: Node, config: Node) -> Any:
    """The value at a dotted path in ``run.json`` or, after ``config.``, in the config; None if missing.

    A whole number in the path is an index of a list.
    """
    first, _, rest = path.partition(".")
    node: Any = manifest
    if first == "config":
        node, path = config, rest
    for part in path.split("."):
        if isinstance(node, Mapping):
            node = node.get(part)
        elif isinstance(node, Sequence) and not isinstance(node, str) and part.isdecimal() and int(part) < len(node):
            node = node[int(part)]
        else:
            return None
    return node


def fill(template: str, manifest: Node, config: Node, run: object = "") -> str:
    """A template with its values.

    Args:
        template: text with ``{PATH}`` or ``{PATH|FORM}``, with paths for :func:`lookup`; ``{run}`` is the run's path.
        manifest: content of ``run.json``.
        config: the composed config.
        run: replacement for ``{run}``.
    """

    def value(match: re.Match[str]) -> str:
        path, form = match[1], match[2]
        found = str(run) if path == "run" else lookup(path, manifest, config)
        if found is None:
            return ABSENT
        return write(found, form) if form and isinstance(found, (int, float)) else str(found)

    return re.sub(r"\{([\w.]+)(?:\|([\w:]+))?\}", value, template)


def _step_seconds(manifest: Node, config: Node) -> float | None:
    """Training seconds of one optimiser step, mean over the run."""
    seconds, steps = lookup("seconds.training", manifest, config), lookup("steps", manifest, config)
    known = isinstance(seconds, (int, float)) and isinstance(steps, (int, float))
    return seconds / steps if known and steps else None


@dataclass(frozen=True)
class Chart:
    """PSNR against a quantity that is not in the curve of a run, such as inner steps."""

    key: str
    axis: str
    """Name of the abscissa, whose values are 0, 1, 2, …"""
    title: str
    """Label of the axis."""
    values: str
    """Path to the PSNR of a run at 0, 1, 2, … [dB]."""
    mark: str
    """Path to the position of a ring."""


@dataclass(frozen=True)
class Table:
    """A table of the section."""

    key: str
    title: str
    """Heading; empty for none."""
    caption: str


class Section:
    """The part of the report for the runs of a regime. Every attribute has a default.

    The report never compares runs of different sections.
    """

    kind: ClassVar[str] = ""
    """The kind of the regime."""
    title: ClassVar[str] = ""
    """Heading; the kind by default."""
    key: ClassVar[str] = "other"
    """Prefix of figure files, and anchor of the section in the page."""
    steps: ClassVar[str] = "optimiser steps"
    """Name of the curve's steps."""
    about: ClassVar[str] = (
        "Lines are means over seeds with a band of one standard deviation. "
        "These runs are only compared with each other."
    )
    """Caption of the charts."""
    signals: ClassVar[tuple[str, str]] = ("image", "images")
    """Words for the subject of a run, singular and plural."""
    after: ClassVar[str] = ""
    """Template of a note on the PSNR of a run."""
    sheet: ClassVar[str] = ""
    """Caption of the only picture of a run."""
    charts: ClassVar[Sequence[Chart]] = ()
    tables: ClassVar[Sequence[Table]] = (
        Table("numbers", "", "Mean ± sample standard deviation over seeds; the best value is bold."),
    )
    phrases: ClassVar[Mapping[tuple[str, ...], Mapping[Any, str]]] = {}
    """Words for settings, by path in the config and value, in names of groups."""
    of_regions: ClassVar[frozenset[tuple[str, ...]]] = frozenset()
    """Settings without a meaning for a single region."""
    uncut: ClassVar[Mapping[tuple[str, ...], Any]] = {}
    """Settings and values that disable the partition."""
    computed: ClassVar[Mapping[str, Callable[[Node, Node], float | str | None]]] = {"seconds_per_step": _step_seconds}
    """Fields that are computed from ``run.json`` and the config, by key."""

    @classmethod
    def describe(cls, regime: Node) -> dict[str, Any]:
        """The entry ``regime`` of ``run.json``.

        Args:
            regime: the section ``regime`` of the composed config.
        """
        return {"kind": cls.kind}

    @classmethod
    def fields(cls, table: Sequence[Node]) -> Sequence[Node]:
        """The columns, from those that the runs name in ``run.json``."""
        return list({each["key"]: each for each in (*COMMON, *table)}.values())

    @classmethod
    def words(cls, config: Node, partition: str) -> tuple[str, str]:
        """One word each for regime and partition of a run, for trackers.

        Args:
            config: the composed config.
            partition: word for its partition.
        """
        return cls.kind, partition


_SIZE = {"span": "Size", "constant": True}
_QUALITY = {"span": "Quality", "note": "At the end", "better": "high"}

COMMON = (
    field("regions", "regions", "regions", "fixed:0", short="regions", **_SIZE),
    field("parameters", "parameters", "parameters", "si", short="parameters", **_SIZE),
    field("seconds", "training s", "seconds.training", "significant", span="Cost", short="training s", clock=True),
    field("cpu_seconds", "CPU s", "cpu_seconds.training", "significant", span="Cost", short="CPU s", clock="cpu"),
    field("psnr", "PSNR dB", "metrics.psnr", short="PSNR dB", **_QUALITY),
    field("ssim", "SSIM", "metrics.ssim", "fixed:3", short="SSIM", **_QUALITY),
)
"""Default columns of a section."""


def leaves(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree of mappings as one dictionary with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value})
    return flat
