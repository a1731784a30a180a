"""Which runs belong together, what they are called, and what they are compared with.

Runs that differ in nothing but the seed are one :class:`Group`. A group is named by what differs between the groups at
hand and by nothing else. Its measure is the *lone network*: one region, the same image, the same configuration but for
the partition and the width.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from partinr.report.naming import (
    IMAGE_KEYS,
    INIT_KEY,
    Flat,
    expected_regions,
    flat_value,
    flatten,
    frozen,
    identity,
    labels,
    natural,
    numbered,
    without_image,
    without_partition,
    without_start,
)
from partinr.runs.directory import Learned
from partinr.runs.records import Axis, RunRecord

STATE_ORDER = ("completed", "running", "queued", "interrupted", "failed", "damaged")
"""In which order it is said how many runs are in which state."""


def states(records: Sequence[RunRecord]) -> str:
    """How runs stand: 312 completed, 40 running, 148 queued."""
    count: Counter[str] = Counter(record.status for record in records)
    return ", ".join(f"{count[status]} {status}" for status in STATE_ORDER if count[status])


# -- numbers over seeds ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stat:
    """One number over the seeds of a group.

    ``mean`` is None unless every seed has the number, so a mean never leaves out the seeds that did badly. ``std`` is
    the sample standard deviation, None for one seed.
    """

    mean: float | None
    std: float | None
    have: int
    n: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Stat:
        """Mean and deviation of one value a seed; None and NaN stand for a seed without it."""
        numbers = [value for value in values if value is not None and not math.isnan(value)]
        if not numbers or len(numbers) < len(values):
            return cls(None, None, len(numbers), len(values))
        spread = len(numbers) >= 2 and all(map(math.isfinite, numbers))
        std = float(np.std(numbers, ddof=1)) if spread else None
        return cls(float(np.mean(numbers)), std, len(numbers), len(values))


# -- images ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Image:
    """What tells one image from another. Two names of the same values are one image.

    The images of a run for several are one, too, and so are the held-out signals of a run that learned to learn.
    """

    sha256: str
    shape: tuple[Any, ...]
    name: str = field(compare=False)

    @classmethod
    def of(cls, record: RunRecord) -> _Image | None:
        """The image of a run; None if it ended before it had read one."""
        signal = record.manifest.get("signal")
        if not isinstance(signal, Mapping):
            return None
        shape, count = signal.get("shape"), signal.get("images")
        name = str(signal.get("name") or "image")
        if isinstance(count, int):
            name += f", {count} image{'s' * (count != 1)}"
        held_out = signal.get("held_out")
        if record.learns == "initialisation" and isinstance(held_out, int):
            # Signals that are many have no values to be known by; what was asked for says which they are.
            name += f", {held_out} held out"
            return cls(f"{_image_choice(record)} {held_out}", frozen(shape) if isinstance(shape, list) else (), name)
        return cls(str(signal.get("sha256") or f"named {name}"), frozen(shape) if isinstance(shape, list) else (), name)


def _image_choice(record: RunRecord) -> tuple[Any, ...]:
    """What the config says of the image."""
    data = record.config.get("data")
    data = data if isinstance(data, Mapping) else {}
    return tuple(str(data.get(key)) for _, key in sorted(IMAGE_KEYS))


def _image_labels(images: Sequence[_Image]) -> list[str]:
    """Names of images, no two alike: the image's name; its size as well where two have the same name."""
    count = Counter(image.name for image in images)
    sized = [
        f"{image.name} {'×'.join(map(str, image.shape[:2]))}".strip() if count[image.name] > 1 else image.name
        for image in images
    ]
    count = Counter(sized)
    return numbered(
        [f"{name} {image.sha256[:6]}" if count[name] > 1 else name for name, image in zip(sized, images, strict=True)]
    )


# -- groups ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Group:
    """Runs on one image that differ in nothing but the seed.

    Numbers are over ``counted``: the completed runs, one a seed. Where none has completed they are the unfinished runs
    that have a curve, and ``provisional`` says so.
    """

    label: str
    """What tells it from the other groups of the same image; the same on every image."""
    name: str
    """``label``, with the image where there are several."""
    image: str
    records: tuple[RunRecord, ...]
    counted: tuple[RunRecord, ...]
    provisional: bool
    regions: int | None
    """Of the image; where a run is for several, of the one that has most."""
    flat: Flat

    @property
    def n(self) -> int:
        """How many seeds the numbers are over."""
        return len(self.counted)

    @property
    def state(self) -> str:
        """How the runs ended: ``completed``, or ``2 completed, 1 failed``."""
        found = {record.status for record in self.records}
        return found.pop() if len(found) == 1 else states(self.records)

    def stat(self, of: Callable[[RunRecord], float | None]) -> Stat:
        """``of`` each counted run, over the seeds."""
        return Stat.of([of(record) for record in self.counted])

    def median(self) -> RunRecord | None:
        """The run whose pictures stand for the group: the median by final PSNR (the lower of two)."""
        ranked = sorted(self.counted, key=lambda record: -math.inf if (psnr := record.final("psnr")) is None else psnr)
        return ranked[(len(ranked) - 1) // 2] if ranked else None

    def mean_curve(self) -> MeanCurve:
        """The curves of the counted runs as one."""
        return MeanCurve.of(self.counted)

    def inner_curve(self) -> InnerCurve:
        """PSNR against inner steps, of the counted runs that learned an initialisation."""
        return InnerCurve.of(self.counted)

    @property
    def learned_start(self) -> bool:
        """Whether these are fits that began with what another run learned."""
        return flat_value(self.flat, INIT_KEY) is not None

    @property
    def inner_steps(self) -> int | None:
        """K, the inner steps of learning to learn; None for ordinary fits."""
        return self.records[0].inner_steps


@dataclass(frozen=True)
class MeanCurve:
    """PSNR over the seeds of a group: at every evaluated step up to the end of the shortest run.

    Runs of one schedule are evaluated at the same steps; where one lacks a step (it stopped at its target) its value
    there is interpolated. ``seconds`` and ``macs`` are means at the step.
    """

    step: NDArray[np.float64]
    seconds: NDArray[np.float64]
    macs: NDArray[np.float64]
    psnr: NDArray[np.float64]
    std: NDArray[np.float64] | None
    """Sample standard deviation of ``psnr`` [dB]; None for one seed."""

    @classmethod
    def of(cls, records: Sequence[RunRecord]) -> MeanCurve:
        """Mean of the finite evaluations of ``records``; empty if one of them has none."""
        curves = []
        for record in records:
            finite = np.isfinite(record.curve["psnr"])
            curves.append({name: record.curve[name][finite] for name in ("step", "seconds", "macs", "psnr")})
        if not curves or any(not curve["step"].size for curve in curves):
            empty = np.empty(0)
            return cls(empty, empty, empty, empty, None)
        first = max(curve["step"][0] for curve in curves)
        last = min(curve["step"][-1] for curve in curves)
        steps = np.unique(np.concatenate([curve["step"] for curve in curves]))
        steps = steps[(steps >= first) & (steps <= last)]

        def over_seeds(name: str) -> NDArray[np.float64]:
            return np.stack([np.interp(steps, curve["step"], curve[name]) for curve in curves])

        psnr = over_seeds("psnr")
        std = psnr.std(axis=0, ddof=1) if len(curves) >= 2 else None
        return cls(steps, over_seeds("seconds").mean(0), over_seeds("macs").mean(0), psnr.mean(0), std)

    def on(self, axis: Axis) -> NDArray[np.float64]:
        """The x of the curve."""
        return {"step": self.step, "seconds": self.seconds, "macs": self.macs}[axis]


@dataclass(frozen=True)
class InnerCurve:
    """PSNR at the end of training after 0, 1, … inner steps, over the seeds of a group."""

    psnr: NDArray[np.float64]
    std: NDArray[np.float64] | None
    """Sample standard deviation of ``psnr`` [dB]; None for one seed."""

    @classmethod
    def of(cls, records: Sequence[RunRecord]) -> InnerCurve:
        """Mean up to the fewest steps that one of ``records`` has; empty if one of them has none."""
        found = [record.psnr_by_inner_step for record in records]
        shortest = min(map(len, found), default=0)
        if not shortest:
            return cls(np.empty(0), None)
        psnr = np.array([values[:shortest] for values in found])
        return cls(psnr.mean(axis=0), psnr.std(axis=0, ddof=1) if len(found) >= 2 else None)


@dataclass(frozen=True)
class Versus:
    """A group against the lone network: what it takes to reach the PSNR at which the lone network ended.

    Another measure may stand in its place: for a fit from a learned start, the same fit from a random one.

    Seed by seed where both have the seed, else against the mean over the lone network's seeds. The lone network's own
    effort is where *it* first reached that PSNR, which is before its end if its curve fell back.
    """

    lone: Group
    level: float
    """Final PSNR of the lone network, mean over its seeds [dB]."""
    parameters: float | None
    """Parameters of the lone network over those of the group; None if unknown."""
    effort: Mapping[Axis, Stat]
    """Steps, seconds and multiply-accumulates to that PSNR."""
    ratio: Mapping[Axis, Stat]
    """The lone network's effort over the group's: 2 is half the effort."""
    ratio_with_partition: Stat
    """The same of the seconds with those that the partition rules took."""
    gain: Stat
    """Final PSNR minus the lone network's [dB]."""


_AXES: tuple[Axis, ...] = ("step", "seconds", "macs")


def measured(group: Group, lone: Group) -> Versus | None:
    """``group`` against ``lone``; None where a seed of ``lone`` has no final PSNR."""
    ends = {record.seed: (record.last("psnr"), record) for record in lone.counted}
    levels = {seed: level for seed, (level, _) in ends.items() if level is not None and math.isfinite(level)}
    if not levels or len(levels) < len(ends):
        return None
    mean_level = float(np.mean(list(levels.values())))
    own = {(seed, axis): ends[seed][1].reaches(levels[seed], axis) for seed in levels for axis in _AXES}

    def effort(record: RunRecord, axis: Axis) -> float | None:
        return record.reaches(levels.get(record.seed, mean_level), axis)

    def ratio(record: RunRecord, axis: Axis) -> float | None:
        needed = effort(record, axis)
        lones = [own[seed, axis] for seed in ([record.seed] if record.seed in levels else levels)]
        known = [value for value in lones if value is not None]
        return float(np.mean(known)) / needed if needed and known else None

    def with_partition(record: RunRecord) -> float | None:
        needed = _sum(effort(record, "seconds"), record.number("seconds", "partition"))
        seeds = [record.seed] if record.seed in levels else list(levels)
        lones = [_sum(own[seed, "seconds"], ends[seed][1].number("seconds", "partition")) for seed in seeds]
        known = [value for value in lones if value is not None]
        return float(np.mean(known)) / needed if needed and known else None

    def gain(record: RunRecord) -> float | None:
        end = record.last("psnr")
        return None if end is None else end - levels.get(record.seed, mean_level)

    sizes = [g.stat(lambda record: record.number("parameters")).mean for g in (lone, group)]
    return Versus(
        lone=lone,
        level=mean_level,
        parameters=sizes[0] / sizes[1] if sizes[0] and sizes[1] else None,
        effort={axis: group.stat(partial(effort, axis=axis)) for axis in _AXES},
        ratio={axis: group.stat(partial(ratio, axis=axis)) for axis in _AXES},
        ratio_with_partition=group.stat(with_partition),
        gain=group.stat(gain),
    )


def _sum(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


@dataclass(frozen=True)
class Study:
    """Runs in their groups, ready to be shown.

    All of them have learned the same: PSNR of fitted signals and PSNR of held-out ones are never in one comparison.
    """

    learns: Learned
    records: tuple[RunRecord, ...]
    images: tuple[str, ...]
    """Names of the images, in the order of the runs."""
    groups: tuple[Group, ...]
    """By image, then by number of regions."""
    notices: tuple[str, ...]
    """What a reader must know before comparing."""

    @classmethod
    def of(cls, records: Sequence[RunRecord], learns: Learned = "signals") -> Study:
        """Sort those of ``records`` into groups that learned ``learns``. Damaged runs are in no group."""
        records = [record for record in records if record.learns == learns]
        usable = [record for record in records if record.status != "damaged"]
        images = _assign_images(usable)
        # Images with something to compare come first: the page opens on them.
        completed = [images[record] for record in usable if record.status == "completed"]
        image_order = list(dict.fromkeys([*completed, *images.values()]))
        flats = [without_image(flatten(record.config, record.seed)) for record in usable]
        kinds: dict[frozenset[Any], list[int]] = {}
        for index, flat in enumerate(flats):
            kinds.setdefault(frozenset((key, identity(value)) for key, value in flat.items()), []).append(index)
        members = list(kinds.values())
        counts = [
            {regions for index in of_kind if (regions := usable[index].regions) is not None} for of_kind in members
        ]
        found = labels([flats[of_kind[0]] for of_kind in members], counts) if members else []
        groups = []
        for label, of_kind in zip(found, members, strict=True):
            for image in image_order:
                chosen = [usable[index] for index in of_kind if images[usable[index]] == image]
                if chosen:
                    name = f"{image} · {label}" if len(image_order) > 1 else label
                    groups.append(_group(label, name, image, chosen, flats[of_kind[0]]))
        few = {
            label: min(counted) if counted else expected_regions(flats[of_kind[0]])
            for label, counted, of_kind in zip(found, counts, members, strict=True)
        }
        groups.sort(key=lambda group: (image_order.index(group.image), few[group.label], natural(group.label)))
        return cls(learns, tuple(records), tuple(image_order), tuple(groups), tuple(_notices(groups, records)))

    @property
    def labels(self) -> list[str]:
        """The groups' labels, each once, fewest regions first."""
        few: dict[str, float] = {}
        for group in self.groups:
            regions = expected_regions(group.flat) if group.regions is None else group.regions
            few[group.label] = min(few.get(group.label, math.inf), regions)
        return sorted(few, key=lambda label: (few[label], natural(label)))

    def on(self, image: str) -> list[Group]:
        """The groups of one image."""
        return [group for group in self.groups if group.image == image]

    def unfinished(self) -> list[RunRecord]:
        """Runs that have not completed, whatever the reason."""
        return [record for record in self.records if record.status != "completed"]

    def repeated(self) -> list[RunRecord]:
        """Completed runs that are not counted, as a later run of their group has the same seed."""
        return [
            record
            for group in self.groups
            for record in group.records
            if record.status == "completed" and record not in group.counted
        ]

    def versus(self, group: Group) -> Versus | None:
        """``group`` against the lone network of its image, the nearest in parameters if there are several."""
        if self.learns == "initialisation":
            return None
        mine = without_partition(group.flat)
        alike = [other for other in self.on(group.image) if without_partition(other.flat) == mine]
        lones = [other for other in alike if other.regions == 1 and other.counted and not other.provisional]
        # Without a partition among them there is nothing to measure.
        if not lones or not group.counted or all(other.regions == 1 for other in alike):
            return None

        def distance(other: Group) -> float:
            sizes = [g.stat(lambda record: record.number("parameters")).mean for g in (other, group)]
            return abs(math.log(sizes[0] / sizes[1])) if sizes[0] and sizes[1] else math.inf

        # The group itself is its own measure.
        return measured(group, group if group in lones else min(lones, key=distance))

    def versus_random(self, group: Group) -> Versus | None:
        """``group``, which began with what another run learned, against the same fit from a random start."""
        if not group.learned_start or not group.counted:
            return None
        mine = without_start(group.flat)
        for other in self.on(group.image):
            if (
                not other.learned_start
                and without_start(other.flat) == mine
                and other.counted
                and not other.provisional
            ):
                return measured(group, other)
        return None


def _assign_images(records: Sequence[RunRecord]) -> dict[RunRecord, str]:
    """The image of each run.

    A run that ended before it had read its image belongs to the image that other runs got from the same choice.
    """
    known = {record: image for record in records if (image := _Image.of(record))}
    by_choice = {_image_choice(record): image for record, image in known.items()}
    images = {
        record: known.get(record) or by_choice.get(_image_choice(record)) or _unread(record) for record in records
    }
    distinct = list(dict.fromkeys(images.values()))
    named = dict(zip(distinct, _image_labels(distinct), strict=True))
    return {record: named[image] for record, image in images.items()}


def _unread(record: RunRecord) -> _Image:
    """The image of a run that never got to it, by what the config says."""
    data = record.config.get("data")
    chosen = (data.get("name") or data.get("path")) if isinstance(data, Mapping) else None
    name = PurePath(str(chosen)).stem if chosen else "unknown image"
    return _Image(f"unread {_image_choice(record)}", (), name)


def _group(label: str, name: str, image: str, records: Sequence[RunRecord], flat: Flat) -> Group:
    completed = [record for record in records if record.status == "completed"]
    # Mixing the runs that ended badly with the others would say something of neither.
    eligible = completed or [record for record in records if record.curve["step"].size]
    latest: dict[Any, RunRecord] = {}
    for record in sorted(eligible, key=_time):
        latest[record.seed if record.seed is not None else record.path] = record
    counted = [record for record in records if any(record is kept for kept in latest.values())]
    regions = next((record.regions for record in records if record.regions is not None), None)
    return Group(label, name, image, tuple(records), tuple(counted), not completed, regions, flat)


def _time(record: RunRecord) -> str:
    """When a run ended, else began, as ISO 8601 in UTC, which sorts; empty if unknown."""
    return str(record.manifest.get("finished") or record.manifest.get("started") or "")


def _notices(groups: Iterable[Group], records: Iterable[RunRecord]) -> list[str]:
    """What makes a comparison doubtful although every number is right."""
    counted = [record for group in groups for record in group.counted]
    notices = []
    machines = dict.fromkeys(machine for record in counted if (machine := machine_of(record)))
    if len(machines) > 1:
        notices.append(
            f"The runs come from {len(machines)} machines or settings of them ({'; '.join(machines)}): "
            "compare their steps, not their seconds."
        )
    for notice in dict.fromkeys(notice for record in counted if (notice := _partition_notice(record))):
        notices.append(notice)
    commits = dict.fromkeys(commit for record in counted if (commit := commit_of(record)))
    if len(commits) > 1:
        notices.append(f"The runs come from {len(commits)} states of the code: {', '.join(commits)}.")
    return notices


def _partition_notice(record: RunRecord) -> str | None:
    """What a run has to say of its partition, as a sentence; None for nothing."""
    partition, signal = record.manifest.get("partition"), record.manifest.get("signal")
    notice = partition.get("notice") if isinstance(partition, Mapping) else None
    image = signal.get("name") if isinstance(signal, Mapping) else None
    return f"{image or 'An image'}: {notice}." if notice else None


def machine_of(record: RunRecord) -> str:
    """The hardware of a run in a few words, empty if unknown."""
    hardware = record.manifest.get("hardware")
    if not isinstance(hardware, Mapping):
        return ""
    name = hardware.get("gpu") or hardware.get("cpu") or hardware.get("device")
    threads = hardware.get("threads")
    times = f"{devices} × " if (devices := devices_of(record)) > 1 else ""
    if not threads or hardware.get("gpu"):
        return f"{times}{name or ''}"
    return f"{name}, {times}{threads} thread{'s' if threads != 1 else ''}"


def devices_of(record: RunRecord) -> int:
    """How many devices a run was trained on; 1 if unknown."""
    hardware = record.manifest.get("hardware")
    devices = hardware.get("devices") if isinstance(hardware, Mapping) else None
    return devices if isinstance(devices, int) else 1


def commit_of(record: RunRecord) -> str:
    """The commit of a run, ``+`` if the tree had changes; empty if unknown."""
    git = record.manifest.get("git")
    if not isinstance(git, Mapping) or not git.get("commit"):
        return ""
    return str(git["commit"])[:10] + ("+" if git.get("dirty") else "")
