"""Loads the data of learning to learn: a task is a signal with its partition, and a batch is several tasks."""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from partinr.base.errors import PartinrError, named
from partinr.partition import LabelCache, Partition, PartitionRule, Whole, make
from partinr.regimes.meta.workers import work_ahead
from partinr.signals.sets import Item

KEEP_BYTES = 2**30
"""Default limit for the signals and label maps kept in memory."""


@dataclass(frozen=True, eq=False)
class Task:
    """A signal to fit, and its regions.

    Attributes:
        index: number of the item in its set.
        name: name of the item.
        signal: float32 ``[*grid, C]`` in [0, 1]. Do not change it: it may be reused.
        partition: partition on the same grid.
    """

    index: int
    name: str
    signal: Tensor
    partition: Partition

    def to(self, device: torch.device | str) -> Task:
        """The task with its signal on another device; called by Lightning. The partition stays on the CPU."""
        return replace(self, signal=self.signal.to(device))


Collate = Callable[[Sequence[Task]], Any]
"""Makes a batch of tasks in the process that loads them. The batch must be picklable."""


class Memory:
    """Memory for loaded tasks, divided equally between the loading processes.

    Args:
        limit: total number of bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_used": 0}

    def takes(self, size: int) -> bool:
        """Reserve ``size`` bytes and return True, or return False if there is no room."""
        info = get_worker_info()
        room = self._limit // (1 if info is None else info.num_workers)
        if self._used + size > room:
            return False
        self._used += size
        return True


class TaskSet(Dataset[Task]):
    """A task for every item.

    The first tasks stay in memory while there is room. Items are drawn equally often, so any choice is as good.

    Args:
        items: with unique names.
        rule: makes the partitions; None for one region.
        cache: cache of label maps; None for no cache.
        memory: memory for loaded tasks; None to keep no tasks.
    """

    def __init__(
        self,
        items: Sequence[Item],
        rule: PartitionRule | None = None,
        cache: LabelCache | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.items = items
        self.rule: PartitionRule = Whole() if rule is None else rule
        self.cache = cache
        self._memory = Memory(0) if memory is None else memory
        self._kept: dict[int, Task] = {}

    def __getstate__(self) -> dict[str, Any]:
        # Each process keeps only the tasks that it loaded.
        return {**self.__dict__, "_kept": {}}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Task:
        """The task of an item: loads the signal and makes its partition.

        Raises:
            PartinrError: the signal cannot be loaded or partitioned.
        """
        if index in self._kept:
            return self._kept[index]
        item = self.items[index]
        signal = item.load()
        with named(item.name):
            partition = make(self.rule, signal, item.source, self.cache)
        task = Task(index, item.name, signal, partition)
        if self._memory.takes(signal.nbytes + task.partition.labels.nbytes):
            self._kept[index] = task
        return task


class MetaBatches:
    """The tasks of each outer step, determined by seed and step.

    All items are shuffled and divided into batches repeatedly. The rest of a shuffle starts the next batch, so all
    items are used equally often. Such a batch may contain an item twice.

    Args:
        items: number of items.
        size: items in a batch.
        seed: 0 or more.
    """

    def __init__(self, items: int, size: int, seed: int) -> None:
        self.items, self.size, self.seed = items, size, seed
        self._last: tuple[int, np.ndarray] | None = None

    def __getitem__(self, step: int) -> list[int]:
        places = range(step * self.size, (step + 1) * self.size)
        return [int(self._shuffled(place // self.items)[place % self.items]) for place in places]

    def _shuffled(self, epoch: int) -> np.ndarray:
        if self._last is None or self._last[0] != epoch:
            self._last = epoch, np.random.default_rng([self.seed, epoch]).permutation(self.items)
        return self._last[1]


class TaskDataModule(L.LightningDataModule):
    """Endless batches of training tasks, and batches of the held-out tasks.

    The batch of step t follows from ``seed`` and t (:class:`MetaBatches`), for any number of loading processes. The
    batches start at the attribute ``step`` of the LightningModule (0 if it has none), so a resumed run continues with
    the next batch. Rank r of n gets the positions r, r + n, … of each batch.

    Args:
        train: training items.
        val: held-out items.
        train_rule: rule for the partitions of ``train``; None for one region.
        val_rule: rule for the partitions of ``val``; None for one region.
        meta_batch_size: tasks per outer step, over all ranks.
        seed: seed of the order.
        workers: number of loading processes on each rank; 0 to load in the training process.
        collate: makes a batch of tasks; must be picklable.
        cache: cache of label maps; None for no cache.
        keep_bytes: limit for signals and label maps in memory, on each rank.

    Raises:
        PartinrError: there are too few items for a batch.
    """

    def __init__(
        self,
        train: Sequence[Item],
        val: Sequence[Item] = (),
        *,
        train_rule: PartitionRule | None = None,
        val_rule: PartitionRule | None = None,
        meta_batch_size: int = 4,
        seed: int = 0,
        workers: int = 0,
        collate: Collate = list,
        cache: LabelCache | None = None,
        keep_bytes: int = KEEP_BYTES,
    ) -> None:
        super().__init__()
        if len(train) < meta_batch_size:
            raise PartinrError(
                f"regime.meta_batch_size={meta_batch_size} is more than the {len(train)} signals to learn from; "
                "give fewer, or more signals"
            )
        memory = Memory(keep_bytes)
        self.train_tasks = TaskSet(train, train_rule, cache, memory)
        self.val_tasks = TaskSet(val, val_rule, cache, memory)
        self.meta_batch_size = meta_batch_size
        self.seed = seed
        self.workers = workers
        self.collate = collate
        self._train_batches: weakref.ref[TrainBatches] | None = None

    def setup(self, stage: str) -> None:
        """Check that every rank gets a task.

        Raises:
            PartinrError: there are more ranks than tasks in a batch.
        """
        if self.trainer is not None:
            check_ranks(self.meta_batch_size, self.trainer.world_size)

    def train_dataloader(self) -> TrainBatches:
        """Endless batches: the regime decides when to stop."""
        batches = TrainBatches(self)
        # A cycle would keep the loading processes of a dropped loader until garbage collection, which may delete their
        # queues first; then each process takes ten seconds to end.
        self._train_batches = weakref.ref(batches)
        return batches

    def teardown(self, stage: str) -> None:
        """End the loading processes."""
        batches = None if self._train_batches is None else self._train_batches()
        if batches is not None:
            batches.close()

    def val_batches(self) -> Iterator[Any]:
        """The held-out tasks in order, in batches of the size of the training batches.

        The name is not ``val_dataloader``, because Lightning would then expect a ``validation_step``.
        """
        count, size = len(self.val_tasks), self.meta_batch_size
        keys = [range(at, min(at + size, count)) for at in range(0, count, size)]
        return work_ahead(partial(_collated, self.val_tasks, self.collate), keys, min(self.workers, len(keys)))


def check_ranks(meta_batch_size: int, ranks: int) -> None:
    """Check that a batch has a task for every rank.

    Raises:
        PartinrError: there are more ranks than tasks in a batch.
    """
    if meta_batch_size < ranks:
        raise PartinrError(
            f"regime.meta_batch_size={meta_batch_size} is less than trainer.devices={ranks}, so that some would have "
            f"nothing to do; give at least {ranks} tasks, or fewer devices"
        )


class TrainBatches:
    """The data loader of :meth:`TaskDataModule.train_dataloader`.

    Lightning fetches a batch ahead, drops it at the end of its epoch, and asks for a new iterator. The loader therefore
    keeps the last few batches and yields them again. Nothing is loaded twice, and the loading processes continue.
    """

    AHEAD = 3
    """Batches that Lightning may hold at once: the current one, one fetched ahead, one dropped with its epoch."""

    def __init__(self, module: TaskDataModule) -> None:
        self._module = module
        self._source: Iterator[Any] | None = None
        self._given: deque[tuple[int, Any]] = deque(maxlen=self.AHEAD)

    def __iter__(self) -> Iterator[Any]:
        trainer = self._module.trainer
        step = 0 if trainer is None else int(getattr(trainer.lightning_module, "step", 0))
        again = [given for given in self._given if given[0] >= step]
        if not again or again[0][0] != step:
            self.close()
            self._source, again = self._load(step), []
        assert self._source is not None
        yield from (batch for _, batch in again)
        for number, batch in enumerate(self._source, step + len(again)):
            self._given.append((number, batch))
            yield batch

    def _load(self, step: int) -> Iterator[Any]:
        module, trainer = self._module, self._module.trainer
        rank, ranks = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        batches = MetaBatches(len(module.train_tasks), module.meta_batch_size, module.seed)
        keys = (batches[number][rank::ranks] for number in itertools.count(step))
        return work_ahead(partial(_collated, module.train_tasks, module.collate), keys, module.workers)

    def close(self) -> None:
        """End the loading processes and forget their batches."""
        self._given.clear()
        if self._source is not None:
            self._source.close()  # type: ignore[attr-defined]  # a generator
            self._source = None

    def state_dict(self) -> dict[str, Any]:
        """Empty, since the step says where to continue; Lightning warns of loaders without this method."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do."""


def _collated(tasks: TaskSet, collate: Collate, indices: Sequence[int]) -> Any:
    """The batch of the tasks with given numbers, in any process."""
    return collate([tasks[index] for index in indices])
