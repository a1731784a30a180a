"""The study of steps: a trial takes the steps that it would take alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from partinr.backbones import ReluPE, Siren
from partinr.base.errors import PartinrError
from partinr.metrics.quality import psnr
from partinr.model.album import Album
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Random
from partinr.regimes import Constant, Cosine, Optimizer, Plateau, StopRule, ThresholdModule, ThresholdSettings, Trial
from partinr.regimes.threshold.trials import Points
from partinr.signals import EdgedImage, StepsData, StepSignal
from partinr.training.trainer import make_trainer, run_fit

SIREN = Siren(hidden_features=8, hidden_layers=1, first_omega_0=10.0)
LINE = StepsData(shape=[40], counts=[1, 3, 16], draws=2)
PLANE = StepsData(shape=[10, 12], counts=[1, 2, 25], draws=2)
IMAGES: dict[str, Any] = {"points_per_step": None, "backbone": SIREN}


def trials_of(data: StepsData, networks: int = 1) -> list[Trial]:
    return [
        Trial(item.name, item.signal(), item.draw, network, item.seed)
        for item in data.train()
        for network in range(networks)
    ]


def image_trials(networks: int = 1) -> list[Trial]:
    """Trials of four images, from a flat half to a checkerboard."""
    rows, columns = torch.meshgrid(torch.arange(10), torch.arange(12), indexing="ij")
    found = []
    for period in (6, 4, 3, 2):
        grey = ((rows // period + columns // period) % 2) * 0.8 + 0.1
        tint = torch.tensor([1.0, 0.7, 0.4])
        signal = EdgedImage((grey.unsqueeze(-1) * tint).float())
        found += [Trial(f"image {period}", signal, 0, network, (0, period)) for network in range(networks)]
    return found


def module_of(
    data: StepsData | None,
    trials: Sequence[Trial],
    parts: int = 1,
    *,
    steps: int = 40,
    backbone=SIREN,
    frame="global",
    engine="batched",
    optimizer: Optimizer | None = None,
    schedule=None,
    **settings,
) -> ThresholdModule:
    grid = trials[0].signal.on_grid([10, 12] if data is None else data.shape)
    partition = Grid(regions=parts)(grid)
    members = {
        trial.name: PiecewiseINR(
            partition, backbone, channels=grid.shape[-1], frame=frame, engine=engine, seed=trial.init_seed
        )
        for trial in trials
    }
    return ThresholdModule(
        Album(members),
        trials,
        optimizer=optimizer or Optimizer(lr=1e-2),
        schedule=schedule or Constant(),
        stop=StopRule(max_steps=steps),
        settings=ThresholdSettings(**{"points_per_step": 30, "threshold": 0.5, **settings}),
    )


def threshold_of(trials: Sequence[Trial], parts: int, rank: int, **options) -> float:
    """A threshold that a given number of image trials are below at the cap."""
    module = module_of(None, trials, parts, **{**options, "threshold": 1e-12})
    train(module)
    return sorted(row["mse"] for row in module.steps_rows())[rank] * (1 - 1e-6)


def train(module: ThresholdModule, *callbacks: L.Callback, precision="64-true", ckpt_path: Path | None = None):
    return run_fit(module, make_trainer(accelerator="cpu", precision=precision, callbacks=callbacks), ckpt_path)


STACKS = {
    "a line": (LINE, 1, {}),
    "local": (LINE, 3, {"frame": "local", "threshold": 0.1}),
    "the plane in parts": (PLANE, 4, {"frame": "local"}),
    "its grid": (PLANE, 4, {"points_per_step": None, "threshold": 0.02}),
    "relu": (LINE, 1, {"backbone": ReluPE(hidden_features=8, hidden_layers=1, frequencies=4)}),
    "images in parts": (None, 4, {**IMAGES, "frame": "local"}),
    "momentum": (LINE, 2, {"optimizer": Optimizer(name="sgd", lr=0.005, options={"momentum": 0.9})}),
}


@pytest.mark.parametrize(("data", "parts", "options"), STACKS.values(), ids=STACKS)
def test_a_stack_of_trials_is_as_many_runs_of_one(data, parts, options):
    trials = image_trials(networks=2) if data is None else trials_of(data, networks=2)
    if data is None:
        options = {**options, "threshold": threshold_of(trials, parts, 4, **options)}
    together = module_of(data, trials, parts, **options)
    train(together)
    found = together.steps_rows()
    assert {row["censored"] for row in found} == {0, 1}, "some should be over, and some not"
    assert len({row["steps"] for row in found}) > 2
    for number, trial in list(enumerate(trials))[::5]:  # other boundaries, draws and networks each
        alone = module_of(data, [trial], parts, **options)
        train(alone)
        (row,) = alone.steps_rows()
        assert row.pop("mse") == pytest.approx(found[number].pop("mse"), rel=1e-9)
        assert row == found[number]
        for name, value in alone.model.stack.items():
            own = together.model.stack[name][number * parts : (number + 1) * parts]
            torch.testing.assert_close(own, value, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("parts", [1, 3])
def test_points_of_a_trial_depend_on_nothing_but_itself_and_the_step(parts):
    trials = trials_of(LINE)
    partition = Grid(regions=parts)(trials[0].signal.on_grid([40]))
    of_all, of_one = Points(trials, partition, 30), Points(trials[4:5], partition, 30)
    together = of_all.draw([1, 4, 5], 7)
    of_one.draw([0], 3)  # what was drawn before makes no difference
    for many, single in zip(together, of_one.draw([0], 7), strict=True):
        assert torch.equal(many[1], single[0])
    assert not torch.equal(together[0][0], together[0][1])
    assert not torch.equal(together[0], of_all.draw([1, 4, 5], 8)[0])


@pytest.mark.parametrize(("data", "parts"), [(LINE, 1), (LINE, 3), (PLANE, 4)])
def test_points_lie_evenly_in_their_part_and_have_the_signal_s_values(data, parts):
    trials = trials_of(data)
    partition = Grid(regions=parts)(trials[0].signal.on_grid(data.shape))
    points = Points(trials, partition, 4000)
    local, whole, values = points.draw(range(len(trials)), 0)
    assert points.sizes.sum() == 4000
    assert points.sizes.max() - points.sizes.min() <= 4000 * (partition.sizes.max() - partition.sizes.min()) + 1
    # 1.6 / sqrt(n) is exceeded in 1 % of draws.
    for axis in range(local.shape[-1]):
        ordered = local[0, :, axis].sort().values
        uniform = (torch.arange(4000) + 0.5) / 2000 - 1
        assert float((ordered - uniform).abs().max()) / 2 < 1.6 / 4000**0.5
    cells = torch.stack(
        [((whole[..., axis] + 1) / 2 * size).long().clamp(max=size - 1) for axis, size in enumerate(data.shape)]
    )
    labels = partition.labels[tuple(cells)]
    assert torch.equal(labels, torch.arange(parts).repeat_interleave(points.sizes).expand_as(labels))
    for number, trial in enumerate(trials):
        assert isinstance(trial.signal, StepSignal)
        assert torch.equal(trial.signal(whole[number]), values[number])


def test_networks_of_one_signal_begin_and_see_otherwise():
    first, second = trials_of(StepsData(shape=[40], counts=[2], draws=1), networks=2)
    assert first.init_seed != second.init_seed
    assert first.key.tolist() != second.key.tolist()


def test_a_trial_over_keeps_its_weights_and_costs_nothing():
    module = module_of(LINE, trials_of(LINE))
    whole = len(module.trials) * 30 * module.model.macs_per_sample
    train(module)
    by_step = {row["step"]: row for row in module.curve}
    for step in range(1, module.step):
        left = len(module.trials) - by_step[step - 1]["reached"]
        assert by_step[step]["macs"] - by_step[step - 1]["macs"] == whole * left // len(module.trials)
    # What is kept is below the threshold, and was not at the look before.
    errors = module.model.evaluate(module.buffer("_coords"), module.batch.sizes).view(len(module.trials), -1)
    mse = (errors - module.buffer("_targets").view(len(module.trials), -1)).square().mean(1)
    assert torch.equal(mse < 0.5, module.reached > 0)
    torch.testing.assert_close(mse.double(), module.mse)


def test_an_image_is_over_at_its_psnr():
    trials = image_trials()
    module = module_of(
        None,
        trials,
        4,
        backbone=ReluPE(hidden_features=8, hidden_layers=1, frequencies=4),
        points_per_step=None,
        threshold=0.02,
        steps=150,
    )
    train(module)
    assert 0 < int((module.reached > 0).sum()) < len(trials)
    for trial, row, (number, reached) in zip(
        trials, module.steps_rows(), enumerate(module.reached.tolist()), strict=True
    ):
        assert isinstance(trial.signal, EdgedImage)
        assert row["boundaries"] == trial.signal.boundaries
        assert (row["signal"], row["cells"], row["censored"]) == (trial.signal_name, None, int(not reached))
        member = module.model.member(number)
        found = psnr(member.render(), trial.signal.values)
        assert found == pytest.approx(-10 * math.log10(row["mse"]), abs=1e-3)
        assert (found > -10 * math.log10(0.02)) == bool(reached)
    assert module.curve[-1]["psnr"] == pytest.approx(
        sum(-10 * math.log10(row["mse"]) for row in module.steps_rows()) / len(trials)
    )
    assert module.facts()["signal"]["shape"] == [10, 12, 3]


def test_it_is_over_when_all_are_and_else_at_the_cap():
    easy = module_of(LINE, trials_of(LINE), threshold=1e6)
    result = train(easy)
    assert (result.stop, result.steps) == ("all_reached", 0)
    assert {row["censored"] for row in easy.steps_rows()} == {0}
    hard = module_of(LINE, trials_of(LINE), threshold=1e-9, steps=5)
    result = train(hard)
    assert (result.stop, result.steps, result.failure) == ("max_steps", 5, None)
    assert [(row["steps"], row["censored"]) for row in hard.steps_rows()] == [(5, 1)] * 6


def test_a_trial_that_diverges_is_left_at_the_cap_and_disturbs_nobody():
    broken = module_of(LINE, trials_of(LINE), steps=30)
    sound = module_of(LINE, trials_of(LINE), steps=30)
    with torch.no_grad():
        broken.model.stack["weight_0"][2] = float("nan")
    broken.shard = broken._take_shard()
    train(broken)
    train(sound)
    found, expected = broken.steps_rows(), sound.steps_rows()
    assert (found.pop(2)["censored"], found and broken.facts()["trials"]["diverged"]) == (1, 1)
    del expected[2]
    assert [(row["steps"], row["censored"]) for row in found] == [(row["steps"], row["censored"]) for row in expected]


def test_looks_are_as_fine_as_was_asked_for():
    module = module_of(LINE, trials_of(LINE)[:1], threshold=1e-9, steps=400, resolution=0.05)
    train(module, precision="32-true")
    steps = [row["step"] for row in module.curve]
    assert steps[:40] == list(range(40))
    assert steps[-1] == 400
    assert all(after - before <= max(1, 0.05 * before) for before, after in itertools.pairwise(steps))


def test_looks_do_not_depend_on_how_long_a_step_takes(monkeypatch):
    found = []
    for chunk in (1, 2, 1000):
        monkeypatch.setattr(ThresholdModule, "chunk", lambda self, chunk=chunk: chunk)
        module = module_of(LINE, trials_of(LINE), steps=60, resolution=0.2)
        train(module)
        found.append(([row["step"] for row in module.curve], module.steps_rows()))
    assert found[0][0][:12] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12]
    assert found[0] == found[1] == found[2]


class SaveAt(L.Callback):
    """Saves a checkpoint after a number of steps."""

    def __init__(self, step: int, path: Path) -> None:
        self.step, self.path, self.saved_at = step, path, 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if not self.saved_at and pl_module.step >= self.step:
            self.saved_at = pl_module.step
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
@pytest.mark.parametrize("data", [LINE, None], ids=["steps", "images"])
def test_resumed_equals_unbroken(tmp_path, precision, data):
    options: dict[str, Any] = {"parts": 2, "resolution": 0.2, "schedule": Cosine(final=0.2), "threshold": 0.5}
    trials = trials_of(LINE)
    if data is None:
        trials = image_trials()
        options |= {**IMAGES, "steps": 60, "threshold": threshold_of(trials, 2, 2, **{**IMAGES, "steps": 20})}
    unbroken = module_of(data, trials, **options)
    saver = SaveAt(21 if data else 12, tmp_path / "last.ckpt")
    train(unbroken, saver, precision=precision)
    reached = unbroken.reached[unbroken.reached > 0]
    assert int(reached.min()) <= saver.saved_at < int(reached.max())
    resumed = module_of(data, trials, **options)
    train(resumed, precision=precision, ckpt_path=tmp_path / "last.ckpt")
    assert resumed.steps_rows() == unbroken.steps_rows()
    other = module_of(data, trials, **{**options, "threshold": 0.4})
    with pytest.raises(PartinrError, match=r"its regime\.threshold is [0-9.]+, here it is 0\.4"):
        train(other, precision=precision, ckpt_path=tmp_path / "last.ckpt")


def test_what_does_not_go_together_is_refused():
    trials = trials_of(LINE)
    with pytest.raises(PartinrError, match="too few for 8 regions"):
        module_of(LINE, trials, 8, points_per_step=3)
    with pytest.raises(PartinrError, match="schedule=plateau would follow all trials"):
        module_of(LINE, trials, schedule=Plateau())
    ragged = Random(regions=3)(trials[0].signal.on_grid([40]))
    with pytest.raises(PartinrError, match="points are drawn in rectangles"):
        Points(trials, ragged, 30)
    with pytest.raises(PartinrError, match=r"give regime\.points_per_step=null"):
        module_of(None, image_trials())
    with pytest.raises(PartinrError, match=r"trainer\.devices=2"):
        module_of(LINE, trials).check_devices(2)
