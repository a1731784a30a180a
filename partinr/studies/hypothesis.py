"""Tests the exponential-increase hypothesis and the claim about partitions (Liu et al., ICCV 2023).

The hypothesis: the steps to a fixed error grow exponentially with the number of boundaries. The claim: if the signal is
cut into parts with separate networks, the steps grow linearly. For images, the length of edges replaces the number of
boundaries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from partinr.base.errors import PartinrError
from partinr.base.text import natural
from partinr.runs.configs import flatten, same_settings
from partinr.runs.directory import RunDirectory
from partinr.runs.naming import labels
from partinr.runs.origin import Origin, told_apart
from partinr.runs.records import RunRecord, collect
from partinr.studies.growth import LACK, Growth, Trials, fit_laws

_POOLED = {("data", "counts"), ("data", "draws")}
"""Keys in which runs of one setting may differ, since a study may consist of several runs."""


@dataclass(frozen=True, eq=False)
class Setting:
    """Runs that differ only in the seed and in their signals.

    Attributes:
        label: distinguishes it from other settings.
        parts: number of parts that each signal is cut into.
        parameters: number of parameters of all networks of a signal.
        runs: number of runs.
        unfinished: number of incomplete runs; their unfinished trials count as censored at the last step.
        images: whether images were fitted instead of step functions.
        trials: trials of all runs; for images one per image, see :func:`one_an_image`.
    """

    label: str
    parts: int
    parameters: int
    runs: int
    unfinished: int
    images: bool
    trials: Trials

    @cached_property
    def growth(self) -> Growth:
        """The laws, fitted to the trials."""
        return fit_laws(self.trials)

    @property
    def claimed(self) -> str:
        """The law that the paper claims."""
        return "exponential" if self.parts == 1 else "linear"

    @property
    def abscissa(self) -> str:
        """Label of the boundaries axis."""
        return "length of edges [sides of the image]" if self.images else "boundaries"

    @property
    def verdict(self) -> str:
        """The conclusion about the paper's claim."""
        if not self.images:
            return self._verdict
        explained = max(0.0, self.growth.best.r_squared)
        return f"{self._verdict} Edges account for {explained:.0%} of the variance of log(steps) between images."

    @property
    def _verdict(self) -> str:
        growth = self.growth
        where = "without partition" if self.parts == 1 else f"with {self.parts} parts"
        claim = f"The claim of {'exponential' if self.parts == 1 else 'linear'} growth {where} is"
        if not growth.clear:
            return f"{growth.verdict} {claim} not decided."
        if growth.best.law.name != self.claimed:
            return f"{growth.verdict} {claim} not borne out."
        if growth.lack_of_fit < LACK:
            return f"{growth.verdict} {claim} borne out against the other laws only."
        return f"{growth.verdict} {claim} borne out."


def settings_of(paths: Iterable[str | Path]) -> list[Setting]:
    """The settings of all studies of steps at or below ``paths``, sorted by number of parts.

    Raises:
        PartinrError: a path does not exist, no study is found, or a setting has too few trials.
    """
    records = [record for record in collect(paths) if "trials" in record.regime.files and record.status != "damaged"]
    if not records:
        raise PartinrError(
            f"no study of steps in {', '.join(map(str, paths))}; make one with: partinr experiment=hypothesis_1d"
        )
    flats = [
        {key: value for key, value in flatten(record.config, record.seed).items() if key.path not in _POOLED}
        for record in records
    ]
    kinds: dict[frozenset[object], list[int]] = {}
    for index, flat in enumerate(flats):
        kinds.setdefault(same_settings(flat), []).append(index)
    members = list(kinds.values())
    parts = [{regions for index in each if (regions := records[index].regions) is not None} for each in members]
    names = labels([flats[each[0]] for each in members], parts)
    found = [
        _setting(" · ".join((name, *words)), own)
        for name, each in zip(names, members, strict=True)
        for words, own in _pools([records[index] for index in each])
    ]
    return sorted(found, key=lambda setting: (setting.parts, natural(setting.label)))


def _pools(records: Sequence[RunRecord]) -> Iterable[tuple[tuple[str, ...], list[RunRecord]]]:
    """Runs of one configuration that read the same, with words for what tells them from the others."""
    # The files of the images count: trials are pooled by their names.
    told = told_apart([Origin(each.manifest, each.config, signal=True) for each in records], [None] * len(records))
    pools: dict[tuple[str, ...], list[RunRecord]] = {}
    for record, words in zip(records, told.words, strict=True):
        pools.setdefault(words, []).append(record)
    return pools.items()


def _setting(label: str, records: list[RunRecord]) -> Setting:
    # A run that was stopped before its first step has no trials.
    rows: list[Mapping[str, Any]] = [
        row for record in records for row in RunDirectory(record.path).steps() if row["steps"] > 0
    ]
    first = records[0]
    images = any(row["cells"] is None for row in rows)
    if images:
        rows = one_an_image(rows)
    try:
        trials = Trials(
            np.array([row["boundaries"] for row in rows], dtype=np.float64),
            np.array([row["steps"] for row in rows], dtype=np.float64),
            np.array([row["censored"] for row in rows], dtype=np.bool_),
        )
    except PartinrError as error:
        raise PartinrError(f"{label}: {error}") from error
    return Setting(
        label=label,
        parts=first.regions or 1,
        parameters=int(first.number("parameters") or 0),
        runs=len(records),
        unfinished=sum(record.status != "completed" for record in records),
        images=images,
        trials=trials,
    )


def one_an_image(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The median trial of each image; with two in the middle, the one with fewer steps.

    Networks of one image differ less than those of two images, so counting each would make few images look like many.

    Args:
        rows: rows of ``steps.csv``, from one run or several.
    """
    of: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        of.setdefault(row["signal"], []).append(row)
    middle = (sorted(own, key=lambda row: (row["censored"], row["steps"])) for own in of.values())
    return [own[(len(own) - 1) // 2] for own in middle]
