"""Groups runs, names the groups, and chooses what to compare them with.

Runs that differ only in the seed form a :class:`Group`, named by its differences from the other groups. A group is
compared with the *lone network*: one region on the same image, with the same configuration except for partition and
width.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from partinr.base.rectangles import closest_to_cubes
from partinr.base.section import Section
from partinr.base.text import natural
from partinr.pictures.palette import Style, contrast_with, styles
from partinr.report.images import Images
from partinr.report.notices import not_counted, notices_of, states
from partinr.report.stats import Stat
from partinr.report.versus import Versus, measured
from partinr.runs.configs import (
    INIT_KEY,
    Flat,
    flat_value,
    flatten,
    observed,
    same_settings,
    without_data,
    without_image,
    without_partition,
    without_start,
)
from partinr.runs.layout import REPEATS
from partinr.runs.naming import Cut, expected_regions, labels, titles
from partinr.runs.origin import Origin, said, told_apart
from partinr.runs.records import RunRecord
from partinr.runs.regime_facts import section_at
from partinr.runs.subject import PSNR, Leading, Subject

# -- groups ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Group:
    """Runs on one image that differ only in the seed.

    Numbers are over ``counted``: the completed runs, one per seed. If no run has completed, they are over the
    unfinished runs that have a curve, and ``provisional`` is true.
    """

    label: str
    """Difference from the other groups of the same image; the same on every image."""
    name: str
    """``label``, with the image if there are several."""
    title: str
    """``label`` in a reader's words, for a paper: 3×3 grid instead of grid #9."""
    image: str
    records: tuple[RunRecord, ...]
    counted: tuple[RunRecord, ...]
    provisional: bool
    regions: int | None
    """Number of regions of the image; for runs of several images, the largest."""
    flat: Flat
    apart: tuple[str, ...] = ()
    """Contents of files and code that differ from groups with the same configuration, in words."""
    leading: Leading = PSNR
    """The metric by which the groups of the study are compared."""

    @classmethod
    def of(
        cls,
        label: str,
        title: str,
        image: str,
        records: Sequence[RunRecord],
        flat: Flat,
        apart: tuple[str, ...],
        named: bool,
        leading: Leading = PSNR,
    ) -> Group:
        """The group of ``records``. Of several runs with one seed the latest counts, and a check only by itself.

        Args:
            label: label of the configuration.
            title: its title.
            image: image of the runs.
            records: the runs.
            flat: configuration of the runs.
            apart: see :attr:`apart`.
            named: whether the image is part of the name.
            leading: see :attr:`leading`.
        """
        label, title = (" · ".join((text, *apart)) for text in (label, title))
        name = f"{image} · {label}" if named else label
        completed = [record for record in records if record.status == "completed"]
        # Failed and other runs are not mixed, since that would tell nothing about either.
        eligible = completed or [record for record in records if record.curve["step"]]
        latest: dict[Any, RunRecord] = {}
        for record in sorted(eligible, key=lambda record: (record.manifest.get(REPEATS) is None, _time(record))):
            latest[record.seed if record.seed is not None else record.path] = record
        kept = set(latest.values())
        counted = tuple(record for record in records if record in kept)
        regions = next((record.regions for record in records if record.regions is not None), None)
        return cls(label, name, title, image, tuple(records), counted, not completed, regions, flat, apart, leading)

    @property
    def n(self) -> int:
        """Number of seeds of the numbers."""
        return len(self.counted)

    @property
    def state(self) -> str:
        """Outcomes of the runs: ``completed``, or ``2 completed, 1 failed``."""
        found = {record.status for record in self.records}
        return found.pop() if len(found) == 1 else states(self.records)

    def stat(self, of: Callable[[RunRecord], float | None]) -> Stat:
        """Statistics of ``of`` over the counted runs."""
        return Stat.of([of(record) for record in self.counted])

    def median(self) -> RunRecord | None:
        """The run whose pictures represent the group: the median by the leading metric (the lower of two)."""

        def quality(record: RunRecord) -> float:
            return -math.inf if (value := record.final(self.leading.key)) is None else value

        ranked = sorted(self.counted, key=quality)
        return ranked[(len(ranked) - 1) // 2] if ranked else None

    @cached_property
    def seen(self) -> frozenset[Any]:
        """How the fits see their signal; the best numbers are those among fits that see the same."""
        return observed(self.flat)

    @property
    def learned_start(self) -> bool:
        """Whether these fits began with an initialisation that another run learned."""
        return flat_value(self.flat, INIT_KEY) is not None


def _time(record: RunRecord) -> str:
    """End (else start) of a run as ISO 8601 in UTC, which can be sorted; empty if unknown."""
    return str(record.manifest.get("finished") or record.manifest.get("started") or "")


def _parameters(group: Group) -> float | None:
    return group.stat(lambda record: record.number("parameters")).mean


# -- studies --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Study:
    """Runs of one section in groups.

    PSNR of fitted signals and of held-out signals belong to different sections, so they are never compared.
    """

    section: Section | None
    """The report section of the regime; None for runs that fit signals."""
    records: tuple[RunRecord, ...]
    images: tuple[str, ...]
    """Names of the images, in the order of the runs."""
    groups: tuple[Group, ...]
    """Groups sorted by image, then by number of regions."""
    notices: tuple[str, ...]
    """Notices for readers who compare."""
    subject: Subject = field(default_factory=Subject)
    """What the signals are called, and by which metric fits are compared."""

    @classmethod
    def of(cls, records: Sequence[RunRecord], section: str | None = None) -> Study:
        """The groups of those ``records`` that belong to a section. Damaged runs are in no group."""
        records = [record for record in records if record.regime.section == section]
        usable = [record for record in records if record.status != "damaged"]
        shown, missing = (None, []) if section is None else _section(section, records)
        subject = Subject.common(record.subject for record in usable) if shown is None else Subject(shown.signals)
        found_images = Images.among(usable)
        images = found_images.of
        # Images with something to compare come first, since the page opens on them.
        completed = [images[record] for record in usable if record.status == "completed"]
        image_order = list(dict.fromkeys([*completed, *images.values()]))
        settings = [without_image(flatten(record.config, record.seed)) for record in usable]
        flats = without_data(settings, [images[record] for record in usable])
        kinds: dict[frozenset[Any], list[int]] = {}
        for index, flat in enumerate(flats):
            kinds.setdefault(same_settings(flat), []).append(index)
        members = list(kinds.values())
        counts = [
            {regions for index in of_kind if (regions := usable[index].regions) is not None} for of_kind in members
        ]
        own = [flats[of_kind[0]] for of_kind in members]
        cuts = [set[Cut]().union(*(cuts_of(usable[index]) for index in of_kind)) for of_kind in members]
        asked = [[usable[index].overrides for index in of_kind] for of_kind in members]
        named = labels(own, counts, shown, asked), titles(own, counts, cuts, shown, asked)
        found = list(zip(*named, strict=True)) if members else []
        few: dict[int, float] = {}
        groups: list[Group] = []
        differ: Counter[str] = Counter()
        for (label, title), counted, of_kind in zip(found, counts, members, strict=True):
            flat, several = flats[of_kind[0]], len(image_order) > 1
            few[id(flat)] = min(counted) if counted else expected_regions(flat)
            alike = [usable[index] for index in of_kind]
            told = told_apart([Origin(each.manifest, each.config) for each in alike], [images[each] for each in alike])
            placed: dict[tuple[str, tuple[str, ...]], list[RunRecord]] = {}
            for record, words in zip(alike, told.words, strict=True):
                placed.setdefault((images[record], words), []).append(record)
            groups += [
                Group.of(label, title, image, alike, flat, words, several, subject.leading)
                for (image, words), alike in placed.items()
            ]
            if told.keys:
                differ[said(told.keys)] += sum(1 for _, words in placed if words)
        groups.sort(key=lambda group: (image_order.index(group.image), few[id(group.flat)], natural(group.label)))
        notices = notices_of(record for group in groups for record in group.counted)
        apart = [f"{count} groups differ only in {what}." for what, count in differ.items()]
        notices = [*missing, *apart, *found_images.notices, *notices, *not_counted(repeated(groups))]
        return cls(shown, tuple(records), tuple(image_order), tuple(groups), tuple(notices), subject)

    @property
    def labels(self) -> list[str]:
        """The distinct labels of the groups, fewest regions first."""
        few: dict[str, float] = {}
        for group in self.groups:
            regions = expected_regions(group.flat) if group.regions is None else group.regions
            few[group.label] = min(few.get(group.label, math.inf), regions)
        return sorted(few, key=lambda label: (few[label], natural(label)))

    @property
    def styles(self) -> dict[str, Style]:
        """Styles of the groups, by label."""
        return styles(self.labels, self.contrast)

    @property
    def contrast(self) -> str | None:
        """The label of the lone network, to compare the others with; None if there is none, or more than one."""
        return contrast_with(self.labels, {group.label: group.regions for group in self.groups})

    @property
    def timed(self) -> bool:
        """Whether a run knows its CPU seconds."""
        return any(record.timed for record in self.records)

    @property
    def table(self) -> list[Mapping[str, Any]]:
        """The distinct columns that the runs name in ``run.json``, by span, with numbered ones in order."""
        columns = {column["key"]: column for record in self.records for column in record.regime.table}
        spans = list(dict.fromkeys(column.get("span", "") for column in columns.values()))

        def place(column: Mapping[str, Any]) -> tuple[int, int]:
            heading = column["heading"]
            return spans.index(column.get("span", "")), int(heading) if heading.isdecimal() else 0

        return sorted(columns.values(), key=place)

    def in_words(self) -> Study:
        """The same study with titles for labels, for a page: 3×3 grid instead of grid #9."""
        several = len(self.images) > 1
        named = [
            replace(group, label=group.title, name=f"{group.image} · {group.title}" if several else group.title)
            for group in self.groups
        ]
        return replace(self, groups=tuple(named))

    def arranged(self, titles: Mapping[str, str], order: Sequence[str]) -> Study:
        """The same study with other titles, and with groups in another order on each image.

        Args:
            titles: new titles, by label.
            order: labels of the groups that come first.
        """
        places = {label: place for place, label in enumerate(order)}
        groups = [replace(group, title=titles.get(group.label, group.title)) for group in self.groups]
        groups.sort(key=lambda group: (self.images.index(group.image), places.get(group.label, len(places))))
        return replace(self, groups=tuple(groups))

    def on(self, image: str) -> list[Group]:
        """The groups of one image."""
        return [group for group in self.groups if group.image == image]

    def versus(self, group: Group) -> Versus | None:
        """The comparison of ``group`` with the lone network of its image that is nearest in parameters."""
        if self.section is not None:
            return None
        mine = without_partition(group.flat)
        alike = [other for other in self.on(group.image) if without_partition(other.flat) == mine]
        lones = [other for other in alike if other.regions == 1 and other.counted and not other.provisional]
        # Without a partition there is nothing to compare.
        if not lones or not group.counted or all(other.regions == 1 for other in alike):
            return None

        def distance(other: Group) -> tuple[bool, float]:
            sizes = _parameters(other), _parameters(group)
            far = abs(math.log(sizes[0] / sizes[1])) if sizes[0] and sizes[1] else math.inf
            return other.apart != group.apart, far

        # The lone network is compared with itself.
        return measured(group, group if group in lones else min(lones, key=distance))

    def versus_random(self, group: Group) -> Versus | None:
        """The comparison of ``group``, a fit from a learned start, with the same fit from a random start."""
        if not group.learned_start or not group.counted:
            return None
        mine = without_start(group.flat)
        alike = (other for other in self.on(group.image) if without_start(other.flat) == mine)
        usable = (other for other in alike if not other.learned_start and other.counted and not other.provisional)
        other = min(usable, key=lambda other: other.apart != group.apart, default=None)
        return None if other is None else measured(group, other)


def repeated(groups: Iterable[Group]) -> list[RunRecord]:
    """Completed runs that do not count, because another run of their group has the same seed."""
    return [
        record
        for group in groups
        for record in group.records
        if record.status == "completed" and record not in group.counted
    ]


def cuts_of(record: RunRecord) -> set[Cut]:
    """Boxes along each axis that a grid has on the signals of a run; none where a shape is unknown."""
    given = record.at("config.partition.shape") or [record.at(f"config.partition.{axis}") for axis in ("rows", "cols")]
    if all(isinstance(count, int) for count in given):
        return {tuple(given)}
    images = record.images.values() or [{"shape": record.at("signal.shape"), "regions": record.regions}]
    found: set[Cut] = set()
    for image in images:
        shape, regions = _grid(image.get("shape")), image.get("regions")
        cut = closest_to_cubes(regions, shape) if isinstance(regions, int) and shape else None
        if cut is None:
            return set()
        found.add(cut)
    return found


def _grid(shape: Any) -> Sequence[int] | None:
    """The grid of a signal ``[*grid, C]`` of two or three axes; None if the shape is another."""
    whole = isinstance(shape, Sequence) and len(shape) > 2 and all(isinstance(length, int) for length in shape)
    return shape[:-1] if whole else None


def studies_of(records: Sequence[RunRecord]) -> list[Study]:
    """All studies: the fits (possibly none), then the runs of each section that occurs."""
    sections = dict.fromkeys([None, *(record.regime.section for record in records)])
    return [Study.of(records, section) for section in sections]


def _section(path: str, records: Sequence[RunRecord]) -> tuple[Section, list[str]]:
    """The section at a path, and notices about it; a plain section if it cannot be imported."""
    try:
        return section_at(path)(), []
    except ImportError as error:
        kind = records[0].regime.kind if records else path
        plain = type("PlainSection", (Section,), {"kind": kind, "title": kind, "key": f"other-{kind}"})()
        reason = " ".join(str(error).split())
        return plain, [
            f"{kind}: this regime's part of the report cannot be loaded ({reason}); its runs are shown without."
        ]
