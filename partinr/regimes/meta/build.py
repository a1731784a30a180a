"""Builds the module and the tasks of learning to learn from the configuration of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partinr.base.digests import of_text
from partinr.base.errors import PartinrError
from partinr.coords import Frame
from partinr.partition import Grid, PartitionRule, Whole
from partinr.regimes.base import RunContext, without_places
from partinr.regimes.meta.learned import INNER, LearnedStart
from partinr.regimes.meta.loading import Task, TaskDataModule, check_ranks
from partinr.regimes.meta.module import MetaModule
from partinr.regimes.meta.prepare import prepare_partitions
from partinr.regimes.meta.tasks import TaskBatch
from partinr.signals import Item
from partinr.signals.identity import SignalIdentity, file_sha256, identity_facts, no_means
from partinr.signals.kind import SignalKind
from partinr.signals.kinds import default_kind
from partinr.training.facts import partition_notice

if TYPE_CHECKING:
    from partinr.regimes.meta.settings import MetaSettings

READ_FIRST = 2000
"""Number of training files that are read before training, to find errors early."""


def batched(frame: Frame, tasks: Sequence[Task]) -> TaskBatch:
    """Collate tasks into one batch, in the process that loads them.

    Args:
        frame: frame of the coordinates.
        tasks: one or more.

    Raises:
        PartinrError: they have different numbers of channels.
    """
    for task in tasks:
        _check_channels(tasks[0], task)
    return TaskBatch.of(
        [task.signal for task in tasks],
        [task.partition for task in tasks],
        frame,
        [task.name for task in tasks],
        [task.index for task in tasks],
    )


def meta_module(settings: MetaSettings, context: RunContext) -> MetaModule:
    """The module of learning to learn, with its tasks.

    Raises:
        PartinrError: settings contradict each other, or a signal cannot be read or partitioned.
    """
    _check(settings, context)
    tasks = _tasks(settings, context)
    _read_first(tasks)
    validation: list[TaskBatch] = list(tasks.val_batches())
    _check_cells(context.partition, settings, validation)
    regions = max(count for batch in validation for count in batch.regions)
    first = validation[0]
    in_features, channels = first.coords.shape[1], first.targets.shape[1]
    start = LearnedStart(
        # The budget covers everything that represents a signal: the networks of all regions.
        context.backbone.sized(regions, in_features, channels),
        cells=regions if settings.initialisation == "region" else 1,
        in_features=in_features,
        channels=channels,
        frame=context.frame,
        engine=context.engine,
        seed=context.seed,
        **{name: getattr(settings, name) for name in INNER},
    )
    identities, kind = _identities(tasks, context)
    kind = kind or default_kind(in_features)
    return MetaModule(
        start,
        validation,
        settings=settings,
        facts=_facts(start, validation, regions, tasks, identities, _notice(tasks, context), kind),
        data=tasks,
        about={group: without_places(context.plain[group]) for group in ("data", "partition")},
        identities=identities,
        kind=kind,
        cache_dir=context.cache_dir,
        **context.training(),
    )


def _tasks(settings: MetaSettings, context: RunContext) -> TaskDataModule:
    """The training tasks and the held-out tasks, with their partitions.

    Raises:
        PartinrError: no signals are held out, or a signal cannot be read or partitioned.
    """
    train, held_out = context.data.train(), context.data.val()
    if not held_out:
        raise PartinrError(
            "regime=meta is judged on signals that it has not seen; hold some out, such as with data.val_fraction=0.1"
        )
    val = _some(held_out, settings.validation_tasks)
    check_ranks(settings.meta_batch_size, context.devices)
    train_rule = context.partition if settings.partition_in == "both" else None
    val_rule = None if settings.partition_in == "neither" else context.partition
    for items, own in ((train, train_rule), (val, val_rule)):
        prepared = prepare_partitions(items, own, context.cache)
        if prepared.made or prepared.fewer:
            context.note(str(prepared))
    return TaskDataModule(
        train,
        val,
        train_rule=train_rule,
        val_rule=val_rule,
        meta_batch_size=settings.meta_batch_size,
        seed=context.seed,
        workers=settings.workers,
        collate=partial(batched, context.frame),
        cache=context.cache,
    )


def _check(settings: MetaSettings, context: RunContext) -> None:
    """Check that the groups of the configuration are compatible.

    Raises:
        PartinrError: they are not.
    """
    if context.data.alone:
        raise PartinrError(
            "regime=meta learns from many signals, and this data is one; choose data=folder, data=text or data=lsun"
        )
    if not context.start.random:
        raise PartinrError("init begins an ordinary fit, regime=fit; to continue a regime=meta: partinr resume RUN_DIR")
    rule = context.partition
    if isinstance(rule, Whole) and settings.partition_in == "test":
        raise PartinrError(
            "regime.partition_in=test with partition=none: there is nothing to copy the one initialisation to; "
            "choose partition=grid or semantic, or regime.partition_in=neither"
        )
    if getattr(rule, "regions", None) == "auto":
        raise PartinrError("partition.regions=auto is for one image; with regime=meta give a number")
    if settings.initialisation == "region" and not isinstance(rule, Grid):
        raise PartinrError(
            "regime.initialisation=region needs regions that mean the same in every signal; "
            "choose partition=grid, or regime.initialisation=shared"
        )
    if context.capacity != "equal":
        raise PartinrError(
            f"capacity={context.capacity}: an initialisation has one width, so regions cannot have several; "
            "leave capacity=equal"
        )
    if context.precision == "16-mixed":
        raise PartinrError(
            "trainer.precision=16-mixed scales the outer loss, not the inner ones, whose gradients would vanish; "
            "choose bf16-mixed or 32-true"
        )


def _check_channels(first: Task, other: Task) -> None:
    """Check that two tasks can be in one batch.

    Raises:
        PartinrError: they have different numbers of channels.
    """
    counts = first.signal.shape[-1], other.signal.shape[-1]
    if counts[0] != counts[1]:
        raise PartinrError(
            f"all signals need the same channels, but {first.name} has {counts[0]} and {other.name} has {counts[1]}; "
            "leave some out, or convert images: data.channels=grey or rgb"
        )


def _read_first(tasks: TaskDataModule) -> None:
    """Read and partition the first training files, or one generated signal, which stands for all.

    Raises:
        PartinrError: a file cannot be read, or a signal cannot be partitioned.
    """
    learned_from = tasks.train_tasks
    first = learned_from[0]
    for index in range(1, min(len(learned_from), READ_FIRST)):
        if learned_from.items[index].source is None:
            break
        _check_channels(first, learned_from[index])


def _check_cells(rule: PartitionRule, settings: MetaSettings, validation: Sequence[TaskBatch]) -> None:
    """Check that each grid region is at the same place in every signal, if regions have their own initialisations.

    Raises:
        PartinrError: signals of different shapes might be cut into different rows and columns.
    """
    shapes = sorted({shape for batch in validation for shape in batch.shapes})
    if settings.initialisation == "region" and isinstance(rule, Grid) and rule.counts is None and len(shapes) > 1:
        said = " and ".join("×".join(map(str, shape)) for shape in (shapes[0], shapes[-1]))
        raise PartinrError(
            f"regime.initialisation=region with signals of {said}: a number of regions may be other rows and columns "
            "in each; give partition.rows and partition.cols, or data.size"
        )


def _some(items: Sequence[Item], count: int | None) -> Sequence[Item]:
    """``count`` of the items, evenly spread."""
    if count is None or count >= len(items):
        return items
    return [items[number * len(items) // count] for number in range(count)]


def _identities(tasks: TaskDataModule, context: RunContext) -> tuple[dict[str, SignalIdentity], SignalKind | None]:
    """What the held-out signals are, and, under an empty name, all that is learned from: these by their files alone.

    The second is the kind of the first held-out signal.
    """
    learned_from = tasks.train_tasks.items
    sources = [item.source for item in learned_from]
    files = dict.fromkeys(source.path for source in sources if source is not None and source.path is not None)
    names = [[item.name for item in items] for items in (learned_from, context.data.val())]
    about = [without_places(context.plain["data"]), *names]
    digest = of_text(json.dumps([*about, [file_sha256(Path(path)) for path in files]], default=str))
    whole = SignalIdentity(context.data.title, digest, no_means(), digest if files else None)
    found, kind = {"": whole}, None
    for item in tasks.val_tasks.items:
        _, found[item.name], own, *_ = context.read(item)
        kind = kind or own
    return found, kind


def _notice(tasks: TaskDataModule, context: RunContext) -> str | None:
    """What is to be noticed of the partitions of held-out signals; printed unless :func:`_tasks` has done so."""
    held_out = [tasks.val_tasks[index] for index in range(len(tasks.val_tasks))]
    notice = partition_notice([task.name for task in held_out], [task.partition for task in held_out])
    if notice is not None and not context.partition.cached:
        context.note(notice)
    return notice


def _facts(
    start: LearnedStart,
    validation: Sequence[TaskBatch],
    regions: int,
    tasks: TaskDataModule,
    identities: Mapping[str, SignalIdentity],
    notice: str | None,
    kind: SignalKind,
) -> dict[str, Any]:
    """The entries of partition and data in ``run.json``."""
    # Such runs keep no files of their signals, and no numbers of the end alone.
    of_kind = {key: value for key, value in kind.describe().items() if key not in ("files", "charts")}
    networks = start.networks
    one = networks.backbone.parameters(networks.in_features, networks.channels)
    shapes = {shape for batch in validation for shape in batch.shapes}
    sizes = [size for batch in validation for size in batch.sizes]
    return {
        "regions": regions,
        # For one signal: the networks of all its regions.
        "parameters": regions * one,
        "macs_per_pixel": networks.macs_of_networks[0],
        "partition": {
            "train": tasks.train_tasks.rule.title,
            "test": tasks.val_tasks.rule.title,
            "smallest": min(sizes),
            "largest": max(sizes),
            "notice": notice,
        },
        "signal": {
            "shape": [*next(iter(shapes)), networks.channels] if len(shapes) == 1 else None,
            "train": len(tasks.train_tasks),
            "held_out": len(tasks.val_tasks),
            **identity_facts(identities.values()),
            **of_kind,
        },
    }
