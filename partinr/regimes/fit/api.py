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
from partinr.training.contract import ShardBy
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
    shard: ShardBy = "auto",
) -> FitResult[Model]:
    """Fit a model to a signal, or an album to several signals.

    Args:
        model: trained in place.
        signal: float32 ``[*grid, C]`` in [0, 1], such as :func:`partinr.load_image` gives; for an album a list with one
            per image, in the order of its names.
        steps: limit of optimiser steps.
        lr: learning rate if ``optimizer`` is a name.
        seconds: limit of training time.
        target_psnr: stop when the PSNR of an evaluation reaches this value in dB; for an album the mean over images.
        optimizer: name of an optimiser, or an optimiser with options.
        schedule: schedule of the learning rate; constant by default.
        settings: loss, points per step, evaluations.
        seed: seed for drawing points; the model has its own seed.
        start: the learned initialisation that the model began with, see :meth:`LearnedStart.begin
            <partinr.regimes.meta.LearnedStart.begin>`.
        start_steps: number of first steps that are inner steps with the learning rates of ``start``.
        trainer: a Lightning Trainer; by default one on the best available device.
        ckpt_path: continue from this checkpoint.
        shard: what several devices divide among each other: ``regions``, or the ``samples`` of every region; ``auto``
            takes regions if there are at least as many networks as devices and no two share samples.

    Returns:
        the result, even if the fit failed (see :attr:`FitResult.failure`).

    Raises:
        PartinrError: the input is invalid; raised before training.
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
    module.shard_by = shard
    return run_fit(module, trainer if trainer is not None else make_trainer(), ckpt_path)
