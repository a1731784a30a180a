"""A small fit on the CPU, and a clock that a test turns by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from partinr.api import fit
from partinr.backbones import Backbone, Siren
from partinr.model.inr import PiecewiseINR
from partinr.partition import Grid, Partition
from partinr.regimes import FitResult, FitSettings, make_trainer

Fit = Callable[..., FitResult]


@pytest.fixture(scope="session")
def signal() -> Tensor:
    """A noisy ramp of 6×9 pixels: quick to fit in part, impossible to fit quite."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0.2, 0.8, 9).expand(6, 9)
    return (ramp.unsqueeze(-1) + 0.1 * torch.rand(6, 9, 3, generator=generator)).clamp(0, 1)


@pytest.fixture(scope="session")
def small_fit() -> Fit:
    """``fit`` of a model made on the spot; a dictionary of settings becomes ``FitSettings``."""

    def go(
        signal: Tensor,
        partition: Partition | None = None,
        backbone: Backbone | None = None,
        *,
        precision: str = "32-true",
        callbacks: tuple[Any, ...] = (),
        model: PiecewiseINR | None = None,
        settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> FitResult:
        if model is None:
            model = PiecewiseINR(
                partition if partition is not None else Grid(regions=4)(signal),
                backbone if backbone is not None else Siren(hidden_features=6, hidden_layers=1, first_omega_0=8.0),
                channels=signal.shape[-1],
            )
        trainer = make_trainer(accelerator="cpu", precision=precision, callbacks=callbacks)
        return fit(model, signal, trainer=trainer, settings=FitSettings(**(settings or {})), **options)

    return go


class HandClock:
    """Stands for the module ``time``: every look at it takes a hundredth of a second, and no more passes by itself."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 0.01
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """The clock of the regimes, turned by hand."""
    hand = HandClock()
    monkeypatch.setattr("partinr.training.clock.time", hand)
    return hand
