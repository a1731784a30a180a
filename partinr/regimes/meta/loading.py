"""The data of learning to learn: each signal with its partition is a task, and a batch is several tasks."""

from __future__ import annotations

import itertools
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
        index: number of the item.
        name: of the item.
        signal: float32 ``[*grid, C]`` in [0, 1]; do not change it, since it may be reused.
        partition: on the same grid.
    """

    index: int
    name: str
    signal: Tensor
    partition: Partition

    def to(self, device: torch.device | str) -> Task:
        """The task with its signal on another device; called by Lightning. The partition stays on the CPU."""
        return replace(self, signal=self.signal.to(device))


Collate = Callable[[Sequence[Task]], Any]
"""Makes a batch of tasks, in the process that loads them; the batch must be picklable."""


class Memory:
    """Memory for loaded tasks, divided equally between the loading processes.

    Args:
        limit: bytes in total.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_used": 0}

    def takes(self, size: int) -> bool:
        """Reserve ``size`` bytes; False if there is no room for them."""
        info = get_worker_info()
        room = self._limit // (1 if info is None else info.num_workers)
        if self._used + size > room:
            return False
        self._used += size
        return True


class TaskSet(Dataset[Task]):
    """A task for every item.

    The first tasks stay in memory, as long as there is room: items are drawn equally often, so any choice is as good.

    Args:
        items: with unique names.
        rule: makes the partitions; None for one region.
        cache: where label maps are kept; None for nowhere.
        memory: for loaded tasks; None to keep none.
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
        # Each process keeps the tasks that it has loaded itself.
        return {**self.__dict__, "_kept": {}}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Task:
        """Load a signal and make its partition.

        Raises:
            PartinrError: either fails.
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

    All items are shuffled and divided into batches, again and again. The rest of a shuffle starts the next batch, so
    all items are seen equally often, and that batch may contain an item twice.

    Args:
        items: number of items.
        size: of a batch.
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
    """Endless batches of tasks to learn from, and the held-out tasks.

    Step t sees the batch that follows from ``seed`` and t (:class:`MetaBatches`), for any number of loading processes.
    The batches start at the attribute ``step`` of the LightningModule (0 if it has none), so a resumed run continues
    with the next one. Rank r of n has the places r, r + n, … of each batch.

    Args:
        train: items to learn from.
        val: items that are held out.
        train_rule: makes the partitions of ``train``; None for one region.
        val_rule: likewise of ``val``.
        meta_batch_size: tasks of an outer step, over all ranks.
        seed: of the order.
        workers: processes that load ahead, on each rank; 0 to load in the training process.
        collate: makes a batch of tasks; must be picklable.
        cache: where label maps are kept; None for nowhere.
        keep_bytes: limit for signals and label maps in memory, on each rank.

    Raises:
        PartinrError: there are fewer items than a batch needs.
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
        self._train_batches: TrainBatches | None = None

    def setup(self, stage: str) -> None:
        """Check that every rank gets a task.

        Raises:
            PartinrError: there are more ranks than tasks in a batch.
        """
        if self.trainer is not None:
            check_ranks(self.meta_batch_size, self.trainer.world_size)

    def train_dataloader(self) -> TrainBatches:
        """Endless batches: the regime decides when to stop."""
        self._train_batches = TrainBatches(self)
        return self._train_batches

    def teardown(self, stage: str) -> None:
        """End the processes that load."""
        if self._train_batches is not None:
            self._train_batches.close()

    def val_batches(self) -> Iterator[Any]:
        """The held-out tasks in order, in batches of the size of those to learn from.

        The name is not ``val_dataloader``, because Lightning would then expect a ``validation_step``.
        """
        count, size = len(self.val_tasks), self.meta_batch_size
        keys = [range(at, min(at + size, count)) for at in range(0, count, size)]
        return work_ahead(partial(_collated, self.val_tasks, self.collate), keys, min(self.workers, len(keys)))


def check_ranks(meta_batch_size: int, ranks: int) -> None:
    """Check that a batch has a task for every rank.

    Raises:
        PartinrError: it has not.
    """
    if meta_batch_size < ranks:
        raise PartinrError(
            f"regime.meta_batch_size={meta_batch_size} is less than trainer.devices={ranks}, so that some would have "
            f"nothing to do; give at least {ranks} tasks, or fewer devices"
        )


class TrainBatches:
    """The data loader of :meth:`TaskDataModule.train_dataloader`.

    Lightning fetches a batch ahead, drops it at the end of its epoch, and asks for a new iterator. The last few batches
    are therefore kept, and given again: nothing is loaded twice, and the processes that load stay.
    """

    AHEAD = 3
    """Batches that Lightning may hold at once: the present one, one fetched ahead, one dropped with its epoch."""

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
        """End the processes that load, and forget what they loaded."""
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
    """The batch of some tasks, in any process."""
    return collate([tasks[index] for index in indices])
