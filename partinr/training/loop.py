"""What the regimes share as LightningModules: where they are, what was seen on the way, and when it is over."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from typing import Any, Literal, Protocol

import lightning as L
import torch
from torch import Tensor

from partinr.training.clock import Clock, StopRule, next_evaluation
from partinr.training.ranks import Ranks

COLLAPSE_EVALUATIONS = 3
"""A curve has collapsed when so many evaluations in a row lie far below the best one: a single spike is none."""

StopReason = Literal["max_steps", "max_seconds", "target_psnr", "all_frozen", "all_reached"]
"""Why a run is over; ``all_frozen`` in the ordinary regime, ``all_reached`` in the study of steps only."""

RESULTS = ("step", "macs", "clock", "curve", "image_curve", "stop_reason", "failure", "best_psnr")
"""What a module that was trained in another process tells the one here, beside its weights."""


class Looking(Protocol):
    """The settings of a regime that say when it is evaluated, and what is made of it."""

    @property
    def evaluate_every(self) -> int | None:
        """Steps between two evaluations; None for a geometric sequence."""
        ...

    @property
    def evaluations_per_decade(self) -> int:
        """Of that sequence."""
        ...

    @property
    def evaluate_at(self) -> list[int]:
        """Further steps."""
        ...

    @property
    def collapse_db(self) -> float | None:
        """How far below its best a curve may lie; None for any distance."""
        ...


class Learning(L.LightningModule):
    """A LightningModule that keeps a curve and knows when it is over.

    Args:
        stop: when that is.
        looking: when it is evaluated; None where a subclass says so itself (:meth:`_due`).
        seed: of what is drawn.

    Attributes:
        model: what learns; a subclass makes it.
        step: optimiser steps done.
        macs: multiply-accumulates of all forward passes so far.
        clock: seconds of training and of evaluation.
        curve: a row an evaluation, see :data:`partinr.runs.directory.CURVE_COLUMNS`.
        image_curve: where there are several signals a row an evaluation and signal.
        stop_reason: why it is over; None if it is not, or has failed.
        failure: why it has failed, in one line.
        best_psnr: of the curve.
    """

    model: Any

    def __init__(self, *, stop: StopRule, looking: Looking | None, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.stop = stop
        self.seed = seed
        self._looking = looking
        self.step = 0
        self.macs = 0
        self.clock = Clock()
        self.curve: list[dict[str, float]] = []
        self.image_curve: list[dict[str, Any]] = []
        self.stop_reason: StopReason | None = None
        self.failure: str | None = None
        self.best_psnr = float("-inf")
        self._best_parameters: dict[str, Tensor] | None = None
        self._below_best = 0
        self._last_loss = float("nan")
        self._ranks = Ranks()

    @abstractmethod
    def _snapshot(self) -> dict[str, Tensor]:
        """A copy of everything that is learned, all of it in every process."""

    @abstractmethod
    def _cure(self, collapsed: bool) -> str:
        """What a user may do about a failure, or a curve that has collapsed."""

    @abstractmethod
    def check_devices(self, devices: int) -> None:
        """See that each of so many processes has something to do.

        Raises:
            PartinrError: one would have nothing.
        """

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for a checkpoint of one run to be continued by another."""

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        return float(optimizer.param_groups[0]["lr"])

    def _due(self) -> int:
        """The step of the next evaluation."""
        looking = self._looking
        assert looking is not None  # or a subclass has its own
        every, per_decade = looking.evaluate_every, looking.evaluations_per_decade
        return next_evaluation(self.step, every, per_decade, tuple(looking.evaluate_at))

    def _over(self) -> bool:
        """Whether the steps or the seconds are over; says which."""
        if self.stop.max_steps is not None and self.step >= self.stop.max_steps:
            self.stop_reason = "max_steps"
        elif self.stop.max_seconds is not None and self.clock.training >= self.stop.max_seconds:
            self.stop_reason = "max_seconds"
        return self.stop_reason is not None

    def _keep(self, row: dict[str, float]) -> None:
        """Add a row to the curve, keep the best weights, and see whether the curve has failed."""
        self.curve.append(row)
        if row["psnr"] > self.best_psnr and self.failure is None:
            self.best_psnr, self._below_best = row["psnr"], 0
            self._best_parameters = self._snapshot()
        # The last step may ruin the weights after a loss that was still finite.
        if math.isnan(row["psnr"]) and self.failure is None:
            self._fail(f"the PSNR is nan after {self.step} steps")
        self._check_collapse(row["psnr"])

    def _check_target(self) -> None:
        """See whether the last evaluation was good enough."""
        target = self.stop.target_psnr
        if self.failure is None and target is not None and self.curve and self.curve[-1]["psnr"] >= target:
            self.stop_reason = "target_psnr"

    def _adjust_plateau(self) -> None:
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler.step(self.curve[-1]["psnr"])
            self.curve[-1]["lr"] = self.lr

    def _check_finite(self) -> None:
        if not math.isfinite(self._last_loss):
            self._fail(f"the loss is {self._last_loss} after {self.step} steps")

    def _fail(self, what: str, collapsed: bool = False) -> None:
        self.stop_reason = None
        self.failure = f"{what}; {self._cure(collapsed)}"

    def _check_collapse(self, value: float) -> None:
        margin = None if self._looking is None else self._looking.collapse_db
        if self.failure is not None or margin is None:
            return
        self._below_best = self._below_best + 1 if value < self.best_psnr - margin else 0
        if self._below_best >= COLLAPSE_EVALUATIONS:
            best = self.best_psnr
            self._fail(
                f"the curve has collapsed: {value:.1f} dB after {self.step} steps, {best:.1f} dB at best",
                collapsed=True,
            )

    # -- from one process to another, and from one run to its continuation ---------------------------------------

    def _progress(self) -> dict[str, Any]:
        """What a resumed run must know, in plain types."""
        return {
            "step": self.step,
            "macs": self.macs,
            "training": self.clock.training,
            "evaluation": self.clock.evaluation,
            "curve": copy.deepcopy(self.curve),
            "image_curve": copy.deepcopy(self.image_curve),
            "best_psnr": self.best_psnr,
            "best_parameters": self._best_parameters,
            "below_best": self._below_best,
        }

    def _go_on_from(self, state: dict[str, Any]) -> None:
        """Be where a checkpoint was saved. A run that was over is still over: not one step more."""
        self.step, self.macs = state["step"], state["macs"]
        self.clock.training, self.clock.evaluation = state["training"], state["evaluation"]
        self.curve, self.image_curve = list(state["curve"]), list(state["image_curve"])
        self.best_psnr, self._best_parameters = state["best_psnr"], state["best_parameters"]
        self._below_best = state["below_best"]
        self._check_target()
        if self.stop_reason is None:
            self._over()

    def _told(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in RESULTS}

    def _hear(self, told: dict[str, Any]) -> None:
        for name in RESULTS:
            setattr(self, name, told[name])
