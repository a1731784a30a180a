"""The lattices of coarse steps are all samples between them, and the run is the same however it is interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid
from partinr.regimes import Cosine, FitModule, FitSettings, Optimizer, StopRule, make_trainer
from partinr.training import loop
from partinr.training.sampling import CoarseToFine, lattices
from partinr.training.trainer import run_fit

STEPS = 40


def on_lattices(run: FitModule) -> bool:
    assert isinstance(run.sampler, CoarseToFine)
    return run.sampler.coarse


def module(image: Tensor, stop: StopRule | None = None, overlap: int = 0, **settings: Any) -> FitModule:
    backbone = Siren(hidden_features=4, hidden_layers=1, first_omega_0=5.0)
    partition = Grid(rows=2, cols=2)(image)
    return FitModule(
        PiecewiseINR(partition, backbone, overlap=overlap, frame="local", widths=None if overlap else (4, 5, 5, 6)),
        image,
        optimizer=Optimizer(lr=1e-2),
        schedule=Cosine(),
        stop=stop or StopRule(max_steps=STEPS),
        settings=FitSettings(evaluate_every=7, **settings),
    )


def trained(each: FitModule, *callbacks: L.Callback, ckpt: Path | None = None) -> FitModule:
    run_fit(each, make_trainer(accelerator="cpu", callbacks=list(callbacks)), ckpt)
    return each


def same(one: FitModule, other: FitModule) -> None:
    for name, value in one.model.stack.items():
        assert torch.equal(other.model.stack[name], value), name
    for name in ("step", "macs", "loss", "psnr"):
        assert [row[name] for row in one.curve[1:]] == [row[name] for row in other.curve[1:]], name


@pytest.fixture
def image() -> Tensor:
    return torch.rand(9, 10, 3, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("shape", [(7,), (5, 6), (1, 4), (3, 4, 2)])
def test_a_lattice_is_every_second_sample_along_each_axis(shape: tuple[int, ...]) -> None:
    turns = lattices(shape)
    assert turns.shape == shape
    for turn in range(2 ** len(shape)):
        members = (turns == turn).nonzero()
        if len(members):  # all those of one parity along each axis
            first = members[0] % 2
            assert (members % 2 == first).all()
            assert len(members) == len(turns[tuple(slice(int(begin), None, 2) for begin in first)].flatten())


def test_successive_lattices_are_a_chessboard_between_them() -> None:
    assert ((lattices((4, 4)) < 2) == ((torch.arange(4)[:, None] + torch.arange(4)) % 2 == 0)).all()


@pytest.mark.parametrize("overlap", [0, 1])
def test_loss_and_gradient_of_all_turns_are_those_of_all_samples(image: Tensor, overlap: int) -> None:
    whole, coarse = (module(image, overlap=overlap, coarse_until=until) for until in (0.0, 0.5))
    expected = whole.loss(0)
    expected.backward()
    losses = [coarse.loss(step) / 4 for step in range(5, 9)]
    for loss in losses:
        loss.backward()
    torch.testing.assert_close(sum(losses), expected)
    for name, value in whole.model.stack.items():
        torch.testing.assert_close(coarse.model.stack[name].grad, value.grad)


def test_costs_and_end_of_the_coarse_steps(image: Tensor) -> None:
    run = trained(module(image, coarse_until=0.25))
    a_step = module(image).macs_a_step()
    for row in run.curve:
        coarse = min(row["step"], 10)
        assert row["macs"] == pytest.approx((row["step"] - coarse / 4 * 3) * a_step, rel=1e-3)
    assert on_lattices(trained(module(image, coarse_until=1.0)))


def test_results_depend_neither_on_chunks_nor_on_an_interruption(
    image: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = trained(module(image, coarse_until=0.4))
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)
    same(trained(module(image, coarse_until=0.4)), unbroken)

    class Keep(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, module: Any, *rest: Any) -> None:
            if module.step in (9, 16):  # in the second turn, and where all samples come next
                trainer.save_checkpoint(tmp_path / f"{module.step}.ckpt")

    trained(module(image, coarse_until=0.4), Keep())
    for step in (9, 16):
        same(trained(module(image, coarse_until=0.4), ckpt=tmp_path / f"{step}.ckpt"), unbroken)


def test_seconds_end_the_coarse_steps_too(image: Tensor) -> None:
    run = trained(module(image, StopRule(max_seconds=0.4), coarse_until=0.5))
    assert not on_lattices(run)
    assert run.curve[-1]["psnr"] > run.curve[0]["psnr"]
    assert run.macs < run.step * module(image).macs_a_step()


def test_refused_with_drawn_points() -> None:
    with pytest.raises(PartinrError, match=r"give regime\.coarse_until=0, or"):
        FitSettings(coarse_until=0.2, points_per_step=5)
