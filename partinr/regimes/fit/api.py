"""The ordinary regime from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning as L
from torch import Tensor

from partinr.base.environment import door
from partinr.regimes.fit.module import FitModule
from partinr.regimes.fit.settings import FitSettings
from partinr.regimes.meta.learned import LearnedStart
from partinr.training.clock import StopRule
from partinr.training.optimizer import Optimizer
from partinr.training.schedule import Constant, Schedule
from partinr.training.trainer import FitResult, Model, make_trainer, run_fit


@door
def fit(
    model: Model,
    signal: Tensor | Sequence[Tensor],
    *,
    steps: int | None = 1500,
    lr: float = 1e-4,
    seconds: float | None = None,
    target_psnr: float | None = None,
    optimizer: str | Optimizer = "adam",
    schedule: Schedule | None = None,
    settings: FitSettings | None = None,
    seed: int = 0,
    start: LearnedStart | None = None,
    start_steps: int = 0,
    trainer: L.Trainer | None = None,
    ckpt_path: str | Path | None = None,
) -> FitResult[Model]:
    """Fit a model to a signal, or an album to several.

    Args:
        model: trained in place.
        signal: float32 ``[*grid, C]`` in [0, 1], such as :func:`partinr.load_image` gives; for an album one an image,
            in the order of its names.
        steps: optimiser steps at most.
        lr: learning rate, where ``optimizer`` is a name.
        seconds: of training at most.
        target_psnr: stop when an evaluation reaches it, in dB; for an album the mean over images.
        optimizer: name of an optimiser, or one with options.
        schedule: of the learning rate; constant by default.
        settings: loss, points a step, evaluations.
        seed: of the drawing of points; the model has a seed of its own.
        start: the learned initialisation that the model began with, see :meth:`LearnedStart.begin
            <partinr.regimes.meta.LearnedStart.begin>`.
        start_steps: the first so many steps are inner steps with the learning rates of ``start``.
        trainer: a Lightning Trainer; by default one on the best device there is.
        ckpt_path: continue from this checkpoint.

    Returns:
        the result, also when the fit failed (see :attr:`FitResult.failure`).

    Raises:
        PartinrError: bad input, before any training.
    """
    module = FitModule(
        model,
        signal,
        optimizer=Optimizer(name=optimizer, lr=lr) if isinstance(optimizer, str) else optimizer,
        schedule=schedule if schedule is not None else Constant(),
        stop=StopRule(max_steps=steps, max_seconds=seconds, target_psnr=target_psnr),
        settings=settings if settings is not None else FitSettings(),
        seed=seed,
        start=start,
        start_steps=start_steps,
    )
    return run_fit(module, trainer if trainer is not None else make_trainer(), ckpt_path)
