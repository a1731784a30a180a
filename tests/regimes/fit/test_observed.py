"""Fits whose loss sees an observation, while the metrics see the signal."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from partinr.api import fit
from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid
from partinr.regimes import FitResult, FitSettings, make_trainer
from partinr.signals.observations import (
    Downsample,
    Mapped,
    Mask,
    Noise,
    Observation,
    Observed,
    Radon,
)
from partinr.spec import spec

Fit = Callable[..., FitResult]
BACKBONE = Siren(hidden_features=6, hidden_layers=1, first_omega_0=8.0)


@spec
class Itself(Observation):
    """The signal through a linear map that changes nothing, as a third party may write one."""

    def observe(self, signal: Tensor, number: int) -> Observed:
        return Mapped(lambda values: values, signal, signal, signal)


@pytest.fixture(scope="module")
def model_of(signal: Tensor) -> Callable[..., PiecewiseINR]:
    def make(**options: Any) -> PiecewiseINR:
        return PiecewiseINR(Grid(regions=4)(signal), BACKBONE, engine="batched", **options)

    return make


@pytest.mark.parametrize("options", [{}, {"overlap": 1}], ids=["apart", "blended"])
def test_a_loss_through_a_map_that_changes_nothing_is_the_usual_one(
    signal: Tensor, small_fit: Fit, model_of: Callable[..., PiecewiseINR], options: dict[str, Any]
) -> None:
    usual, mapped = (
        small_fit(signal, model=model_of(**options), steps=12, lr=1e-3, observe=observe) for observe in (None, Itself())
    )
    for one, other in zip(usual.curve, mapped.curve, strict=True):
        assert other["psnr"] == pytest.approx(one["psnr"], abs=1e-3)
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert other["psnr_observed"] == pytest.approx(-10 * math.log10(other["loss"]), abs=0.5)
    assert "psnr_observed" not in usual.curve[0]


@pytest.mark.parametrize("loss", ["image", pytest.param("region", marks=pytest.mark.slow)])
def test_a_hidden_sample_has_no_part_in_the_training(signal: Tensor, small_fit: Fit, loss: str) -> None:
    observe = Mask(fraction=0.5)
    weights = observe.observe(signal, 0).weights
    assert weights is not None
    other = torch.where(weights == 0, 1 - signal, signal)
    found = [small_fit(each, steps=20, lr=1e-2, settings={"loss": loss}, observe=observe) for each in (signal, other)]
    one, two = (each.model.render() for each in found)
    assert torch.equal(one, two)
    assert found[0].curve[-1]["psnr_observed"] == found[1].curve[-1]["psnr_observed"]
    assert found[0].psnr > found[1].psnr + 3
    # The loss is a mean over what is seen, as that of the curve.
    assert found[0].curve[-1]["loss"] == pytest.approx(10 ** (-found[0].curve[-1]["psnr_observed"] / 10), rel=0.2)


def test_a_fit_to_noise_has_its_best_point_before_the_last_and_does_not_count_as_collapsed(small_fit: Fit) -> None:
    row = torch.linspace(0.3, 0.7, 12).expand(12, 12).unsqueeze(-1)
    result = small_fit(
        row,
        Grid(regions=1)(row),
        Siren(hidden_features=32, hidden_layers=1, first_omega_0=5.0),
        steps=150,
        lr=3e-3,
        settings={"evaluate_every": 10, "collapse_db": 3.0},
        observe=Noise(sigma=0.3),
    )
    assert result.failure is None
    assert result.psnr_best > result.psnr + 4
    fitted = [each["psnr_observed"] for each in result.curve]
    assert fitted[-1] > fitted[1] + 3


@pytest.mark.slow
def test_a_prior_smooths(signal: Tensor, small_fit: Fit) -> None:
    def roughness(**settings: Any) -> float:
        values = small_fit(signal, steps=60, lr=1e-2, settings=settings, observe=Noise(sigma=0.2)).model.render()
        return float(values.diff(dim=0).abs().mean() + values.diff(dim=1).abs().mean())

    assert roughness(total_variation=0.5) < 0.7 * roughness()


@pytest.mark.parametrize(
    "observe",
    [
        Noise(),
        Radon(angles=3),
        *(pytest.param(each, marks=pytest.mark.slow) for each in (Mask(), Downsample(factor=2))),
    ],
    ids=lambda observe: observe.title,
)
def test_resumed_bit_by_bit(signal: Tensor, observe: Observation, tmp_path: Path) -> None:
    def go(steps: int, ckpt_path: Path | None = None) -> FitResult:
        trainer = make_trainer(accelerator="cpu")
        model = PiecewiseINR(Grid(regions=4)(signal), BACKBONE)
        settings = FitSettings(evaluate_every=5)
        found = fit(
            model, signal, steps=steps, settings=settings, trainer=trainer, observe=observe, ckpt_path=ckpt_path
        )
        trainer.save_checkpoint(tmp_path / f"{steps}.ckpt")
        return found

    unbroken = go(10)
    go(5)
    resumed = go(10, tmp_path / "5.ckpt")
    clocks = ("seconds", "cpu_seconds", "ssim")  # there is no SSIM of so small an image
    assert [{k: v for k, v in row.items() if k not in clocks} for row in resumed.curve] == [
        {k: v for k, v in row.items() if k not in clocks} for row in unbroken.curve
    ]
    assert torch.equal(resumed.model.render(), unbroken.model.render())
    if observe.title == "noise":
        with pytest.raises(PartinrError, match=r"observe\.sigma is 0\.1, here it is 0\.2"):
            fit(
                PiecewiseINR(Grid(regions=4)(signal), BACKBONE),
                signal,
                steps=10,
                trainer=make_trainer(accelerator="cpu"),
                observe=Noise(sigma=0.2),
                ckpt_path=tmp_path / "5.ckpt",
            )


REFUSED: dict[str, tuple[Observation | None, dict[str, Any], str]] = {
    "freezing": (Mask(), {"freeze_at_psnr": 20.0}, "which observe=mask hides"),
    "freezing, mapped": (Radon(), {"freeze_at_psnr": 20.0}, "which observe=radon hides"),
    "drawn points": (Downsample(), {"points_per_step": 9}, "give regime.points_per_step=null"),
    "lattices": (Radon(), {"coarse_until": 0.5}, "give regime.coarse_until=0"),
    "drawn points and a prior": (
        None,
        {"points_per_step": 9, "total_variation": 0.1},
        "regime.total_variation needs the values of all samples in each step; give regime.points_per_step=null",
    ),
    "regions": (Radon(), {"loss": "region"}, "give regime.loss=image"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_together_is_refused_in_a_line(name: str, signal: Tensor, small_fit: Fit) -> None:
    observe, settings, said = REFUSED[name]
    with pytest.raises(PartinrError, match=said) as refused:
        small_fit(signal, settings=settings, observe=observe)
    assert "\n" not in str(refused.value)
