"""Counts the steps to a fixed error, for many step functions or images at once, as one stack.

A trial is a signal and its model, which has one network, or one for each part of the signal. All trials form one album,
so a study of hundreds of trials is one run. A trial ends when its error reaches the threshold. Its networks are then
dropped, which does not affect the others. The initialisation and points of a trial follow from its own numbers alone,
so it takes the same steps as it would alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.model.album import Album
from partinr.regimes.threshold.trials import Points, Trial
from partinr.signals import EdgedImage
from partinr.signals.edges import DETECTOR
from partinr.signals.identity import SignalIdentity, identity_facts
from partinr.training.clock import StopRule
from partinr.training.facts import signal_sha256
from partinr.training.loop import StopReason
from partinr.training.optimizer import Optimizer
from partinr.training.samples import Samples
from partinr.training.schedule import Plateau, Schedule
from partinr.training.stack_loop import StackLoop

if TYPE_CHECKING:
    from partinr.regimes.threshold.settings import ThresholdSettings


class ThresholdModule(StackLoop):
    """The study of steps as a LightningModule.

    The study ends when all trials have ended, or at ``max_steps``, which is the cap for the remaining trials. The curve
    has means over all trials, each as of its last evaluation, and one more column, ``reached``: the number of trials
    that have ended. PSNR is computed on values clamped to their range; step functions are first mapped from [-1, 1] to
    [0, 1].

    Args:
        model: one model per trial, in their order, all with the same partition. Trained in place.
        trials: the trials to fit.
        optimizer: the optimiser and its options.
        schedule: schedule of the learning rate.
        stop: the cap in steps, and optionally ``max_seconds``.
        settings: threshold, points per step.
        seed: seed of the run; the trials have their own seeds.
        identities: identities of the signals, by name; by default those of their values.

    Raises:
        PartinrError: the settings contradict each other.
    """

    all_finished: StopReason = "all_reached"
    model: Album

    @door
    def __init__(
        self,
        model: Album,
        trials: Sequence[Trial],
        *,
        optimizer: Optimizer,
        schedule: Schedule,
        stop: StopRule,
        settings: ThresholdSettings,
        seed: int = 0,
        identities: Mapping[str, SignalIdentity] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, schedule=schedule, stop=stop, settings=settings, seed=seed, evaluations=None
        )
        if stop.target_psnr is not None:
            raise PartinrError("target_psnr is for regime=fit; here each trial ends at regime.threshold")
        if isinstance(schedule, Plateau):
            raise PartinrError("schedule=plateau would follow all trials together; choose schedule=constant or cosine")
        self.trials = tuple(trials)
        partition = model.partitions[0]
        self.parts = partition.regions
        self._shape = partition.shape
        self._images = isinstance(trials[0].signal, EdgedImage)
        self._lowest = trials[0].signal.lowest
        self.samples = partition.labels.numel()
        self._points = None
        if settings.points_per_step is not None:
            self._points = Points(trials, partition, settings.points_per_step)
        grids = [trial.signal.on_grid(partition.shape) for trial in trials]
        named = {trial.signal_name: grid for trial, grid in zip(trials, grids, strict=True)}
        self.identities = identities or {name: SignalIdentity.of(name, grid) for name, grid in named.items()}
        batch = model.batch_of(grids)
        self.hold(model, batch, batch.targets, None)
        # For each trial the step at which it was found below the threshold, or 0.
        self.reached = torch.zeros(len(trials), dtype=torch.int64)
        self.mse = torch.full((len(trials),), float("nan"), dtype=torch.float64)
        self._clamped = self.mse.clone()

    def check_devices(self, devices: int) -> None:
        """Check that there is one process.

        Raises:
            PartinrError: there are several processes.
        """
        if devices > 1:
            raise PartinrError(
                f"trainer.devices={devices}: regime=threshold works on one device; give trainer.devices=1, and spread "
                "a study over several runs with data.counts or seed"
            )

    # -- for callbacks -------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What is fitted, in a few words."""
        return f"{len(self.trials):,} trials"

    @property
    def points_per_step(self) -> int:
        """Number of samples in a step, over all trials."""
        return len(self.trials) * self._points_a_trial

    def weights(self) -> Iterator[tuple[str, bytes]]:
        """Empty: a study keeps numbers of steps, not models."""
        return iter(())

    def tables(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """``steps.csv``."""
        return {"steps.csv": self.steps_rows()}

    def steps_rows(self) -> list[dict[str, Any]]:
        """One row per trial: its signal, its number of steps, whether it reached the cap, and its final error."""
        # An unfinished trial was above the threshold at the last evaluation.
        seen = int(self.curve[-1]["step"]) if self.curve else 0
        return [
            {
                "signal": trial.signal_name,
                "boundaries": trial.signal.boundaries,
                "cells": trial.signal.cells,
                "draw": trial.draw,
                "seed": trial.network,
                "parts": self.parts,
                "steps": reached or seen,
                "censored": int(not reached),
                "mse": mse,
            }
            for trial, reached, mse in zip(self.trials, self.reached.tolist(), self.mse.tolist(), strict=True)
        ]

    def facts(self) -> dict[str, Any]:
        """The entries of this regime in ``run.json``: plain containers."""
        partition, reached = self.model.partitions[0], int((self.reached > 0).sum())
        return {
            "regions": self.parts,
            "parameters": self.model.parameter_counts[0],
            "macs_per_pixel": self.model.macs_per_sample,
            "trials": {
                "count": len(self.trials),
                "reached": reached,
                "capped": len(self.trials) - reached,
                # Trials whose error is NaN will not reach the threshold.
                "diverged": int((~self.mse.isfinite()).sum()) if self.curve else 0,
            },
            "partition": {
                "smallest": int(partition.sizes.min()),
                "largest": int(partition.sizes.max()),
                "notice": partition.notice,
            },
            "signal": {
                "shape": [*self._shape, self.model.channels],
                "sha256": signal_sha256(self.buffer("_targets")),
                **identity_facts(self.identities.values()),
            },
            **({"edges": DETECTOR} if self._images else {}),
        }

    # -- training -----------------------------------------------------------------------------------------------

    @property
    def period(self) -> int | None:
        """1 if every step sees all samples; None if points are drawn."""
        return 1 if self._points is None else None

    @property
    def _points_a_trial(self) -> int:
        return self.settings.points_per_step or self.samples

    @property
    def _working(self) -> list[int]:
        """Numbers of the trials that have not ended."""
        return torch.nonzero(self.reached == 0).squeeze(1).tolist()

    def losses(self) -> int:
        """Number of unfinished trials; each has its own loss."""
        return len(self.shard.sizes) // self.parts

    def macs_a_step(self) -> int:
        """Multiply-accumulates of the forward pass of one step."""
        return self.losses() * self._points_a_trial * self.model.macs_per_sample

    def samples_of(self, step: int) -> list[Samples]:
        """The samples of a step of the unfinished trials."""
        shard = self.shard
        if self._points is None:
            return shard.every
        working = self._working
        local, whole, values = self._points.draw(working, step)
        seen = local if self.model.frame == "local" else whole
        return [
            Samples(
                seen.flatten(0, 1).to(shard.targets),
                tuple(self._points.sizes.tolist()) * len(working),
                values.flatten(0, 1).to(shard.targets),
                None,
            )
        ]

    @property
    def divisor(self) -> int:
        """The numbers of one trial, so that the loss is the sum of the trials' and none affects another."""
        return self._points_a_trial * self.model.channels

    # -- evaluation ---------------------------------------------------------------------------------------------

    def due(self) -> int:
        """The step of the next evaluation."""
        # Counted from the last evaluation. Counted from the present step, it would move on with every chunk.
        seen = int(self.curve[-1]["step"])
        return seen + max(1, int(self.settings.resolution * seen))

    def measure(self) -> dict[str, float]:
        """Mean PSNR over the trials, and the number of trials that have ended."""
        working = torch.tensor(self._working)
        values = self._values_of_shard()
        targets = self.shard.targets.view(len(working), -1)
        error = (values - targets).square().mean(1, dtype=torch.float64)
        clamped = (values.clamp(self._lowest, 1) - targets).square().mean(1, dtype=torch.float64)
        self._clamped[working] = clamped.cpu()
        # For step functions the published protocol has no clamp; the PSNR of images always has one.
        self.mse[working] = self._clamped[working] if self._images else error.cpu()
        below = working[self.mse[working] < self.settings.threshold]
        # 0 means "not reached", so a trial that needed no step counts as 1.
        self.reached[below] = max(self.step, 1)
        found = {
            "psnr": float((-10 * torch.log10(self._clamped / (1 - self._lowest) ** 2)).mean()),
            "ssim": float("nan"),
            "reached": int((self.reached > 0).sum()),
        }
        return found if self.step else {**found, "loss": float(error.mean())}

    @torch.no_grad()
    def _values_of_shard(self) -> Tensor:
        """Values of the unfinished trials on their grids, ``[n, samples · C]``, sorted by region."""
        shard = self.shard
        with torch.autocast(self.device.type, enabled=False):
            values = self.model.evaluate(shard.coords, shard.sizes, params=shard.params)
        return values.view(-1, self.samples * self.model.channels)

    def newly_finished(self) -> Tensor:
        """The networks of the trials that have reached the threshold."""
        return (self.reached > 0).repeat_interleave(self.parts) & ~self.finished

    def check_loss(self) -> None:
        """Accept any loss: a trial that diverges is a result."""

    def check_curve(self, psnr: float) -> None:
        """Accept any curve, for the same reason."""

    def cure(self, collapsed: bool) -> str:
        """Empty: a study does not fail."""
        return ""

    # -- state --------------------------------------------------------------------------------------------------

    def weights_to_keep(self) -> dict[str, Tensor]:
        """Empty: a study has no best weights."""
        return {}

    def identity(self) -> dict[str, Any]:
        """What must be equal, in addition to signals, settings and seed, to continue from a checkpoint."""
        return {
            **self.model.architecture()["image"][self.trials[0].name],
            "trials": [trial.name for trial in self.trials],
        }

    def progress(self) -> dict[str, Any]:
        """The state that a resumed run needs."""
        return {**super().progress(), "reached": self.reached, "mse": self.mse, "clamped": self._clamped}

    def continue_from(self, state: dict[str, Any]) -> None:
        """Restore the :meth:`progress` of a checkpoint."""
        self.reached, self.mse, self._clamped = state["reached"], state["mse"], state["clamped"]
        super().continue_from(state)
