"""Frozen regions: they keep their weights, cost nothing, and the others do not notice."""

from __future__ import annotations

import lightning as L
import pytest
import torch
from torch import Tensor

import partinr
from partinr.backbones import Siren
from partinr.partition import Grid
from partinr.regimes import Cosine, FitSettings, Optimizer, PerNetwork, StopRule
from partinr.regimes.fit.module import FitModule
from partinr.training.trainer import make_trainer, run_fit
from tests.covering import covering


@pytest.fixture(scope="module")
def image() -> Tensor:
    """Twelve by twelve; the left half nearly flat, so that its regions are soon done."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(12, 12, 3, generator=generator)
    image[:, :6] = 0.4 + 0.002 * image[:, :6]
    return image


def _module(image: Tensor, steps: int, widths: list[int] | None = None, **settings) -> FitModule:
    model = partinr.PiecewiseINR(
        Grid(rows=2, cols=2)(image), Siren(hidden_features=6, hidden_layers=1), widths=widths, frame="local"
    )
    optimizer = settings.pop("optimizer", Optimizer(lr=1e-2))
    return FitModule(
        model,
        image,
        optimizer=optimizer,
        schedule=Cosine(),
        stop=StopRule(max_steps=steps),
        settings=FitSettings(evaluate_every=10, collapse_db=None, **settings),
    )


def _trainer():
    return make_trainer(accelerator="cpu")


def _by_region(module: FitModule, values: dict[str, Tensor]) -> dict[int, list[Tensor]]:
    """The parameters of each region."""
    found: dict[int, list[Tensor]] = {}
    for group in module.model.groups:
        for row, region in enumerate(group.networks):
            found[region] = [values[f"{group.prefix}{name}"][row].clone() for name in group.names]
    return found


OPTIMIZERS = [
    Optimizer(lr=1e-2),
    Optimizer(name="sgd", lr=0.01, options={"momentum": 0.9}),
    PerNetwork(name="muon", lr=3e-3, adamw_lr=1e-2),
    PerNetwork(lr=3e-3),
]


@covering(
    optimizer={optimizer.name: optimizer for optimizer in OPTIMIZERS}, widths=[None, [6, 6, 5, 4]], points=[None, 60]
)
def test_what_is_frozen_stays_and_the_others_do_not_notice(image, widths, optimizer, points):
    free = _module(image, 120, widths, optimizer=optimizer, points_per_step=points)
    run_fit(free, _trainer())
    some = _module(image, 120, widths, optimizer=optimizer, points_per_step=points, freeze_at_psnr=34)
    seen = {}
    evaluate = some.after_evaluation

    def freeze() -> None:
        before = some.finished.clone()
        evaluate()
        for network in torch.nonzero(some.finished & ~before).flatten().tolist():
            region = [region for group in some.model.groups for region in group.networks][network]
            seen[region] = _by_region(some, dict(some.model.stack))[region]

    some.after_evaluation = freeze  # type: ignore[method-assign]
    run_fit(some, _trainer())
    assert 0 < some.finished.sum() < 4, "the case is none: nothing, or everything, was frozen"
    at_the_end, of_the_free = _by_region(some, dict(some.model.stack)), _by_region(free, dict(free.model.stack))
    for region in range(4):
        for one, then, other in zip(
            at_the_end[region], seen.get(region, at_the_end[region]), of_the_free[region], strict=True
        ):
            torch.testing.assert_close(one, then, rtol=0, atol=0)
            if region not in seen:
                torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert some.macs < free.macs
    assert some.seconds_saved is not None
    assert free.seconds_saved is None


def test_the_run_is_over_when_all_are_frozen(image):
    module = _module(image[:, :6].repeat(1, 2, 1), 2000, freeze_at_psnr=30)
    result = run_fit(module, _trainer())
    assert result.stop == "all_frozen"
    assert result.steps < 2000
    assert result.psnr >= 30


def test_a_run_whose_regions_were_all_frozen_is_over_when_it_is_resumed(image, tmp_path):
    class Save(L.Callback):
        def on_train_end(self, trainer, module):
            trainer.save_checkpoint(tmp_path / "last.ckpt")

    flat = image[:, :6].repeat(1, 2, 1)
    first = _module(flat, 2000, freeze_at_psnr=30)
    run_fit(first, make_trainer(accelerator="cpu", callbacks=[Save()]))
    again = run_fit(_module(flat, 3000, freeze_at_psnr=30), _trainer(), tmp_path / "last.ckpt")
    assert (again.stop, again.steps) == ("all_frozen", first.step)


def test_a_failed_run_with_frozen_regions_keeps_its_best_weights(image):
    class Ruin(L.Callback):
        def on_train_batch_end(self, trainer, module, *rest):
            if module.finished.any():
                for value in module.shard.params.values():
                    value.data.fill_(float("nan"))

    module = _module(image, 200, freeze_at_psnr=34)
    result = run_fit(module, make_trainer(accelerator="cpu", callbacks=[Ruin()]))
    assert result.failure is not None
    module.reconstructions()  # as the pictures of the end ask for it
    assert all(bool(value.isfinite().all()) for value in module.model.stack.values())


@pytest.mark.parametrize("widths", [None, [6, 6, 5, 4]], ids=["one width", "three widths"])
def test_resumed_with_frozen_regions(image, widths, tmp_path):
    unbroken = _module(image, 200, widths, freeze_at_psnr=34)
    run_fit(unbroken, _trainer())

    class Stop(L.Callback):
        def on_train_batch_end(self, trainer, module, *rest):
            if module.finished.any() and not module.finished.all() and not (tmp_path / "last.ckpt").exists():
                trainer.save_checkpoint(tmp_path / "last.ckpt")

    first = _module(image, 200, widths, freeze_at_psnr=34)
    run_fit(first, make_trainer(accelerator="cpu", callbacks=[Stop()]))
    second = _module(image, 200, widths, freeze_at_psnr=34)
    run_fit(second, _trainer(), tmp_path / "last.ckpt")
    assert torch.equal(second.finished, unbroken.finished)
    for name, value in unbroken.model.stack.items():
        torch.testing.assert_close(second.model.stack[name], value, rtol=0, atol=0)
    assert [row["psnr"] for row in second.curve] == [row["psnr"] for row in unbroken.curve]
