"""Several real processes that meet over gloo."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from partinr.api import fit
from partinr.backbones import Siren
from partinr.model.inr import PiecewiseINR
from partinr.partition import Partition
from partinr.regimes import Constant, FitResult, FitSettings, Optimizer, make_trainer
from partinr.regimes.meta.learned import LearnedStart
from partinr.training.processes import ProcessLauncher

REGIONS = 5
BACKBONE = Siren(hidden_features=6, hidden_layers=1, first_omega_0=8.0)

Fit = Callable[..., FitResult]


@pytest.fixture(scope="session")
def signal() -> Tensor:
    """A noisy ramp of 8×9 pixels."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0.2, 0.8, 9).expand(8, 9)
    return (ramp.unsqueeze(-1) + 0.1 * torch.rand(8, 9, 3, generator=generator)).clamp(0, 1)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are forked from one that has imported everything but used nothing: torch takes seconds to import."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["partinr.cli.app", "partinr.experiment.execute"])
    monkeypatch.setattr(ProcessLauncher, "context", context)


@pytest.fixture
def fit_on(quick: None, signal: Tensor) -> Fit:
    """Fits five regions, the largest with half of the pixels, on the given number of devices.

    ``model`` has arguments of the model, with ``regions=1`` for a lone network, and ``start`` those of a learned start.
    """

    def go(
        devices: int,
        *,
        widths: tuple[int, ...] | None = None,
        engine: Any = "batched",  # every process would load the fused kernels again
        precision: str = "32-true",
        settings: dict[str, Any] | None = None,
        optimizer: str | Optimizer = "adam",
        lr: float = 3e-3,
        options: dict[str, Any] | None = None,
        callbacks: tuple[Any, ...] = (),
        ckpt_path: Path | None = None,
        model: dict[str, Any] | None = None,
        start: dict[str, Any] | None = None,
        **rest: Any,
    ) -> FitResult:
        kind = dict(model or {})
        labels = (torch.arange(72).reshape(8, 9) // 9).clamp(max=kind.pop("regions", REGIONS) - 1)
        if isinstance(optimizer, str):
            optimizer = Optimizer(name=optimizer, lr=lr, options=options or {})
        made = PiecewiseINR(Partition(labels), BACKBONE, widths=widths, engine=engine, **kind)
        learned = None if start is None else LearnedStart(BACKBONE, **start)
        if learned is not None:
            learned.begin(made)
        return fit(
            made,
            signal,
            start=learned,
            trainer=make_trainer(accelerator="cpu", precision=precision, callbacks=callbacks, devices=devices),
            settings=FitSettings(**(settings or {})),
            optimizer=optimizer,
            schedule=rest.pop("schedule", Constant()),
            ckpt_path=ckpt_path,
            **rest,
        )

    return go
