"""The training loop of all regimes: take steps, evaluate, check for the end, stop."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from partinr.training.clock import EVALUATION_SHARE, Clock, StopRule, keep_freed_memory, next_evaluation
from partinr.training.continued import Continued
from partinr.training.contract import Evaluations
from partinr.training.guests import log_row, show_row, stopped_by
from partinr.training.machine import MachineLog
from partinr.training.optimizer import Optimizer
from partinr.training.ranks import Ranks
from partinr.training.schedule import Schedule

COLLAPSE_EVALUATIONS = 3
"""Number of consecutive evaluations far below the best that count as a collapse; a single spike does not."""

CHUNK_SECONDS = 0.2
"""Length of a chunk of optimiser steps between two calls from Lightning's loop.

It is long enough to make the work between chunks negligible, and short enough to move a progress bar and to react soon
to a signal or time limit.
"""

WARM_UP = 10
"""The first evaluation is taken to last this many times as long as another, until there is another."""

StopReason = Literal["max_steps", "max_seconds", "target_psnr", "all_frozen", "all_reached", "callback"]
"""Why a run ended. ``all_frozen`` and ``all_reached`` mean that no network is left to train."""


class TrainingLoop(Continued):
    """A LightningModule that takes steps, evaluates itself and decides when to stop.

    :meth:`training_step` is the body of the loop. A regime implements steps (:meth:`take_steps`) and evaluation
    (:meth:`measure`). Lightning's epoch ends at each evaluation. Callbacks read :attr:`curve`, :attr:`clock`,
    :attr:`stop_reason` and :attr:`failure` after a batch. Each row of the curve is logged through Lightning.

    Args:
        optimizer: the optimiser and its options.
        schedule: schedule of the learning rate.
        stop: when the run ends.
        settings: settings of the regime, a spec with a ``kind``.
        seed: seed of random draws.
        evaluations: when to evaluate; None if a subclass overrides :meth:`due`.

    Attributes:
        model: the model to train; set by a subclass.
        step: number of optimiser steps so far.
        macs: multiply-accumulates of all forward passes so far.
        clock: seconds of training and of evaluation.
        machine: what else ran on the machine.
        curve: one row per evaluation: step, seconds, cpu_seconds, macs, loss, psnr, ssim, lr, and the regime's columns.
        image_curve: for named signals one row per evaluation and signal.
        stop_reason: why the run ended; None before the end and after a failure.
        ended_by: one line about the callback that ended the run, or None.
        interrupted: whether a signal stops the run; set by a callback.
        failure: one line that says why the run failed, or None.
        best_psnr: highest PSNR of the curve.
        epoch_over: whether the last evaluation still has to end an epoch of Lightning.

    Raises:
        PartinrError: schedule and run are incompatible.
    """

    def __init__(
        self,
        *,
        optimizer: Optimizer,
        schedule: Schedule,
        stop: StopRule,
        settings: Any,
        seed: int,
        evaluations: Evaluations | None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        schedule.check(stop)
        self.optimizer, self.schedule, self.stop, self.settings, self.seed = optimizer, schedule, stop, settings, seed
        self.kind = settings.kind
        self._evaluations = evaluations
        self.step = self.macs = 0
        self.clock = Clock(stop.clock)
        self.machine = MachineLog()
        self.curve: list[dict[str, float]] = []
        self.image_curve: list[dict[str, Any]] = []
        self.stop_reason: StopReason | None = None
        self.ended_by: str | None = None
        self.interrupted = False
        self.failure: str | None = None
        self.best_psnr = float("-inf")
        self._best_weights: dict[str, Tensor] | None = None
        self._below_best = 0
        self._first_evaluation = 0.0
        self._last_loss = float("nan")
        self.epoch_over = False
        self.ranks = Ranks()

    # -- the loop -----------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether the run has neither ended nor failed."""
        return self.stop_reason is None and self.failure is None

    def setup(self, stage: str) -> None:
        """Find the rank of this process."""
        keep_freed_memory()
        self.ranks = Ranks(self.trainer.world_size, self.trainer.global_rank, self.trainer.strategy.root_device)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser and its schedule; the loop steps both."""
        optimizer = self.parameters_for()
        scheduler = self.schedule.build(optimizer, self.stop, self.seconds_for_schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler}}

    def seconds_for_schedule(self) -> float:
        """Seconds of training so far, for schedules that follow the clock."""
        return self.clock.elapsed()

    def log(self, *given: Any, **options: Any) -> None:
        """Log a number. Batches here have no size that would weigh it, so a callback need not give one."""
        super().log(*given, **{**options, "batch_size": options.get("batch_size") or 1})

    def on_train_start(self) -> None:
        """Let callbacks know the last evaluation of a resumed run."""
        if self.curve:
            show_row(self, self.curve[-1])

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """End Lightning's epoch after an evaluation."""
        return -1 if self.epoch_over else None

    def on_train_epoch_end(self) -> None:
        """Begin another epoch; a checkpoint from before this leaves the end to the run that continues from it."""
        self.epoch_over = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Take a chunk of optimiser steps, evaluate if due, and stop at the end."""
        rows = len(self.curve)
        self.machine.look(self.clock.training, self.ranks)
        if not self.curve:
            self._evaluate()  # alone, since each evaluation ends an epoch of Lightning
        elif self.running:
            due = self.due()
            due = due if self.stop.max_steps is None else min(due, self.stop.max_steps)
            self.take_steps(min(due - self.step, self.chunk()), batch)
            self.check_loss()
            if self.step == due or self._time_is_up or self.failure is not None:
                self._evaluate()
                self._adjust_plateau()
            if self.running:
                self._over()
        if not self.running:
            self.machine.look(self.clock.training, self.ranks, last=True)
            self.trainer.should_stop = True
        if len(self.curve) > rows:
            log_row(self, self.curve[-1])
        # Lightning adds 1 and gives loggers the sum as their step.
        self.trainer.fit_loop.epoch_loop._batches_that_stepped = self.step - 1

    def on_train_end(self) -> None:
        """Note which callback ended the run, if one did, and evaluate what it left."""
        if self.running and self.trainer.should_stop and not self.interrupted:
            if not self.curve or self.step > self.curve[-1]["step"]:
                self._evaluate()
            if self.running:
                self.stop_reason, self.ended_by = "callback", stopped_by(self.trainer.callbacks)  # type: ignore[attr-defined]

    def due(self) -> int:
        """The step of the next evaluation."""
        evaluations = self._evaluations
        assert evaluations is not None  # else a subclass overrides this
        every, per_decade = evaluations.evaluate_every, evaluations.evaluations_per_decade
        return next_evaluation(self.step, every, per_decade, tuple(evaluations.evaluate_at), self._affordable())

    def _affordable(self) -> int:
        """The step from which one more evaluation, and the last one, fit into :data:`EVALUATION_SHARE`.

        It is 0 if steps limit the run, since its rows must not depend on the clock. The first evaluation is left out,
        as it loads and compiles what the others use.
        """
        if self.stop.max_steps is not None:
            return 0
        if self.clock.training == 0 or self.step == 0:
            return 2  # the pace is unknown until the first step is taken
        spent, others = self.clock.evaluation - self._first_evaluation, len(self.curve) - 1
        each = spent / others if others else self._first_evaluation / WARM_UP
        return math.ceil((spent + 2 * each) / EVALUATION_SHARE / (self.clock.training / self.step))

    def chunk(self) -> int:
        """Number of steps until Lightning's loop gets control again; results do not depend on it."""
        if self.clock.spent == 0 or self.step == 0:
            return 1
        seconds = CHUNK_SECONDS
        if self.stop.max_seconds is not None:
            seconds = min(seconds, max(0.0, self.stop.max_seconds - self.clock.spent))
        return max(1, int(seconds / (self.clock.spent / self.step)))

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return float(self.own_optimizer().param_groups[0]["lr"])

    def own_optimizer(self) -> torch.optim.Optimizer:
        """The optimiser without Lightning's wrapper."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        return optimizer

    def count_steps(self, steps: int) -> None:
        """Add steps to ``trainer.global_step``, as Lightning's wrappers would."""
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
        progress.ready += steps
        progress.completed += steps

    @property
    def _time_is_up(self) -> bool:
        return self.stop.max_seconds is not None and self.clock.spent >= self.stop.max_seconds

    def _over(self) -> None:
        """Set the stop reason if the limit of steps or seconds is reached."""
        if self.stop.max_steps is not None and self.step >= self.stop.max_steps:
            self.stop_reason = "max_steps"
        elif self._time_is_up:
            self.stop_reason = "max_seconds"

    def _evaluate(self) -> None:
        """Add a row to the curve, keep the best weights, and check for the end of the run."""
        with self.clock.run("evaluation", self.device, self.ranks):
            found = self.measure()
            untrained = found.pop("loss", float("nan"))
            row = {"step": self.step, "seconds": self.clock.training, "cpu_seconds": self.clock.training_cpu}
            row |= {"macs": self.macs, "loss": self._last_loss if self.step else untrained, "lr": self.lr, **found}
            self.curve.append(row)
            if row["psnr"] > self.best_psnr and self.failure is None:
                self.best_psnr, self._below_best = row["psnr"], 0
                self._best_weights = self.weights_to_keep()
            self.check_curve(row["psnr"])
        if len(self.curve) == 1:
            self._first_evaluation = self.clock.evaluation
        self.epoch_over = True
        self._check_target()
        self.after_evaluation()

    def _check_target(self) -> None:
        target = self.stop.target_psnr
        if self.failure is None and target is not None and self.curve and self.curve[-1]["psnr"] >= target:
            self.stop_reason = "target_psnr"

    def _adjust_plateau(self) -> None:
        scheduler = self.lr_schedulers()
        if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler.step(self.curve[-1]["psnr"])
            self.curve[-1]["lr"] = self.lr

    # -- failures -----------------------------------------------------------------------------------------------

    def check_loss(self) -> None:
        """Fail if the last loss is not finite."""
        if not math.isfinite(self._last_loss):
            self._fail(f"the loss is {self._last_loss} after {self.step} steps")

    def check_curve(self, psnr: float) -> None:
        """Fail if the PSNR is NaN, as after a step that makes weights NaN, or if the watched column has collapsed."""
        if math.isnan(psnr) and self.failure is None:
            self._fail(f"the PSNR is nan after {self.step} steps")
        margin = None if self._evaluations is None else self._evaluations.collapse_db
        if self.failure is not None or margin is None:
            return
        seen = [row[self.watched] for row in self.curve]
        self._below_best = self._below_best + 1 if seen[-1] < max(seen) - margin else 0
        if self._below_best >= COLLAPSE_EVALUATIONS:
            now = f"{seen[-1]:.1f} dB after {self.step} steps"
            self._fail(f"the curve has collapsed: {now}, {max(seen):.1f} dB at best", True)

    def _fail(self, what: str, collapsed: bool = False) -> None:
        self.stop_reason = None
        self.failure = f"{what}; {self.cure(collapsed)}"

    def restore_best_after_failure(self) -> bool:
        """Restore the best weights if the run failed; returns whether it did."""
        if self.failure is None or self._best_weights is None:
            return False
        self.restore(self._best_weights)
        return True

    # -- state for checkpoints ------------------------------------------------------------------------------------

    def progress(self) -> dict[str, Any]:
        """The state that a resumed run needs, in plain types; a regime adds entries."""
        return {
            "step": self.step,
            "macs": self.macs,
            "training": self.clock.training,
            "evaluation": self.clock.evaluation,
            "cpu_seconds": (self.clock.training_cpu, self.clock.evaluation_cpu),
            "machine": self.machine.state(),
            "curve": copy.deepcopy(self.curve),
            "image_curve": copy.deepcopy(self.image_curve),
            "best_psnr": self.best_psnr,
            "best_weights": self._best_weights,
            "below_best": self._below_best,
            "epoch_over": self.epoch_over,
            "begun": dict(self.begun),
        }

    def continue_from(self, state: dict[str, Any]) -> None:
        """Restore the :meth:`progress` of a checkpoint. A run that had ended takes no further step."""
        self.step, self.macs = state["step"], state["macs"]
        self.clock.training, self.clock.evaluation = state["training"], state["evaluation"]
        # Checkpoints of 0.2 have no CPU seconds, and the whole cannot be known from a part.
        self.clock.training_cpu, self.clock.evaluation_cpu = state.get("cpu_seconds", (math.nan, math.nan))
        self.machine.continue_from(state.get("machine"))
        self.curve, self.image_curve = list(state["curve"]), list(state["image_curve"])
        self.best_psnr, self._best_weights = state["best_psnr"], state["best_weights"]
        self._below_best = state["below_best"]
        self.epoch_over, self.begun = state.get("epoch_over", False), state.get("begun", {})
        self._check_target()
        if self.stop_reason is None:
            self._over()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add state that Lightning does not know, in plain types."""
        checkpoint["partinr"] = {**self.progress(), "fingerprint": self.fingerprint()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue from where the checkpoint was saved."""
        # Lightning has already loaded the weights, but with 64-true it rounded them to single precision.
        self.trainer.precision_plugin.convert_module(self)
        self.continue_from(checkpoint["partinr"])
