"""A few runs side by side: settings, results and circumstances, one column a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from partinr.base.errors import PartinrError
from partinr.base.numbers import ABSENT, write
from partinr.base.section import leaves
from partinr.report.columns import columns_of
from partinr.report.groups import Group, Study, studies_of
from partinr.report.notices import commit_of, machine_of
from partinr.runs.configs import METHOD
from partinr.runs.directory import RunDirectory
from partinr.runs.listing import Listed, columns
from partinr.runs.naming import numbered
from partinr.runs.records import RunRecord, collect
from partinr.runs.sharing import SIGN


@dataclass(frozen=True)
class Line:
    """One fact of each run, in words; a dash where a run lacks it."""

    name: str
    cells: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether two runs differ in it."""
        return len(set(self.cells)) > 1


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, each with a name of its own."""

    records: tuple[RunRecord, ...]
    names: tuple[str, ...]
    """What distinguishes each run, as in the report."""
    studies: tuple[Study, ...]
    """The runs as the report sees them, each in a group of its own."""
    differing: tuple[Line, ...]
    """Settings that change the computation and differ."""
    further: tuple[Line, ...]
    """Other settings that differ, by their dotted keys: output, evaluation, callbacks."""
    settings: tuple[Line, ...]
    """All settings, by their dotted keys."""
    results: tuple[Line, ...]
    circumstances: tuple[Line, ...]
    """Hardware, code and versions."""

    @classmethod
    def of(cls, runs: Sequence[Path]) -> Comparison:
        """The comparison of run directories.

        Raises:
            PartinrError: there are fewer than two runs, one is named twice, or one cannot be read.
        """
        directories = [RunDirectory.open(run) for run in runs]
        if len({each.path.resolve() for each in directories}) < max(2, len(runs)):
            raise PartinrError("a comparison needs different runs, and at least two; give RUN RUN")
        records = tuple(collect([each.path])[0] for each in directories)
        damaged = next((record for record in records if record.status == "damaged"), None)
        if damaged is not None:
            raise PartinrError(damaged.message or f"{damaged.path} is damaged")
        studies = tuple(_one_by_one(study.in_words()) for study in studies_of(records))
        called = {group.records[0]: group.label for study in studies for group in study.groups}
        found = columns([Listed.of(each, 0.0) for each in directories], brief=False)
        settings = tuple(_lines([_words(leaves(record.config)) for record in records]))
        keys = tuple(f"{column.key}." for column in found)
        # An imported run has no setting of partinr, which is no difference.
        own = [place for place, record in enumerate(records) if METHOD.path[0] not in record.config]
        further = (
            line
            for line in settings
            if len({line.cells[place] for place in own}) > 1 and not f"{line.name}.".startswith(keys)
        )
        known = {column.value: (column.title, column.form) for study in studies for column in columns_of(study)}
        return cls(
            records,
            tuple(called[record] for record in records),
            studies,
            tuple(_line(column.name, column.of) for column in found),
            tuple(further),
            settings,
            tuple(_lines([dict(_results(record, {**known, **_FORMS})) for record in records])),
            tuple(_lines([dict(_circumstances(record)) for record in records])),
        )

    @property
    def one_image(self) -> bool:
        """Whether all runs fit the same image."""
        return len({(study.section, group.image) for study in self.studies for group in study.groups}) == 1


def _one_by_one(study: Study) -> Study:
    """A study with a group for each run."""
    groups: list[Group] = []
    for group in study.groups:
        seeds = {record.seed for record in group.records}
        for record in group.records:
            words = [group.label, *([f"seed {record.seed}"] if len(seeds) > 1 else [])]
            words += [group.image] if len(study.images) > 1 else []
            label = " · ".join(words)
            groups.append(Group.of(label, label, group.image, [record], group.flat, (), False, group.leading))
    names = numbered([group.label for group in groups])
    named = [replace(group, label=name, name=name) for group, name in zip(groups, names, strict=True)]
    return replace(study, groups=tuple(named))


def _line(name: str, cells: Sequence[str | None]) -> Line:
    return Line(name, tuple(ABSENT if cell is None else cell for cell in cells))


def _lines(facts: Sequence[Mapping[str, str]]) -> Iterator[Line]:
    """A line for each fact that a run knows."""
    for name in dict.fromkeys(name for of_run in facts for name in of_run):
        yield _line(name, [of_run.get(name) for of_run in facts])


def _words(settings: Mapping[str, Any]) -> dict[str, str]:
    return {key: "null" if value is None else str(value) for key, value in settings.items()}


# -- facts of a run -------------------------------------------------------------------------------------------------

_FORMS = {
    "metrics.psnr": ("PSNR [dB]", "fixed:2"),
    "metrics.ssim": ("SSIM", "fixed:3"),
    "metrics.psnr_best": ("best PSNR [dB]", "fixed:2"),
    "parameters": ("parameters", "fixed:0"),
    "regions": ("regions", "fixed:0"),
    "steps": ("steps", "fixed:0"),
    "seconds.training": ("seconds of training", "significant"),
    "cpu_seconds.training": ("CPU seconds of training", "significant"),
    "macs": ("multiply-accumulates of training", "si"),
    "macs_per_pixel": ("multiply-accumulates per pixel", "si"),
    "peak_memory_bytes": ("peak memory [bytes]", "si"),
}
"""Numbers of every regime: their path, name and form."""


def _results(record: RunRecord, known: Mapping[str, tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The results of a run in words, with the name and form of those that a table knows."""
    yield "state", record.status
    metrics = record.at("metrics")
    for path in (*_FORMS, *(leaves(metrics, "metrics.") if isinstance(metrics, Mapping) else ())):
        usual = path.removeprefix("metrics."), "fixed:2" if "psnr" in path else "significant"
        name, form = known.get(path, usual)
        value = record.last("macs") if path == "macs" else record.number(path)
        if value is not None and not math.isnan(value):
            yield name, write(value, form) + (SIGN if path == "seconds.training" and record.shared else "")


def _circumstances(record: RunRecord) -> Iterator[tuple[str, str]]:
    versions = record.at("versions")
    facts = {
        "hardware": machine_of(record),
        "commit": commit_of(record),
        **(_words(versions) if isinstance(versions, Mapping) else {}),
        "started": str(record.at("started") or ""),
    }
    yield from ((name, fact) for name, fact in facts.items() if fact)
