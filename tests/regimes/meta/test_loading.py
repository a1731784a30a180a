"""Batches of tasks: which ones, in which order, resumed or not, in whatever processes they are loaded."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import psutil
import pytest
import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.partition import Grid, KMeans, LabelCache, Superpixel
from partinr.regimes.meta.loading import Memory, MetaBatches, Task, TaskDataModule, TaskSet, check_ranks
from partinr.signals import Item, SmoothData, Source


@dataclass(frozen=True)
class Written(Item):
    """A signal that writes down in which process it is loaded, and may fail."""

    name: str
    log: Path
    source: Source | None = None
    fault: str | None = None

    def load(self) -> Tensor:
        if self.fault == "die":
            os._exit(1)
        if self.fault is not None:
            raise PartinrError(self.fault)
        with self.log.open("a") as file:
            file.write(f"{self.name} {os.getpid()}\n")
        return torch.full((4, 4, 1), 0.5)

    def loads(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def names(tasks: Sequence[Task]) -> list[str]:
    return [task.name for task in tasks]


def names_and_seconds(tasks: Sequence[Task]) -> list[str]:
    if "smooth-0" in names(tasks):
        time.sleep(0.1)  # a worker that is late
    return names(tasks)


SMOOTH = SmoothData(shape=[4, 5], channels=1, train_items=7, val_items=5)


@pytest.fixture
def items(tmp_path):
    return [Written(f"item-{n}", tmp_path / "log") for n in range(5)]


# -- tasks ----------------------------------------------------------------------------------------------------------


def test_a_task_is_an_item_and_its_partition():
    items = SMOOTH.train()
    tasks = TaskSet(items, Grid(rows=2, cols=1))
    assert len(tasks) == 7
    for index in (3, 0):
        task = tasks[index]
        assert (task.index, task.name) == (index, f"smooth-{index}")
        assert torch.equal(task.signal, items[index].load())
        assert task.partition.regions == 2
    assert TaskSet(items)[0].partition.regions == 1


def test_label_maps_come_from_the_cache(tmp_path):
    cache = LabelCache(tmp_path / "cache")
    first = TaskSet(SMOOTH.train(), KMeans(regions=2), cache)[1]
    (file,) = (tmp_path / "cache").iterdir()
    before = file.stat().st_mtime_ns
    again = TaskSet(SMOOTH.train(), KMeans(regions=2), cache)[1]
    assert torch.equal(first.partition.labels, again.partition.labels)
    assert file.stat().st_mtime_ns == before


def test_what_has_room_is_loaded_once(items):
    # 16 samples of 4 bytes, and labels of 8: 192 bytes a task.
    tasks = TaskSet(items, memory=Memory(2 * 192))
    for _ in range(3):
        assert names([tasks[n] for n in range(4)]) == [f"item-{n}" for n in range(4)]
    loads = Counter(line.split()[0] for line in items[0].loads())
    assert loads == {"item-0": 1, "item-1": 1, "item-2": 3, "item-3": 3}


def test_a_rule_that_fails_says_on_which_signal(items):
    with pytest.raises(PartinrError, match=r"^item-2: .*regions"):
        TaskSet(items, Grid(regions=17))[2]


def test_notices_stay_with_the_partition():
    tasks = TaskSet(SmoothData(shape=[4, 4], train_items=1).train(), Superpixel(method="felzenszwalb", scale=1e6))
    assert "fewer" in str(tasks[0].partition.notice)


# -- the order ------------------------------------------------------------------------------------------------------


def test_every_item_is_seen_equally_often():
    for items, size in [(7, 3), (6, 3), (5, 5), (1, 1), (9, 2)]:
        batches = MetaBatches(items, size, seed=3)
        seen = [index for step in range(items) for index in batches[step]]
        for start in range(0, len(seen), items):
            assert sorted(seen[start : start + items]) == list(range(items))


def test_a_batch_follows_from_seed_and_step_alone():
    batches = MetaBatches(11, 4, seed=0)
    forwards = [batches[step] for step in range(30)]
    assert [MetaBatches(11, 4, seed=0)[step] for step in reversed(range(30))] == forwards[::-1]
    assert [MetaBatches(11, 4, seed=1)[step] for step in range(30)] != forwards
    assert forwards[:10] != forwards[11:21]


# -- under Lightning ------------------------------------------------------------------------------------------------

# Lightning 2.6 asks torch's trees in a way that torch 2.13 finds outdated.
under_lightning = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")


class Seeing(L.LightningModule):
    """Writes down what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.step = 0
        self.seen: list[Any] = []

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.seen.append(batch)
        self.step += 1

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["step"] = self.step

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.step = checkpoint["step"]


class Stop(L.Callback):
    """Ends a run, after a checkpoint or without any."""

    def __init__(self, step: int, path: Path | None = None) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if pl_module.step == self.step:
            if self.path is not None:
                trainer.save_checkpoint(self.path)
            trainer.should_stop = True


def run(stop: Stop, ckpt_path: Path | None = None, epochs: Any = None, **options: Any) -> list[Any]:
    module = Seeing()
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[stop],
        **(epochs or {"max_epochs": 1}),
    )
    data = TaskDataModule(SMOOTH.train(), meta_batch_size=3, **{"collate": names, **options})
    trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=False)
    return module.seen


def expected(steps: range, size: int = 3, seed: int = 0) -> list[list[str]]:
    batches = MetaBatches(7, size, seed)
    return [[f"smooth-{index}" for index in batches[step]] for step in steps]


@under_lightning
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_sees_what_an_unbroken_one_sees(tmp_path, workers):
    unbroken = run(Stop(12), workers=workers, collate=names_and_seconds)
    assert unbroken == expected(range(12))
    first = run(Stop(5, tmp_path / "x.ckpt"), workers=workers)
    assert first == unbroken[:5]
    assert run(Stop(12), tmp_path / "x.ckpt", workers=2 - workers) == unbroken[5:]


@under_lightning
def test_epochs_of_lightning_change_nothing(tmp_path):
    epochs = {"max_epochs": 4, "limit_train_batches": 3}
    assert run(Stop(99), epochs=epochs) == expected(range(12))
    run(Stop(5, tmp_path / "x.ckpt"), epochs=epochs)
    assert run(Stop(99), tmp_path / "x.ckpt", epochs=epochs) == expected(range(5, 12))


@under_lightning
def test_tasks_as_they_are_go_through_lightning():
    seen = run(Stop(2), collate=list, train_rule=Grid(rows=2, cols=1))
    assert [names(batch) for batch in seen] == expected(range(2))
    assert {task.partition.regions for batch in seen for task in batch} == {2}


def test_a_task_is_moved():
    task = TaskSet(SMOOTH.train())[0]
    moved = task.to("meta")
    assert (moved.signal.device.type, task.signal.device.type) == ("meta", "cpu")
    assert moved.partition is task.partition


@under_lightning
def test_workers_leave_torchs_generator_alone():
    after = []
    for workers in (0, 1):
        torch.manual_seed(0)
        run(Stop(2), workers=workers)
        after.append(torch.rand(3))
    assert torch.equal(*after)


def test_a_batch_from_a_process_is_the_same_batch():
    items = SMOOTH.train()
    here, there = (
        TaskDataModule(items, meta_batch_size=2, train_rule=Grid(rows=1, cols=5), workers=workers).train_dataloader()
        for workers in (0, 2)
    )
    for one, other, _ in zip(here, there, range(4), strict=False):
        assert names(one) == names(other)
        for task, same in zip(one, other, strict=True):
            assert torch.equal(task.signal, same.signal)
            assert torch.equal(task.partition.labels, same.partition.labels)


@pytest.mark.slow
def test_processes_share_the_work_and_keep_what_they_load(items):
    data = TaskDataModule(items[:2], meta_batch_size=2, workers=2, collate=names)
    for _, seen in zip(range(8), data.train_dataloader(), strict=False):
        assert sorted(seen) == ["item-0", "item-1"]
    loads = [line.split() for line in items[0].loads()]
    assert len({process for _, process in loads}) == 2
    assert str(os.getpid()) not in {process for _, process in loads}
    assert len(loads) == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_is_said_in_one_line(items, workers):
    bad = Written("bad", items[0].log, fault="'x.png' is a damaged file; copy it again")
    data = TaskDataModule([*items, bad], meta_batch_size=2, workers=workers, collate=names)
    with pytest.raises(PartinrError) as caught:
        for _ in zip(range(4), data.train_dataloader(), strict=False):
            pass
    assert str(caught.value) == "'x.png' is a damaged file; copy it again"


def test_a_process_that_dies_is_said_in_one_line(items):
    bad = Written("bad", items[0].log, fault="die")
    data = TaskDataModule([*items, bad], meta_batch_size=6, workers=1, collate=names)
    with pytest.raises(PartinrError, match=r"process that loads signals died.*fewer workers") as caught:
        next(iter(data.train_dataloader()))
    assert "\n" not in str(caught.value)


def test_a_signal_to_all_processes_leaves_the_work_alone(items):
    data = TaskDataModule(items, meta_batch_size=2, workers=2, collate=names, keep_bytes=0)
    batches = iter(data.train_dataloader())
    for _ in range(4):
        next(batches)
    processes = {int(line.split()[1]) for line in items[0].loads()}
    assert len(processes) == 2
    for process in processes:
        os.kill(process, signal.SIGINT)
        os.kill(process, signal.SIGTERM)
    order = MetaBatches(5, 2, seed=0)
    for step in range(4, 12):
        assert next(batches) == [f"item-{index}" for index in order[step]]
    start = time.monotonic()
    data.teardown("fit")
    assert time.monotonic() - start < 4
    assert not any(map(psutil.pid_exists, processes))


# -- held out, and several ranks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_held_out_tasks_come_in_their_order(workers):
    rule = Grid(rows=2, cols=1)
    data = TaskDataModule(SMOOTH.train(), SMOOTH.val(), val_rule=rule, meta_batch_size=2, workers=workers)
    for _ in range(2):
        found = list(data.val_batches())
        assert [names(batch) for batch in found] == [
            ["smooth-val-0", "smooth-val-1"],
            ["smooth-val-2", "smooth-val-3"],
            ["smooth-val-4"],
        ]
        assert {task.partition.regions for batch in found for task in batch} == {2}
    assert data.train_tasks[0].partition.regions == 1
    assert list(TaskDataModule(SMOOTH.train(), workers=workers).val_batches()) == []


class Pretended:
    """A rank of several, as far as the data see it."""

    def __init__(self, global_rank: int, world_size: int, step: int) -> None:
        self.global_rank, self.world_size = global_rank, world_size
        self.lightning_module = Seeing()
        self.lightning_module.step = step


def test_ranks_share_a_batch():
    for ranks in [1, 2, 3]:
        parts = []
        for rank in range(ranks):
            data = TaskDataModule(SMOOTH.train(), SMOOTH.val(), meta_batch_size=3, collate=names)
            data.trainer = Pretended(rank, ranks, step=4)  # type: ignore[assignment]
            data.setup("fit")
            parts.append([batch for batch, _ in zip(data.train_dataloader(), range(3), strict=False)])
        for step, whole in enumerate(expected(range(4, 7))):
            assert [parts[place % ranks][step][place // ranks] for place in range(3)] == whole


def test_more_ranks_than_tasks_are_refused():
    data = TaskDataModule(SMOOTH.train(), meta_batch_size=2)
    data.trainer = Pretended(0, 3, step=0)  # type: ignore[assignment]
    with pytest.raises(PartinrError, match=r"meta_batch_size=2 is less than trainer\.devices=3"):
        data.setup("fit")
    check_ranks(2, 2)


@pytest.mark.parametrize("train", [[], SMOOTH.train()[:3]])
def test_too_few_signals_are_refused(train):
    with pytest.raises(PartinrError, match=rf"meta_batch_size=4 is more than the {len(train)} signals"):
        TaskDataModule(train)
