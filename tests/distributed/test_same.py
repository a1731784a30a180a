"""However many processes train a stack, it learns the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback
from lightning.pytorch.callbacks import EarlyStopping

from partinr.base.errors import PartinrError
from partinr.callbacks import LastCheckpoint
from partinr.regimes import Cosine, FitResult, Optimizer, PerNetwork, Plateau
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CHECKPOINT, CLOCK_COLUMNS
from partinr.samplers import Evos, Nint
from partinr.signals.observations import Downsample, Mask, Radon
from tests.live_rules import Halving

WIDTHS = (4, 9, 4, 6, 9)

CASES: dict[str, dict[str, Any]] = {
    "adam": {"steps": 30},
    "widths, momentum, loss by region": {
        "steps": 30,
        "widths": WIDTHS,
        "optimizer": "sgd",
        "lr": 0.02,
        "options": {"momentum": 0.9},
        "settings": {"loss": "region"},
    },
    # So few that a region, and a process, often has none of them.
    "drawn points, widths, cosine": {
        "steps": 40,
        "optimizer": Optimizer(lr=3e-3, clip_norm=0.03),
        "widths": WIDTHS,
        "settings": {"points_per_step": 3},
        "engine": "fused",
        "schedule": Cosine(),
    },
    "plateau, double precision": {
        "steps": 40,
        "settings": {"evaluate_every": 4},
        "schedule": Plateau(patience=0, threshold=1.0),
        "precision": "64-true",
        "optimizer": "rmsprop",
    },
    "frozen regions": {
        "steps": 120,
        "widths": WIDTHS,
        "settings": {"freeze_at_psnr": 22.0, "evaluate_every": 5},
        "lr": 1e-2,
    },
    "muon, points by error": {
        "steps": 25,
        "optimizer": PerNetwork(name="muon", lr=3e-3, adamw_lr=3e-3),
        "settings": {"points_per_step": 20, "sampling": "error", "evaluate_every": 5},
    },
    # Batched products are rounded otherwise among other networks. (Not SOAP: its first eigenbasis of a singular matrix
    # is a matter of rounding, which differs from processor to processor.)
    "muon, widths": {
        "engine": "loop",
        "steps": 25,
        "widths": WIDTHS,
        "optimizer": PerNetwork(name="muon", lr=3e-3, adamw_lr=1e-2),
        "settings": {"evaluate_every": 5},
    },
    "kernel, widths": {
        "engine": "loop",
        "steps": 20,
        "widths": WIDTHS,
        "sampler": Nint(fraction=0.5, refresh=3, random=0.4, interval=2),
    },
    "samples, evolution, overlap": {
        "steps": 20,
        "shard": "samples",
        "model": {"overlap": 1},
        "sampler": Evos(first_interval=4, last_interval=3),
        "settings": {"evaluate_every": 5},
    },
    "one network": {"steps": 30, "model": {"regions": 1}, "settings": {"begin_at_mean": True}},
    "samples, points by error, widths": {
        "steps": 40,
        "shard": "samples",
        "widths": WIDTHS,
        "settings": {"points_per_step": 7, "sampling": "error", "evaluate_every": 5},
        "engine": "fused",
        "schedule": Cosine(),
    },
    "samples, frozen regions": {
        "steps": 120,
        "shard": "samples",
        "widths": WIDTHS,
        "settings": {"freeze_at_psnr": 22.0, "evaluate_every": 5},
        "lr": 1e-2,
    },
    "blended, drawn points": {
        "steps": 40,
        "model": {"overlap": 1, "global_network": True},
        "settings": {"points_per_step": 10},
        "schedule": Plateau(patience=0, threshold=1.0),
    },
    "shared layers, drawn points": {
        "steps": 20,
        "model": {"global_network": "layers"},
        "settings": {"points_per_step": 10, "evaluate_every": 5},
    },
    "samples, learned start": {
        "steps": 10,
        "shard": "samples",
        "start": {"inner_lr": 1e-2, "seed": 3},
        "start_steps": 3,
        "settings": {"evaluate_every": 1},
    },
    "samples, failure": {
        "steps": 60,
        "shard": "samples",
        "optimizer": "sgd",
        "lr": 1e38,
        "settings": {"evaluate_every": 5},
    },
    "samples, coarse, widths": {
        "steps": 40,
        "optimizer": Optimizer(lr=3e-3, clip_norm=0.03),
        "shard": "samples",
        "widths": WIDTHS,
        "settings": {"coarse_until": 0.3, "evaluate_every": 5},
        "engine": "fused",
        "schedule": Cosine(),
    },
    # Rays cross regions, so processes divide samples.
    "projections": {"steps": 20, "observe": Radon(angles=5), "settings": {"evaluate_every": 5}},
    "averages, overlap, prior": {
        "steps": 20,
        "model": {"overlap": 1},
        "observe": Downsample(factor=2),
        "settings": {"total_variation": 0.1},
    },
    "mask and prior": {"steps": 20, "observe": Mask(fraction=0.5), "settings": {"total_variation": 0.1}},
    "mask": {"steps": 20, "observe": Mask(fraction=0.5)},
    "target": {"steps": 200, "target_psnr": 20.0, "settings": {"evaluate_every": 5}, "engine": "loop"},
    "failure": {"steps": 60, "optimizer": "sgd", "lr": 1e38, "settings": {"evaluate_every": 5}},
}


def same(one: FitResult, other: FitResult, tolerance: float = 2e-4) -> None:
    assert (one.steps, one.stop, one.failure) == (other.steps, other.stop, other.failure)
    assert len(one.curve) == len(other.curve)
    for row, expected in zip(one.curve, other.curve, strict=True):
        for name in ("step", "macs", "lr"):
            assert row[name] == expected[name], name
        for name in ("loss", "psnr", "ssim"):
            assert row[name] == pytest.approx(expected[name], rel=tolerance, nan_ok=True), name
    assert one.psnr_best == pytest.approx(other.psnr_best, rel=tolerance)
    for name, value in one.model.stack.items():
        assert value.dtype == other.model.stack[name].dtype
        torch.testing.assert_close(value, other.model.stack[name], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        ("adam", 2),
        ("drawn points, widths, cosine", 3),
        ("samples, frozen regions", 3),
        ("blended, drawn points", 3),
        ("samples, coarse, widths", 2),
        *(
            pytest.param(name, devices, marks=pytest.mark.slow)
            for name, devices in (
                ("widths, momentum, loss by region", 2),
                ("muon, points by error", 2),
                ("target", 2),
                ("failure", 3),
                ("samples, failure", 2),
                ("samples, learned start", 3),
                ("shared layers, drawn points", 2),
                ("projections", 2),
                ("averages, overlap, prior", 3),
                ("mask and prior", 2),
                ("mask", 2),
                ("kernel, widths", 2),
                ("samples, evolution, overlap", 2),
            )
        ),
    ],
)
def test_one_process_or_several(fit_on: Any, name: str, devices: int) -> None:
    # test_gone_on_with_by_another_number says the same of the other cases.
    alone = fit_on(1, **CASES[name])
    several = fit_on(devices, **CASES[name])
    same(several, alone)
    if name == "adam":  # bit by bit where nothing differs
        one, other = (
            [row | dict.fromkeys(CLOCK_COLUMNS, 0) for row in result.curve]
            for result in (several, fit_on(devices, **CASES[name]))
        )
        assert str(one) == str(other)
    if "frozen regions" in name:
        assert alone.stop == "all_frozen"
        assert len({row["macs"] for row in alone.curve}) > 3
    if name == "target":
        assert alone.stop == "target_psnr"
    if "failure" in name:
        assert alone.failure is not None


def test_a_callback_ends_all_of_them(fit_on: Any) -> None:
    one, several = (
        fit_on(
            devices,
            steps=50,
            settings={"evaluate_every": 2},
            callbacks=(EarlyStopping(monitor="psnr", mode="max", min_delta=1000, patience=2),),
        )
        for devices in (1, 2)
    )
    assert (several.stop, several.steps) == ("callback", 4)
    same(one, several)


def test_a_loss_that_joins_all_regions_is_not_divided_by_regions(fit_on: Any) -> None:
    said = "observe=radon needs the values of all regions at once; give shard=samples, or trainer.devices=1"
    with pytest.raises(PartinrError, match=said):
        fit_on(2, steps=2, observe=Radon(angles=5), shard="regions")


def test_a_limit_of_time_is_one_for_all(fit_on: Any) -> None:
    result = fit_on(2, steps=None, seconds=0.3)
    assert result.stop == "max_seconds"
    assert result.seconds == result.curve[-1]["seconds"] >= 0.3


class Kept(Callback):
    """Keeps the parameters with which each process ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_end(self, trainer: Any, module: Any) -> None:
        content = {"step": module.step, "lr": module.lr, **module.model.stack.state_dict()}
        torch.save(content, self.folder / f"{trainer.global_rank}.pt")


class Hooked(Kept):
    """Also keeps the last gradient, which Lightning shows before an optimiser step."""

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        (group,) = optimizer.param_groups
        torch.save([each.grad for each in group["params"]], self.folder / f"{trainer.global_rank}.grad")


@pytest.mark.parametrize("kind", [Kept, Hooked])
def test_processes_that_divide_samples_keep_the_same_bits(fit_on: Any, kind: type[Kept], tmp_path: Path) -> None:
    # The rate follows the clock, and each process has a clock of its own.
    rest = {
        "shard": "samples",
        "schedule": Cosine(),
        "settings": {"points_per_step": 20},
        "callbacks": (kind(tmp_path),),
    }
    result = fit_on(3, steps=None, seconds=0.3, **rest)
    assert result.stop == "max_seconds"
    for files in ("*.pt", "*.grad") if kind is Hooked else ("*.pt",):
        found = [torch.load(path) for path in sorted(tmp_path.glob(files))]
        assert len(found) == 3
        for other in found[1:]:
            torch.testing.assert_close(other, found[0], atol=0, rtol=0)
    one = torch.load(tmp_path / "0.pt")
    assert one["step"] == result.steps
    assert 0 <= one["lr"] < 1e-3


ON_ONE, ON_TWO, ON_THREE = {"devices": 1}, {"devices": 2}, {"devices": 3}
BY_SAMPLES = {"shard": "samples"}


@pytest.mark.parametrize(
    ("name", "saved_on", "then_on"),
    [
        ("plateau, double precision", ON_ONE, ON_THREE),
        ("one network", ON_ONE, ON_TWO),
        ("frozen regions", ON_TWO, ON_THREE | BY_SAMPLES),
        pytest.param("frozen regions", ON_TWO, ON_TWO, marks=pytest.mark.slow),
        pytest.param("muon, widths", ON_TWO, ON_ONE, marks=pytest.mark.slow),
        pytest.param("muon, widths", ON_THREE | BY_SAMPLES, ON_TWO, marks=pytest.mark.slow),
        pytest.param("blended, drawn points", ON_THREE, ON_TWO, marks=pytest.mark.slow),
        pytest.param("samples, points by error, widths", ON_TWO, ON_ONE, marks=pytest.mark.slow),
    ],
)
def test_gone_on_with_by_another_number(
    fit_on: Any, name: str, saved_on: dict[str, Any], then_on: dict[str, Any], tmp_path: Path
) -> None:
    unbroken = fit_on(1, **CASES[name])
    assert unbroken.stop == ("all_frozen" if name == "frozen regions" else "max_steps")
    # The first part ends at a PSNR that the unbroken run comes to late.
    first_part = [row["psnr"] for row in unbroken.curve[: 4 * len(unbroken.curve) // 5]]
    checkpoint = LastCheckpoint()
    checkpoint.bind(RunDirectory.create(tmp_path / "run", {}))
    words = {**CASES[name], **saved_on, "target_psnr": max(first_part) - 0.01}
    first = fit_on(**words, callbacks=(checkpoint,))
    assert first.stop == "target_psnr"
    assert 0 < first.steps < unbroken.steps
    if name == "frozen regions":
        assert first.curve[-1]["macs"] < first.steps * unbroken.curve[1]["macs"] / unbroken.curve[1]["step"]
    same(fit_on(**CASES[name] | then_on, ckpt_path=tmp_path / "run" / CHECKPOINT), unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["regions", "samples"])
def test_a_partition_that_changes(fit_on: Any, shard: str) -> None:
    words = {"steps": 20, "live": Halving(8), "shard": shard, "settings": {"evaluate_every": 5, "freeze_at_psnr": 30.0}}
    alone, several = fit_on(1, **words), fit_on(2, **words)
    same(several, alone)
    assert torch.equal(several.model.partition.labels, alone.model.partition.labels)
    assert several.model.regions == 8
