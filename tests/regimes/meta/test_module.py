"""Learning to learn: each outer step, and each look, as they are written out here by hand."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.partition import Grid, PartitionRule
from partinr.regimes import Constant, Cosine, MetaModule, MetaSettings, Optimizer, Plateau, Schedule, make_trainer
from partinr.regimes.meta import LearnedStart, TaskBatch
from partinr.regimes.meta.loading import MetaBatches, Task, TaskDataModule, TrainBatches
from partinr.runs.layout import CLOCK_COLUMNS
from partinr.signals import SmoothData
from partinr.training.clock import StopRule
from partinr.training.trainer import run_fit
from tests.covering import cases, covering

DATA = SmoothData(shape=[6, 7], channels=2, train_items=5, val_items=3)
EVEN = SmoothData(shape=[6, 6], channels=2, train_items=5, val_items=3)
BACKBONE = Siren(hidden_features=8, hidden_layers=1, first_omega_0=8.0)
FOUR = Grid(regions=4)


def batched(tasks: Sequence[Task]) -> TaskBatch:
    names, indices = [task.name for task in tasks], [task.index for task in tasks]
    return TaskBatch.of([task.signal for task in tasks], [task.partition for task in tasks], "global", names, indices)


@dataclasses.dataclass
class Learned:
    """A finished training and its initial state."""

    module: MetaModule
    data: TaskDataModule
    begin: dict[str, Tensor]

    @property
    def end(self) -> dict[str, Tensor]:
        return {name: value.detach() for name, value in self.module.model.named_parameters()}


def learn(
    *,
    steps: int | None = 6,
    seconds: float | None = None,
    target: float | None = None,
    precision: str = "64-true",
    lr: float = 1e-2,
    schedule: Schedule | None = None,
    optimizer: Optimizer | None = None,
    callbacks: tuple[L.Callback, ...] = (),
    ckpt_path: Path | None = None,
    workers: int = 0,
    data: SmoothData = DATA,
    train_rule: PartitionRule | None = FOUR,
    val_rule: PartitionRule | None = FOUR,
    **settings: Any,
) -> Learned:
    """Learn from smooth signals in the way of the settings."""
    settings = {"inner_lr": 1e-2, "inner_steps": 2, "meta_batch_size": 3, "validation_steps": 4, **settings}
    if settings.get("algorithm") in ("reptile", "unadapted"):
        settings["inner_lr_kind"] = "static"
    chosen = MetaSettings(**settings)
    tasks = TaskDataModule(
        data.train(),
        data.val(),
        train_rule=train_rule,
        val_rule=val_rule,
        meta_batch_size=chosen.meta_batch_size,
        seed=3,
        workers=workers,
        collate=batched,
    )
    model = LearnedStart(
        BACKBONE,
        channels=data.channels,
        inner_steps=chosen.inner_steps,
        inner_lr=chosen.inner_lr,
        inner_lr_kind=chosen.inner_lr_kind,
        inner_lr_positive=chosen.inner_lr_positive,
        inner_loss=chosen.inner_loss,
        adapt_layers=chosen.adapt_layers,
        cells=4 if chosen.initialisation == "region" else 1,
        engine="batched",
    )
    module = MetaModule(
        model,
        list(tasks.val_batches()),
        optimizer=Optimizer(lr=lr) if optimizer is None else optimizer,
        schedule=Constant() if schedule is None else schedule,
        stop=StopRule(max_steps=steps, max_seconds=seconds, target_psnr=target),
        settings=chosen,
        facts={},
        data=tasks,
        seed=3,
    )
    dtype = torch.float64 if precision == "64-true" else torch.float32
    begin = {name: value.detach().clone().to(dtype) for name, value in model.named_parameters()}
    trainer = make_trainer(accelerator="cpu", precision=precision, callbacks=callbacks)
    run_fit(module, trainer, ckpt_path)
    return Learned(module, tasks, begin)


# -- written out ------------------------------------------------------------------------------------------------------


def network(params: dict[str, Tensor], coords: Tensor) -> Tensor:
    return BACKBONE.apply(params, coords, F.linear)


def regions(task: TaskBatch, context: Any = None) -> list[tuple[Tensor, Tensor]]:
    """Coordinates and values of each region of the one task of a batch."""
    given = task if context is None else context
    return list(zip(given.coords.split(given.sizes), given.targets.split(given.sizes), strict=True))


def rate(learned: dict[str, Tensor], settings: MetaSettings, step: int, name: str) -> Tensor | float:
    if settings.inner_lr_kind == "static":
        return settings.inner_lr
    raw = learned[f"rates.raw.{name}"][:, 0]
    # Of two steps, the median is the lower rate.
    return raw[step] if step < settings.inner_steps else raw.sort(dim=0).values[(len(raw) - 1) // 2].clamp(min=0)


def adapted(
    learned: dict[str, Tensor], settings: MetaSettings, coords: Tensor, targets: Tensor, steps: int, twice: bool
) -> list[dict[str, Tensor]]:
    """One network, step by step."""
    fast = {
        name.removeprefix("networks.stack."): value[0]
        for name, value in learned.items()
        if name.startswith("networks.stack.")
    }
    places = [fast]
    for step in range(steps):
        if len(targets):
            loss = (network(fast, coords) - targets).square().mean()
            slopes = torch.autograd.grad(loss, list(fast.values()), create_graph=twice)
            fast = {
                name: value - rate(learned, settings, step, name) * slope
                for (name, value), slope in zip(fast.items(), slopes, strict=True)
            }
        places.append(fast)
    return places


def outer_loss(learned: dict[str, Tensor], settings: MetaSettings, batch: list[TaskBatch], step: int) -> Tensor:
    """What an outer step descends on."""
    total = torch.zeros((), dtype=torch.float64)
    for task in batch:
        seeds = [(3 * 1_000_003 + step * 10_007 + task.indices[0]) % 2**63]
        context = regions(task, task.context("region", settings.context_fraction, seeds))
        whole = regions(task)
        for (coords, targets), (seen, known) in zip(whole, context, strict=True):
            if settings.algorithm == "unadapted":
                *_, fast = adapted(learned, settings, seen, known, 0, False)
            else:
                twice = settings.algorithm == "maml"
                *_, fast = adapted(learned, settings, seen, known, settings.inner_steps, twice)
            if settings.algorithm == "reptile":
                first = {name: learned[f"networks.stack.{name}"][0] for name in fast}
                away = sum(((first[name] - fast[name]).detach() * first[name]).sum() for name in fast)
                total = total + away / len(whole) / len(batch)
            else:
                total = total + (network(fast, coords) - targets).square().sum() / task.targets.numel() / len(batch)
    return total


def one_by_one(numbers: Sequence[int], data: TaskDataModule, held_out: bool = False) -> list[TaskBatch]:
    tasks = data.val_tasks if held_out else data.train_tasks
    return [batched([tasks[number]]).to(torch.device("cpu"), torch.float64) for number in numbers]


def plain_loop(run: Learned, lrs: Sequence[float]) -> dict[str, Tensor]:
    """The same training with only partinr's signals and regions."""
    settings = run.module.settings
    learned = {name: value.clone().requires_grad_() for name, value in run.begin.items()}
    batches = MetaBatches(DATA.train_items, settings.meta_batch_size, seed=3)
    adam = torch.optim.Adam(list(learned.values()))
    for step, lr in enumerate(lrs):
        adam.zero_grad()
        outer_loss(learned, settings, one_by_one(batches[step], run.data), step).backward()
        slopes = [torch.zeros_like(value) if value.grad is None else value.grad for value in learned.values()]
        norm = math.sqrt(sum(float(slope.square().sum()) for slope in slopes))
        factor = 1.0 if settings.clip_norm is None else min(1.0, settings.clip_norm / (norm + 1e-6))
        for value, slope in zip(learned.values(), slopes, strict=True):
            value.grad = factor * slope
        adam.param_groups[0]["lr"] = lr
        adam.step()
    return {name: value.detach() for name, value in learned.items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-6, atol=1e-8)


# -- outer steps ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "fraction"),
    [("unadapted", 1.0), *((each, fraction) for each in ("maml", "fomaml", "reptile") for fraction in (1.0, 0.4))],
)
def test_outer_steps_are_those_of_a_plain_loop(algorithm, fraction):
    run = learn(algorithm=algorithm, context_fraction=fraction)
    assert (run.module.step, run.module.stop_reason) == (6, "max_steps")
    assert_same(run.end, plain_loop(run, [1e-2] * 6))
    assert any(not torch.equal(run.end[name], run.begin[name]) for name in run.end)


def test_inner_steps_of_the_loss_of_the_image():
    # Of four equal regions each has a quarter of the image's loss.
    image = learn(inner_lr=4e-2, inner_lr_kind="static", inner_loss="image", data=EVEN)
    assert_same(image.end, learn(inner_lr=1e-2, inner_lr_kind="static", data=EVEN).end)


def test_a_cosine():
    run = learn(schedule=Cosine(), evaluate_every=1)
    lrs = [1e-2 * (1 + math.cos(math.pi * step / 6)) / 2 for step in range(7)]
    assert [row["lr"] for row in run.module.curve] == pytest.approx(lrs)
    assert_same(run.end, plain_loop(run, lrs[:6]))


def test_a_clipped_norm():
    run = learn(clip_norm=1e-3)
    assert_same(run.end, plain_loop(run, [1e-2] * 6))
    assert any(not torch.allclose(run.end[name], value, atol=1e-6) for name, value in learn().end.items())


def test_a_plateau():
    # Nothing is enough of a rise.
    run = learn(schedule=Plateau(patience=0, threshold=99.0, factor=0.5), evaluate_every=2)
    assert [row["lr"] for row in run.module.curve] == [1e-2, 1e-2, 5e-3, 2.5e-3]
    assert_same(run.end, plain_loop(run, [1e-2] * 4 + [5e-3] * 2))


def test_the_loss_of_a_row_is_that_of_the_step_before():
    run = learn(steps=1)
    batch = one_by_one(MetaBatches(DATA.train_items, 3, seed=3)[0], run.data)
    begin = {name: value.clone().requires_grad_() for name, value in run.begin.items()}
    assert run.module.curve[-1]["loss"] == pytest.approx(
        float(outer_loss(begin, run.module.settings, batch, 0).detach())
    )


def test_the_work_is_counted():
    macs = BACKBONE.macs(2, DATA.channels)
    for algorithm, samples in (("maml", 3), ("unadapted", 1), ("reptile", 3)):
        assert learn(steps=2, algorithm=algorithm).module.macs == 2 * 3 * 42 * samples * macs


@covering(algorithm=["maml", "fomaml", "reptile", "unadapted"], precision=["32-true", "64-true", "bf16-mixed"])
def test_precisions(precision, algorithm):
    run = learn(precision=precision, algorithm=algorithm, steps=3)
    exact = learn(algorithm=algorithm, steps=3)
    dtype = torch.float64 if precision == "64-true" else torch.float32
    assert {value.dtype for value in run.end.values()} == {dtype}
    tolerance = {"32-true": 1e-3, "64-true": 0.0, "bf16-mixed": 1.0}[precision]
    assert run.module.curve[-1]["psnr"] == pytest.approx(exact.module.curve[-1]["psnr"], abs=tolerance)


def test_computed_again_is_the_same():
    assert_same(learn(recompute=True).end, learn().end)


# -- looking ----------------------------------------------------------------------------------------------------------


def psnr_by_hand(run: Learned, learned: dict[str, Tensor], task: TaskBatch) -> list[float]:
    """After 0, 1, … inner steps."""
    settings = run.module.settings
    by_step = [0.0] * (settings.validation_steps + 1)
    learned = {name: value.clone().requires_grad_() for name, value in learned.items()}
    for coords, targets in regions(task):
        for step, fast in enumerate(adapted(learned, settings, coords, targets, settings.validation_steps, False)):
            values = network(fast, coords).detach().clamp(0, 1)
            by_step[step] += float((values - targets).square().sum()) / task.targets.numel()
    return [-10 * math.log10(error) for error in by_step]


@pytest.mark.parametrize("regions_in_test", [4, 6])
@pytest.mark.parametrize("kind", ["static", "per_parameter_per_step"])
def test_psnr_by_inner_step_is_that_of_the_learned_start(kind, regions_in_test):
    run = learn(inner_lr_kind=kind, val_rule=Grid(regions=regions_in_test), train_rule=None, steps=5)
    for learned, row in ((run.begin, run.module.curve[0]), (run.end, run.module.curve[-1])):
        by_hand = torch.tensor(
            [psnr_by_hand(run, learned, task) for task in one_by_one(range(DATA.val_items), run.data, held_out=True)]
        )
        # The mean of PSNRs, which is not the PSNR of the mean error.
        found = [row[f"psnr_{step}"] for step in range(5)]
        assert found == pytest.approx(by_hand.mean(0).tolist(), abs=1e-5)
        assert row["psnr"] == row["psnr_2"]
        of_image = [each["psnr"] for each in run.module.image_curve if each["step"] == row["step"]]
        assert of_image == pytest.approx(by_hand[:, 2].tolist(), abs=1e-5)
        of_mean = -10 * math.log10(float((10 ** (-by_hand[:, 2] / 10)).mean()))
        assert abs(row["psnr"] - of_mean) > 1e-3
    assert run.module.curve[0]["psnr_4"] != run.module.curve[0]["psnr_2"]
    shown = run.module.adaptations()
    assert [each.name for each in shown] == ["smooth-val-0", "smooth-val-1", "smooth-val-2"]
    assert [each.psnr for each in shown] == [pytest.approx(row, abs=1e-5) for row in by_hand.tolist()]
    for each in shown:
        errors = [float((values - each.signal).square().mean()) for values in each.values]
        assert [-10 * math.log10(error) for error in errors] == pytest.approx(each.psnr, abs=1e-3)


def test_looking_does_not_depend_on_the_batch():
    # Of signals as small as these there is no SSIM.
    curves = [learn(meta_batch_size=size, steps=1).module.curve[0] for size in (1, 2, 3)]
    for row in curves[1:]:
        assert row == pytest.approx(curves[0], rel=1e-9, nan_ok=True)


def test_looking_changes_nothing():
    assert_same(learn(evaluate_every=1).end, learn(evaluate_every=100).end)


# -- broken off and gone on with --------------------------------------------------------------------------------------


class SaveAt(L.Callback):
    """Saves a checkpoint after a number of steps."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if pl_module.step == self.step:
            trainer.save_checkpoint(self.path)


def untimed(curve: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{name: repr(value) for name, value in row.items() if name not in CLOCK_COLUMNS} for row in curve]


SETUPS: dict[str, dict[str, Any]] = {
    "plain": {},
    "reptile, drawn context": {"algorithm": "reptile", "context_fraction": 0.5},
    "cosine, clipped, single": {
        "schedule": Cosine(warmup_steps=2, final=0.1),
        "clip_norm": 0.01,
        "precision": "32-true",
    },
    "plateau, bf16": {
        "schedule": Plateau(patience=1, threshold=50.0),
        "evaluate_every": 2,
        "precision": "bf16-mixed",
    },
    "momentum, drawn context": {
        "optimizer": Optimizer(name="sgd", lr=0.02, options={"momentum": 0.9}),
        "context_fraction": 0.3,
    },
    "workers": {"workers": 2, "context_fraction": 0.5},
}


@covering(setup=SETUPS, at=[4, 7])
def test_resumed_equals_unbroken(tmp_path, setup, at):
    path = tmp_path / "last.ckpt"
    unbroken = learn(steps=12, callbacks=(SaveAt(at, path),), **setup)
    resumed = learn(steps=12, ckpt_path=path, **setup)
    assert untimed(resumed.module.curve) == untimed(unbroken.module.curve)
    assert untimed(resumed.module.image_curve) == untimed(unbroken.module.image_curve)
    assert (resumed.module.step, resumed.module.macs) == (12, unbroken.module.macs)
    assert resumed.module.best_psnr == unbroken.module.best_psnr
    for name, value in unbroken.end.items():
        assert torch.equal(value, resumed.end[name]), name
    if "workers" in setup:
        alone = learn(steps=12, **{**setup, "workers": 0})
        assert untimed(alone.module.curve) == untimed(unbroken.module.curve)


def test_another_step_another_context():
    whole, half = learn(steps=1), learn(steps=1, context_fraction=0.5)
    seeds = [half.module.seeds(batched([half.data.train_tasks[0]]))]
    half.module.step += 1
    seeds.append(half.module.seeds(batched([half.data.train_tasks[0]])))
    assert seeds[0] != seeds[1]
    assert whole.module.curve[-1]["loss"] != half.module.curve[-1]["loss"]


@pytest.mark.parametrize(("goal", "why"), [({"target": 1.0}, "target_psnr"), ({"steps": 5}, "max_steps")])
def test_what_was_over_is_still_over(tmp_path, goal, why):
    class SaveAtTheEnd(L.Callback):
        def on_train_end(self, trainer, pl_module):
            trainer.save_checkpoint(tmp_path / "last.ckpt")

    first = learn(**goal, callbacks=(SaveAtTheEnd(),))
    assert first.module.stop_reason == why
    again = learn(**goal, ckpt_path=tmp_path / "last.ckpt")
    assert (again.module.step, again.module.stop_reason) == (first.module.step, why)
    assert untimed(again.module.curve) == untimed(first.module.curve)


OTHERS: dict[str, dict[str, Any]] = {
    "meta_batch_size": {"meta_batch_size": 2},
    "context_fraction": {"context_fraction": 0.5},
    "algorithm": {"algorithm": "fomaml"},
    "inner_steps": {"inner_steps": 3},
    "inner_lr ": {"inner_lr": 1e-3},
    "clip_norm": {"clip_norm": 1.0},
    "schedule.name": {"schedule": Cosine()},
    "optimizer.lr": {"lr": 1e-3},
    "inner_loss": {"inner_loss": "image"},
    "adapt_layers": {"adapt_layers": 1},
    "initialisation": {"initialisation": "region"},
    "partition_in": {"partition_in": "test"},
}


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "last.ckpt"
    learn(steps=3, callbacks=(SaveAt(2, path),))
    for what, other in OTHERS.items():
        with pytest.raises(
            PartinrError, match=rf"is from another run: its (regime\.)?{what}.*; give the settings of that run"
        ):
            learn(steps=3, ckpt_path=path, **other)
    # What only says how it is looked at, or computed, may be another.
    same: dict[str, Any] = {"validation_steps": 6, "evaluate_every": 1, "recompute": True, "collapse_db": None}
    run = learn(steps=4, ckpt_path=path, **same)
    assert run.module.step == 4
    assert "psnr_6" in run.module.curve[-1]


# -- ends -------------------------------------------------------------------------------------------------------------


def test_a_target():
    run = learn(steps=200, target=12.0, evaluate_every=5)
    assert run.module.stop_reason == "target_psnr"
    assert run.module.step < 200
    assert run.module.curve[-1]["psnr"] >= 12.0 > run.module.curve[-2]["psnr"]
    assert learn(target=1.0).module.step == 0


def test_a_limit_of_time(clock):
    run = learn(steps=None, seconds=0.5)
    assert run.module.stop_reason == "max_seconds"
    assert run.module.curve[-1]["seconds"] == run.module.clock.training >= 0.5


def test_waiting_for_tasks_is_training_and_pictures_are_not(clock, monkeypatch):
    class Draws(L.Callback):
        def on_train_batch_end(self, *given):
            clock.now += 1000

    look = MetaModule._measured

    def slow_look(self):
        clock.now += 100
        return look(self)

    monkeypatch.setattr(MetaModule, "_measured", slow_look)
    run = learn(steps=4, evaluate_every=1, callbacks=(Draws(),))
    assert run.module.clock.training < 1
    assert run.module.clock.evaluation == pytest.approx(500, abs=1)

    load = TrainBatches._load

    def slow_load(self, step):
        for batch in load(self, step):
            clock.now += 10
            yield batch

    monkeypatch.setattr(TrainBatches, "_load", slow_load)
    run = learn(steps=4, evaluate_every=1, callbacks=(Draws(),))
    # What the first step needs is there before the clock runs.
    assert run.module.clock.training == pytest.approx(30, abs=1)
    assert run.module.curve[-1]["seconds"] == run.module.clock.training


FAILS: dict[str, tuple[dict[str, Any], str]] = {
    "inner": (
        {"inner_lr": 1e30, "precision": "32-true"},
        r"the PSNR is nan after 0 steps; lower regime.inner_lr \(now 1e\+30\)",
    ),
    "outer": (
        {"lr": 1e200},
        r"the PSNR is nan after 1 steps; lower optimizer.lr \(now 1e\+200\) or regime.inner_lr, or give .*clip_norm=1",
    ),
    "later": (
        {"lr": 1e200, "evaluate_every": 100},
        r"the loss is (nan|inf) after 2 steps; lower optimizer.lr \(now 1e\+200\) or regime.inner_lr, or give .*",
    ),
}


@pytest.mark.parametrize("case", FAILS)
def test_a_failure_says_what_to_do_and_leaves_the_best(case):
    settings, said = FAILS[case]
    run = learn(**settings)
    failure = run.module.failure
    assert failure is not None
    assert run.module.stop_reason is None
    assert re.fullmatch(said, failure), failure
    for name, value in run.begin.items():
        assert torch.equal(run.end[name], value), name


@pytest.mark.parametrize(
    ("seen", "margin", "collapses"),
    [
        ([10.0, 12.0, 11.0, 11.0, 11.0, 12.0, 12.0], 0.5, True),
        ([10.0, 12.0, 11.0, 11.0, 12.0, 11.0, 11.0], 0.5, False),
        ([10.0, 12.0, 11.0, 11.0, 11.0, 12.0, 12.0], 2.0, False),
        ([10.0, 12.0, 11.0, 11.0, 11.0, 12.0, 12.0], None, False),
    ],
)
def test_a_collapse(monkeypatch, seen, margin, collapses):
    left = iter(seen)
    monkeypatch.setattr(MetaModule, "_measured", lambda self: ([[next(left)] * 5] * 3, [{"ssim": 0.5}] * 3))
    run = learn(evaluate_every=1, collapse_db=margin)
    if collapses:
        said = "the curve has collapsed: 11.0 dB after 4 steps, 12.0 dB at best; lower optimizer.lr (now 0.01) or "
        assert (run.module.failure or "").startswith(said)
        assert run.module.step == 4
        monkeypatch.undo()
        assert_same(run.end, learn(steps=1).end)
    else:
        assert (run.module.failure, run.module.step) == (None, 6)


# -- the self-test ----------------------------------------------------------------------------------------------------


def test_a_wrong_gradient_stops_the_run_before_any_step(monkeypatch):
    from partinr.regimes.meta import check_meta_gradient, inner

    monkeypatch.setattr("partinr.regimes.meta.module.check_meta_gradient", check_meta_gradient)
    gradient = inner._gradient

    def forgetful(objective, params, names, twice):
        return gradient(objective, params, names, twice=False)

    monkeypatch.setattr(inner, "_gradient", forgetful)
    stepped = []
    monkeypatch.setattr(MetaModule, "_outer_step", lambda *given: stepped.append(given))
    with pytest.raises(PartinrError, match=r"^the meta-gradient of regime.algorithm=maml .* is wrong, by .*; choose"):
        learn()
    assert stepped == []


# -- settings that contradict each other ------------------------------------------------------------------------------


def test_settings_that_make_no_sense():
    for settings, said in cases(
        ({"validation_steps": 2}, "validation_steps=2 does not reach regime.inner_steps=3.*; give as many"),
        ({"algorithm": "reptile"}, "reptile takes no gradient .*; give regime.inner_lr_kind=static"),
        ({"algorithm": "unadapted"}, "unadapted takes no inner steps, .*; give regime.inner_lr_kind=static"),
        ({"partition_in": "test", "initialisation": "region"}, "copied to every region; leave regime.initialisation"),
        ({"partition_in": "neither", "initialisation": "region"}, "there is one network; leave regime.initialisation"),
        ({"algorithm": "fomaml", "recompute": True}, "recompute=true is of no use .*fomaml, .*; leave"),
        ({"inner_lr_kind": "static", "inner_lr_positive": True}, "inner_lr_positive=true is for learned .*; leave"),
        (
            {"algorithm": "unadapted", "inner_lr_kind": "static", "context_fraction": 0.5},
            "unadapted takes no inner steps, .*context_fraction=0.5; leave",
        ),
        ({"context_fraction": 0.0}, "context_fraction=0"),
        ({"context_fraction": 1.5}, "context_fraction=1.5"),
        ({"inner_lr": float("inf")}, "inner_lr=inf"),
        ({"inner_lr": 0.0}, "inner_lr=0"),
        ({"inner_lr_kind": "all"}, "inner_lr_kind='all': should be 'static'"),
        ({"inner_loss": "pixel"}, "inner_loss='pixel': should be 'region'"),
        ({"algorithm": "anil"}, "algorithm='anil': should be 'maml'"),
        ({"partition_in": "never"}, "partition_in='never': should be 'both'"),
        *(
            ({name: 0}, f"{name}=0: should be")
            for name in ("inner_steps", "adapt_layers", "meta_batch_size", "validation_tasks", "evaluate_every")
        ),
        ({"clip_norm": 0.0}, "clip_norm=0"),
        ({"workers": -1}, "workers=-1: should be"),
    ):
        with pytest.raises(PartinrError, match=said) as caught:
            MetaSettings(**settings)
        assert "\n" not in str(caught.value)


def test_settings_of_another_start():
    for settings in cases(
        {"inner_steps": 2},
        {"inner_lr": 1e-3},
        {"inner_lr_kind": "global"},
        {"inner_lr_positive": True},
        {"inner_loss": "image"},
        {"adapt_layers": 1},
    ):
        batch = batched([TaskDataModule(DATA.train(), meta_batch_size=1).train_tasks[0]])
        with pytest.raises(
            PartinrError, match=rf"^the start was made with .*regime.{next(iter(settings))} is .*; give"
        ):
            MetaModule(
                LearnedStart(BACKBONE, channels=DATA.channels),
                [batch],
                optimizer=Optimizer(),
                schedule=Constant(),
                stop=StopRule(max_steps=1),
                settings=MetaSettings(**settings),
                facts={},
            )


def test_nothing_to_look_at():
    with pytest.raises(PartinrError, match=r"there are no held-out signals to look at; give data.val_fraction"):
        learn(data=dataclasses.replace(DATA, val_items=0))
