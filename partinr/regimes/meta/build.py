"""From a checked configuration to the LightningModule of ``regime=meta``, and the tasks that it learns from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from partinr.base.errors import PartinrError
from partinr.base.notes import print_note
from partinr.coords import Frame
from partinr.experiment import config
from partinr.partition import Grid, LabelCache, PartitionRule, Whole
from partinr.regimes import MetaModule, MetaSettings
from partinr.regimes.meta import LearnedStart, TaskBatch
from partinr.regimes.meta.loading import Task, TaskDataModule, check_ranks
from partinr.regimes.meta.module import fingerprint_of
from partinr.regimes.meta.prepare import prepare_partitions
from partinr.signals import Item, SignalSet

READ_FIRST = 2000
"""Files to learn from that are read before the training, so that what is wrong with one is said then."""


@dataclasses.dataclass(frozen=True)
class Batched:
    """Tasks as one batch, where they are loaded.

    Attributes:
        frame: of the coordinates.
    """

    frame: Frame

    def __call__(self, tasks: Sequence[Task]) -> TaskBatch:
        """Put them together.

        Raises:
            PartinrError: they have different numbers of channels.
        """
        for task in tasks:
            _check_channels(tasks[0], task)
        return TaskBatch.of(
            [task.signal for task in tasks],
            [task.partition for task in tasks],
            self.frame,
            [task.name for task in tasks],
            [task.index for task in tasks],
        )


def meta_module(settings: config.Settings) -> tuple[MetaModule, TaskDataModule]:
    """The module of ``regime=meta`` and its data.

    Raises:
        PartinrError: settings do not go together, or a signal cannot be read or cut.
    """
    regime: MetaSettings = settings.regime
    _check(settings, regime)
    data: SignalSet = settings.data
    train, held_out = data.train(), data.val()
    if not held_out:
        raise PartinrError(
            "regime=meta is judged on signals that it has not seen; hold some out, such as with data.val_fraction=0.1"
        )
    val = _some(held_out, regime.validation_tasks)
    check_ranks(regime.meta_batch_size, settings.trainer.devices)
    rule = settings.partition
    train_rule = rule if regime.partition_in == "both" else None
    val_rule = None if regime.partition_in == "neither" else rule
    cache = LabelCache.at(settings.root.cache_dir)
    for items, own in ((train, train_rule), (val, val_rule)):
        prepared = prepare_partitions(items, own, cache)
        if prepared.made or prepared.fewer:
            print_note(str(prepared))
    tasks = TaskDataModule(
        train,
        val,
        train_rule=train_rule,
        val_rule=val_rule,
        meta_batch_size=regime.meta_batch_size,
        seed=settings.root.seed,
        workers=regime.workers,
        collate=Batched(settings.coords.frame),
        cache=cache,
    )
    _read_first(tasks)
    validation: list[TaskBatch] = list(tasks.val_batches())
    _check_cells(rule, regime, validation)
    regions = max(count for batch in validation for count in batch.regions)
    first = validation[0]
    in_features, channels = first.coords.shape[1], first.targets.shape[1]
    # The budget is that of what represents a signal in the end: all regions' networks.
    backbone = settings.backbone.sized(regions, in_features, channels)
    start = LearnedStart(
        backbone,
        cells=regions if regime.initialisation == "region" else 1,
        in_features=in_features,
        channels=channels,
        inner_steps=regime.inner_steps,
        inner_lr=regime.inner_lr,
        inner_lr_kind=regime.inner_lr_kind,
        inner_lr_positive=regime.inner_lr_positive,
        inner_loss=regime.inner_loss,
        adapt_layers=regime.adapt_layers,
        frame=settings.coords.frame,
        engine=settings.root.engine,
        seed=settings.root.seed,
    )
    module = MetaModule(
        start,
        validation,
        optimizer=settings.optimizer,
        schedule=settings.schedule,
        stop=settings.stop,
        settings=regime,
        facts=_facts(start, validation, regions, train_rule, val_rule, len(train), len(val)),
        data_fingerprint=fingerprint_of(
            [item.name for item in (*train, *val)],
            settings.plain["data"],
            settings.plain["partition"],
        ),
        seed=settings.root.seed,
    )
    return module, tasks


def _check(settings: config.Settings, regime: MetaSettings) -> None:
    """See that what several groups say goes together.

    Raises:
        PartinrError: it does not.
    """
    if not isinstance(settings.data, SignalSet):
        raise PartinrError(
            "regime=meta learns from many signals, and this data is one; choose data=folder, data=text or data=lsun"
        )
    if settings.root.init is not None or settings.root.init_steps:
        raise PartinrError("init begins an ordinary fit, regime=fit; to go on with regime=meta: partinr resume RUN_DIR")
    rule, where = settings.partition, regime.partition_in
    if isinstance(rule, Whole) and where == "test":
        raise PartinrError(
            "regime.partition_in=test with partition=none: there is nothing to copy the one initialisation to; "
            "choose partition=grid or semantic, or regime.partition_in=neither"
        )
    if isinstance(rule, Grid) and rule.regions == "auto":
        raise PartinrError("partition.regions=auto is for one image; with regime=meta give a number")
    if regime.initialisation == "region" and not isinstance(rule, Grid):
        raise PartinrError(
            "regime.initialisation=region needs regions that mean the same in every signal; "
            "choose partition=grid, or regime.initialisation=shared"
        )
    if settings.root.capacity != "equal":
        raise PartinrError(
            f"capacity={settings.root.capacity}: an initialisation has one width, so regions cannot have several; "
            "leave capacity=equal"
        )
    if settings.trainer.precision == "16-mixed":
        raise PartinrError(
            "trainer.precision=16-mixed scales the outer loss, not the inner ones, whose gradients would vanish; "
            "choose bf16-mixed or 32-true"
        )


def _check_channels(first: Task, other: Task) -> None:
    """See that two tasks can be in one batch.

    Raises:
        PartinrError: they have different numbers of channels.
    """
    counts = first.signal.shape[-1], other.signal.shape[-1]
    if counts[0] != counts[1]:
        raise PartinrError(
            f"all signals need the same channels, but {first.name} has {counts[0]} and {other.name} has {counts[1]}; "
            "leave some out, or convert them"
        )


def _read_first(tasks: TaskDataModule) -> None:
    """Read and cut what there is to learn from, as far as it is files; of generated signals one stands for all.

    Raises:
        PartinrError: a file cannot be read, or a signal not be cut.
    """
    learned_from = tasks.train_tasks
    first = learned_from[0]
    for index in range(1, min(len(learned_from), READ_FIRST)):
        if learned_from.items[index].source is None:
            break
        _check_channels(first, learned_from[index])


def _check_cells(rule: PartitionRule, regime: MetaSettings, validation: Sequence[TaskBatch]) -> None:
    """See that a region of a grid is at the same place in every signal, if it is to have an initialisation of its own.

    Raises:
        PartinrError: signals of several shapes might be cut into other rows and columns.
    """
    shapes = sorted({shape for batch in validation for shape in batch.shapes})
    if regime.initialisation == "region" and isinstance(rule, Grid) and rule.rows is None and len(shapes) > 1:
        said = " and ".join("×".join(map(str, shape)) for shape in (shapes[0], shapes[-1]))
        raise PartinrError(
            f"regime.initialisation=region with signals of {said}: a number of regions may be other rows and columns "
            "in each; give partition.rows and partition.cols, or data.size"
        )


def _some(items: Sequence[Item], count: int | None) -> Sequence[Item]:
    """So many of them, evenly spread."""
    if count is None or count >= len(items):
        return items
    return [items[number * len(items) // count] for number in range(count)]


def _facts(
    start: LearnedStart,
    validation: Sequence[TaskBatch],
    regions: int,
    train_rule: PartitionRule | None,
    val_rule: PartitionRule | None,
    train: int,
    val: int,
) -> dict[str, Any]:
    """What run.json says of partition and data."""
    networks = start.networks
    one = networks.backbone.parameters(networks.in_features, networks.channels)
    shapes = {shape for batch in validation for shape in batch.shapes}
    sizes = [size for batch in validation for size in batch.sizes]
    whole = Whole()
    return {
        "regions": regions,
        # Of what represents one signal: the networks of all its regions.
        "parameters": regions * one,
        "macs_per_pixel": networks.macs_of_networks[0],
        "partition": {
            "train": (train_rule or whole).title,
            "test": (val_rule or whole).title,
            "smallest": min(sizes),
            "largest": max(sizes),
            "notice": None,
        },
        "signal": {
            "shape": [*next(iter(shapes)), networks.channels] if len(shapes) == 1 else None,
            "train": train,
            "held_out": val,
        },
    }
