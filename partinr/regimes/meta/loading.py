"""The data side of learning to learn: every signal, with its partition, is a task, and a batch is some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
"""Of signals and label maps, that are kept in memory unless somebody says otherwise."""


@dataclass(frozen=True, eq=False)
class Task:
    """A signal to be fitted, and its regions.

    Attributes:
        index: its number among the items.
        name: that of the item.
        signal: float32 ``[*grid, C]`` in [0, 1]; not to be changed, since it may be given out again.
        partition: on the same grid.
    """

    index: int
    name: str
    signal: Tensor
    partition: Partition

    def to(self, device: torch.device | str) -> Task:
        """The same with the signal on another device; Lightning calls it. A partition is always on the CPU."""
        return replace(self, signal=self.signal.to(device))


Collate = Callable[[Sequence[Task]], Any]
"""Makes a batch of tasks; it is called where they are loaded, and what it gives can be pickled."""


class Memory:
    """Room for what need not be loaded again. Each process that loads has an equal part of it.

    Args:
        limit: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_used": 0}

    def takes(self, size: int) -> bool:
        """Whether so many bytes more have room; they are taken then."""
        info = get_worker_info()
        room = self._limit // (1 if info is None else info.num_workers)
        if self._used + size > room:
            return False
        self._used += size
        return True


class TaskSet(Dataset[Task]):
    """A task for every item.

    The first ones that are loaded are kept, as many as there is room for: items are drawn evenly, so none is worth more
    than another.

    Args:
        items: at least their names are unique.
        rule: how they are cut; None for one region, the whole signal.
        cache: where label maps are kept; None for nowhere.
        memory: where tasks are kept; None for nowhere.
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
        # Another process that loads keeps what it loads itself.
        return {**self.__dict__, "_kept": {}}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Task:
        """Load a signal and cut it.

        Raises:
            PartinrError: it cannot be loaded, or not be cut.
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
    """Which tasks each outer step learns from: it follows from seed and step alone.

    All items are shuffled and cut into batches, then shuffled anew, and so on. What is left of one shuffle begins the
    next batch, so every item is seen equally often, and in that batch one may stand twice.

    Args:
        items: how many there are.
        size: how many a batch has.
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
    """Endless batches of tasks to learn from, and those that are held out.

    What step t sees follows from ``seed`` and t (:class:`MetaBatches`), whatever the number of processes that load, and
    the batches begin at the attribute ``step`` of the LightningModule (0 if it has none): a run that is resumed goes on
    with what comes next. Of several ranks, rank r of n has the places r, r + n, … of each batch.

    Args:
        train: items to learn from.
        val: items that are held out.
        train_rule: how those to learn from are cut; None for one region.
        val_rule: how those held out are cut.
        meta_batch_size: tasks an outer step, over all ranks.
        seed: of the order.
        workers: processes that load ahead, on each rank; 0 to load where the training runs.
        collate: makes a batch of tasks; a function that other processes can be sent.
        cache: where label maps are kept; None for nowhere.
        keep_bytes: of signals and label maps, that are kept in memory, on each rank.

    Raises:
        PartinrError: there are fewer items than a batch needs, or none.
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

    def setup(self, stage: str) -> None:
        """Look whether every rank gets a task.

        Raises:
            PartinrError: there are more ranks than tasks in a batch.
        """
        if self.trainer is not None:
            check_ranks(self.meta_batch_size, self.trainer.world_size)

    def train_dataloader(self) -> TrainBatches:
        """Endless: the regime says when it is over."""
        return TrainBatches(self)

    def val_batches(self, rank: int = 0, ranks: int = 1) -> ValBatches:
        """The held-out tasks in their order, in batches of the size that a rank learns from.

        It is not called ``val_dataloader``, for Lightning would look for a ``validation_step``; a regime that has none
        looks at them when its own schedule says so.

        Args:
            rank: has the tasks rank, rank + ranks, …
            ranks: how many share them; there may be more ranks than tasks, and one then gets no batch.
        """
        return ValBatches(self, rank, ranks)


def check_ranks(meta_batch_size: int, ranks: int) -> None:
    """See that a batch has a task for every rank.

    Raises:
        PartinrError: it has not.
    """
    if meta_batch_size < ranks:
        raise PartinrError(
            f"regime.meta_batch_size={meta_batch_size} is less than trainer.devices={ranks}, so that some would have "
            f"nothing to do; give at least {ranks} tasks, or fewer devices"
        )


class TrainBatches:
    """What :meth:`TaskDataModule.train_dataloader` gives to Lightning."""

    def __init__(self, module: TaskDataModule) -> None:
        self._module = module

    def __iter__(self) -> Iterator[Any]:
        module = self._module
        trainer = module.trainer
        step, rank, ranks = 0, 0, 1
        if trainer is not None:
            # Now and not before: Lightning asks again for each of its epochs.
            step = int(getattr(trainer.lightning_module, "step", 0))
            rank, ranks = trainer.global_rank, trainer.world_size
        batches = MetaBatches(len(module.train_tasks), module.meta_batch_size, module.seed)
        keys = _Parts(batches, step, rank, ranks)
        return work_ahead(_Collated(module.train_tasks, module.collate), keys, module.workers)

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the step says where to go on. Lightning warns of loaders that have no state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do."""


class ValBatches:
    """What :meth:`TaskDataModule.val_batches` gives."""

    def __init__(self, module: TaskDataModule, rank: int, ranks: int) -> None:
        self._module = module
        mine = range(rank, len(module.val_tasks), ranks)
        size = max(1, module.meta_batch_size // ranks)
        self._keys = [list(mine[at : at + size]) for at in range(0, len(mine), size)]

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Any]:
        module = self._module
        workers = min(module.workers, len(self._keys))
        return work_ahead(_Collated(module.val_tasks, module.collate), self._keys, workers)


@dataclass(frozen=True)
class _Parts(Iterable[Sequence[int]]):
    """A rank's part of every batch, from a step on."""

    batches: MetaBatches
    step: int
    rank: int
    ranks: int

    def __iter__(self) -> Iterator[Sequence[int]]:
        step = self.step
        while True:
            yield self.batches[step][self.rank :: self.ranks]
            step += 1


@dataclass(frozen=True)
class _Collated:
    """The work: from the numbers of some tasks to their batch."""

    tasks: TaskSet
    collate: Collate

    def __call__(self, indices: Sequence[int]) -> Any:
        return self.collate([self.tasks[index] for index in indices])
