"""Fits whose regions are learned together with the networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.model.inr import PiecewiseINR
from partinr.partition import Experts, GatedRule, Partition, SoftCells
from partinr.regimes import FitSettings
from partinr.signals.observations import Mask
from partinr.training.gated import Gating
from tests.covering import cases, covering
from tests.regimes.fit.test_resume import SaveAt, _rows, step_by_step

__all__ = ["step_by_step"]

RULES = {
    "experts": Experts(regions=3, hidden_features=6, hidden_layers=1, pretrain_steps=5, every=4, until=0.6),
    "soft_cells": SoftCells(regions=3, pretrain="kmeans", pretrain_steps=5, every=4, until=0.6, top_k=3),
}


def begun(rule: GatedRule, signal: Tensor, partition: Partition | None = None, **options: Any) -> dict[str, Any]:
    """The model and the gate of a rule for a signal."""
    partition = partition or rule(signal)
    backbone = Siren(hidden_features=5, hidden_layers=1, first_omega_0=8.0)
    return {
        "model": PiecewiseINR(partition, backbone, channels=signal.shape[-1], **options),
        "gate": rule.gate(partition),
    }


@covering(kind=list(RULES), channels=[1, 3])
def test_gradients_of_gate_and_networks_are_those_of_finite_differences(signal, kind, channels):
    signal = signal[:3, :4, :channels].double()
    made = begun(RULES[kind], signal.float())
    model, gate = made["model"].double(), made["gate"].double()
    weights = torch.linspace(0.5, 1.5, 12).unsqueeze(1)
    gating = Gating(gate, model, gate.coords, signal.reshape(-1, channels), weights)
    params = dict(model.stack)

    def loss() -> Tensor:
        (samples,) = gating.samples(1)  # of the networks chosen first
        return samples.squared_error(model, params)

    loss().backward()
    generator = torch.Generator().manual_seed(0)
    given = [each for each in (*params.items(), *gate.named_parameters()) if each[1].numel()]
    for name, value, slope in [(name, value, value.grad.clone()) for name, value in given]:
        way = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        ends = []
        for step in (1e-6, -2e-6):
            value.data += step * way
            ends.append(float(loss().detach()))
        value.data += 1e-6 * way
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(float((slope * way).sum()), rel=1e-5, abs=1e-7), name


@covering(kind=list(RULES), at=[7, 15, 19], precision=["32-true", "64-true"])
def test_resumed_equals_unbroken(small_fit, signal, tmp_path, step_by_step, kind, at, precision):
    rule, options = RULES[kind], {"steps": 25, "lr": 1e-2, "settings": {"evaluate_every": 6}, "precision": precision}
    saver = SaveAt(at, tmp_path / "last.ckpt")
    unbroken = small_fit(signal, **begun(rule, signal), callbacks=(saver,), **options)
    assert saver.saved_at == at
    other = begun(rule, signal)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)["partinr"]["partitions"][""]
    other["model"] = begun(rule, signal, partition=Partition(kept["labels"]))["model"]  # as a run's, see RunContext.cut
    resumed = small_fit(signal, **other, ckpt_path=tmp_path / "last.ckpt", **options)
    assert _rows(resumed.curve) == _rows(unbroken.curve)
    assert resumed.model.to_bytes() == unbroken.model.to_bytes()
    # The last two fifths have the arithmetic of one network a sample.
    macs = [row["macs"] for row in unbroken.curve]
    assert macs[1] / 6 > 1.9 * (macs[-1] - macs[-2])


@covering(kind=list(RULES), shape=[(40, 1), (6, 9, 3)])
def test_the_regions_move_and_the_file_is_that_of_any_partition(
    small_fit: Callable[..., Any], signal: Tensor, tmp_path: Path, kind: str, shape: tuple[int, ...]
) -> None:
    signal = signal if len(shape) == 3 else torch.linspace(0, 12, 40).sin().unsqueeze(1).mul(0.4).add(0.5)
    made = begun(RULES[kind], signal)
    first = made["model"].partition.labels
    result = small_fit(signal, **made, steps=60, lr=2e-2, observe=Mask(fraction=0.9) if kind == "experts" else None)
    assert result.psnr > result.curve[0]["psnr"] + 3
    (tmp_path / "inr.safetensors").write_bytes(result.model.to_bytes())
    loaded = PiecewiseINR.load(tmp_path / "inr.safetensors")
    assert not torch.equal(loaded.partition.labels, first)
    assert loaded.partition.regions == 3
    error = float((loaded.render() - signal).square().mean())
    assert -10 * torch.tensor(error).log10() == pytest.approx(result.psnr, abs=1e-3)


def test_what_does_not_go_with_a_gate_is_refused(small_fit: Callable[..., Any], signal: Tensor) -> None:
    rule = RULES["experts"]
    for options, settings, said in cases(
        ({"overlap": 1}, {}, "has weights of its own; give overlap=0 and global_network=false"),
        ({"frame": "local"}, {}, "give coords.frame=global"),
        ({}, {"freeze_at_psnr": 30.0}, "give regime.freeze_at_psnr=null"),
        ({}, {"loss": "region"}, "give regime.loss=image"),
        ({}, {"points_per_step": 5}, "give sampler=uniform and regime.points_per_step=null"),
        ({}, {"total_variation": 0.1}, "each need a loss of their own"),
    ):
        with pytest.raises(PartinrError, match=said):
            small_fit(signal, **begun(rule, signal, **options), settings=settings, steps=1)
    assert FitSettings.gates
