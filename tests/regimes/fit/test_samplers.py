"""Fits with each sampler: the look at the networks, its cost, checkpoints, frozen regions, blends, sounds and sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.model.album import Album
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Partition
from partinr.regimes import Constant, FitModule, FitSettings, Optimizer, StopRule, make_trainer
from partinr.samplers import Edges, Error, Evos, Expansive, Int, Nint, Sampler, Uniform
from partinr.signals.observations import Mask
from partinr.training.look import KERNEL_PASSES, LookAt
from partinr.training.steps import EngineSteps
from partinr.training.trainer import run_fit

SIREN = Siren(hidden_features=5, hidden_layers=1, first_omega_0=8.0)
SAMPLERS = {
    each.title: each
    for each in (
        Edges(fraction=0.4, correction=0.5),
        Evos(first_interval=4, last_interval=2),
        Int(longest=5),
        Nint(fraction=0.4, refresh=3, random=0.4),
        Expansive(),
    )
}


def module(
    signal: Tensor | list[Tensor],
    sampler: Sampler | None = None,
    model: Any = None,
    steps: int = 16,
    observe: Any = None,
    **settings: Any,
) -> FitModule:
    if model is None:
        assert isinstance(signal, Tensor)
        model = PiecewiseINR(
            Partition(torch.arange(signal[..., 0].numel()).reshape(signal.shape[:-1]) * 3 // signal[..., 0].numel()),
            SIREN,
            channels=signal.shape[-1],
            widths=[4, 5, 4],
        )
    return FitModule(
        model,
        signal,
        optimizer=Optimizer(lr=1e-2),
        schedule=Constant(),
        stop=StopRule(max_steps=steps),
        settings=FitSettings(**{"evaluate_every": 8, "collapse_db": None, **settings}),
        observe=observe,
        sampler=sampler,
    )


def trained(each: FitModule, *callbacks: L.Callback, ckpt: Path | None = None) -> FitModule:
    run_fit(each, make_trainer(accelerator="cpu", callbacks=list(callbacks)), ckpt)
    return each


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_look_is_the_error_of_each_row_and_the_kernel_that_of_finite_differences(
    signal: Tensor, precision: torch.dtype
) -> None:
    fit = module(signal, Nint(), observe=Mask(fraction=0.7)).to(precision)
    fit.shard = fit._take_shard()
    assert fit.batch.sizes == (18, 18, 18)
    seen = LookAt(fit)
    weights = fit.buffer("_weights")
    residuals = (fit.values() - fit.buffer("_targets")) * weights.sqrt()
    torch.testing.assert_close(seen.residuals, residuals.detach().float())
    # w = K r: the derivative of the values along the gradient of half the squared error.
    params = {name: value.detach().double() for name, value in fit.model.stack.items()}
    coords, targets = fit.batch.coords.double(), fit.buffer("_targets").double()
    for value in params.values():
        value.requires_grad_()
    error = fit.model.squared_error(coords, targets, fit.batch.sizes, weights.double(), params)
    along = torch.autograd.grad(error / 2, list(params.values()))

    def moved(by: float) -> Tensor:
        own = {name: value.detach() + by * step for (name, value), step in zip(params.items(), along, strict=True)}
        return fit.model(coords, fit.batch.sizes, own).detach()

    change = (moved(1e-5) - moved(-1e-5)) / 2e-5
    torch.testing.assert_close(seen.kernel, change.norm(dim=1).float(), rtol=1e-3, atol=1e-5)
    assert seen.macs == (1 + KERNEL_PASSES) * int(fit.work.sum())


def test_the_kernel_of_a_stack_is_that_of_each_network_alone(signal: Tensor) -> None:
    whole = LookAt(module(signal, Nint())).kernel
    for network in range(3):
        fit = module(signal, Nint())
        fit.finished[torch.arange(3) != network] = True
        fit.shard = fit._take_shard()
        own, rows = LookAt(fit), fit.batch.network == network
        torch.testing.assert_close(own.kernel[rows], whole[rows])
        assert float(own.kernel[~rows].abs().sum() + own.residuals[~rows].abs().sum()) == 0
        assert own.macs == (1 + KERNEL_PASSES) * int(fit.work[network])


@pytest.mark.parametrize("name", SAMPLERS)
def test_learns_counts_its_looks_and_resumes_bit_by_bit(
    signal: Tensor, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler, looks = SAMPLERS[name], []
    beginning = LookAt.__init__

    def counted(self: LookAt, loop: Any) -> None:
        looks.append((self, loop.step))
        beginning(self, loop)

    class Keep(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, module: Any, *rest: Any) -> None:
            if module.step == 11:
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    monkeypatch.setattr(LookAt, "__init__", counted)
    unbroken = trained(module(signal, sampler))
    assert unbroken.curve[-1]["psnr"] > unbroken.curve[0]["psnr"]
    steps = sorted(each for _, each in looks)
    known = {"evos": [0, 4, 7, 10, 12, 14], "nint": list(range(16)), "edges": [], "expansive": [0]}
    assert steps == known.get(name, steps)
    assert (sum(each.macs for each, _ in looks) > 0) == (name in ("evos", "int", "nint"))
    spent = unbroken.macs - sum(each.macs for each, _ in looks)
    if name != "int":
        assert spent == 16 * unbroken.macs_a_step()
        fraction = sampler.points(54, None) or 0
        assert unbroken.macs_a_step() == pytest.approx(fraction * unbroken.model.macs_per_sample, rel=0.25)
    # A turn of Lightning's loop for every step, so that a checkpoint falls where it is wanted.
    monkeypatch.setattr("partinr.training.loop.CHUNK_SECONDS", 0.0)
    kept = trained(module(signal, sampler), Keep())
    resumed = trained(module(signal, sampler), ckpt=tmp_path / "last.ckpt")
    for other in (kept, resumed):
        for key, value in unbroken.model.stack.items():
            assert torch.equal(other.model.stack[key], value)
        for key in ("step", "macs", "loss", "psnr"):
            assert [row[key] for row in other.curve[1:]] == [row[key] for row in unbroken.curve[1:]]
    if name == "edges":
        with pytest.raises(PartinrError, match=r"its sampler\.correction is 0\.5, here it is 1\.0"):
            trained(module(signal, Edges(fraction=0.4)), ckpt=tmp_path / "last.ckpt")


@pytest.mark.parametrize("sampler", [Evos(first_interval=12, last_interval=12), Expansive(fraction=0.3)], ids=str)
def test_steps_of_the_engine_are_those_of_autograd(
    signal: Tensor, sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    beginning = EngineSteps.run

    def run(self: EngineSteps, steps: range, advance: Any) -> Any:
        taken.extend(steps)
        return beginning(self, steps, advance)

    monkeypatch.setattr(EngineSteps, "run", run)
    by_engine = trained(module(signal, sampler, steps=30))
    assert taken == list(range(30))
    monkeypatch.setattr("partinr.training.steps.adam_run", lambda loop: None)
    by_hand = trained(module(signal, sampler, steps=30))
    assert len(taken) == 30
    for name, value in by_hand.model.stack.items():
        torch.testing.assert_close(by_engine.model.stack[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", [*SAMPLERS, "uniform"])
def test_blended_networks_draw_together_or_are_refused(signal: Tensor, name: str) -> None:
    sampler = SAMPLERS.get(name, Uniform(fraction=0.4))
    model = PiecewiseINR(Grid(rows=1, cols=2)(signal), SIREN, overlap=1, global_network=True)
    if not sampler.blends:
        with pytest.raises(PartinrError, match="choose sampler=uniform, or give overlap=0"):
            module(signal, sampler, model)
        return
    fit = module(signal, sampler, model)
    fit.sampler.begin(fit, 1)
    found = fit.samples_of(0)
    assert sum(len(each.targets) for each in found) == fit.points_per_step
    if name == "expansive":
        # Weights belong to samples, whatever networks they have.
        weights = torch.cat([each.weights for each in found if each.weights is not None])
        draws = fit.sampler.draws  # type: ignore[attr-defined]
        assert sorted(weights.flatten().tolist()) == sorted(draws.weights[draws.draw(0)].flatten().tolist())
    fit.loss(0).backward()


def test_with_frozen_regions_a_sound_and_several_signals(signal: Tensor) -> None:
    flat = torch.full((6, 9, 3), 0.5)
    flat[3:] += 0.3 * torch.rand(3, 9, 3, generator=torch.Generator().manual_seed(5))
    run = trained(module(flat, Evos(first_interval=4, last_interval=4), steps=120, freeze_at_psnr=30.0))
    assert run.finished.any()
    assert not run.finished.all()
    assert run.macs_a_step() < module(flat, Evos()).macs_a_step()
    sound = torch.rand(40, 1, generator=torch.Generator().manual_seed(2))
    assert trained(module(sound, Evos())).step == 16
    models = {name: PiecewiseINR(Grid(rows=1, cols=n)(signal), SIREN) for name, n in (("a", 2), ("b", 1))}
    pair = trained(module([signal, signal.flip(1)], Nint(fraction=0.5), Album(models)))
    assert len(pair.image_curve) == 2 * len(pair.curve)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sampler": Error()}, r"give regime\.points_per_step or sampler\.fraction, or leave sampler=uniform"),
        ({"sampler": Evos(), "coarse_until": 0.5}, r"give regime\.coarse_until=0, or sampler=uniform"),
        ({"sampler": Evos(), "total_variation": 0.1}, "needs the values of all samples in each step; give sampler=uni"),
        ({"sampler": Evos(), "sampling": "error"}, r"leave out regime\.sampling"),
        ({"points_per_step": 55}, "more than the 54 samples there are"),
    ],
)
def test_what_does_not_go_together_is_refused(signal: Tensor, options: dict[str, Any], says: str) -> None:
    with pytest.raises(PartinrError, match=says):
        module(signal, **options)


def test_points_per_step_counts_before_the_fraction_and_sampling_is_an_older_word(signal: Tensor) -> None:
    assert module(signal, Evos(), points_per_step=9).points_per_step == 9
    assert module(signal, Evos()).points_per_step == 27
    assert module(signal, Evos(), jitter=True).samples_of(0)
    older = module(signal, points_per_step=9, sampling="error")
    assert older.sampler.goes_by_error
    assert older.identity()["sampler"]["kind"] == "error"
    assert "sampler" not in module(signal, points_per_step=9).identity()
