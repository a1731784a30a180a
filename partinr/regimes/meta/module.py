"""Learning to learn: an initialisation from which a few steps fit any signal of a kind."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.metrics.quality import mean_psnr, ssim
from partinr.regimes.meta import (
    Algorithm,
    InnerLoss,
    LearnedStart,
    RateKind,
    TaskBatch,
    check_meta_gradient,
    outer_gradients,
)
from partinr.regimes.meta.loading import check_ranks
from partinr.training.clock import StopRule, keep_freed_memory
from partinr.training.loop import Learning
from partinr.training.optimizer import Optimizer
from partinr.training.ranks import Ranks
from partinr.training.schedule import Schedule

SHOWN_TASKS = 4
"""Held-out signals that a picture of the adaptation shows."""


@spec
class MetaSettings:
    """How the learning-to-learn regime learns and looks.

    Attributes:
        algorithm: ``maml``, second order (Finn et al., 2017, and the paper); ``fomaml``, first order; ``reptile``
            (Nichol et al., 2018); ``unadapted``: one network for all signals, without inner steps: the baseline.
        inner_steps: K, of gradient descent, for each task.
        inner_lr: what the inner learning rates begin with; the paper's is 1e-5.
        inner_lr_kind: which of them are learned: ``static``, ``global``, ``per_step``, ``per_parameter`` or
            ``per_parameter_per_step``, the paper's; see :class:`~partinr.regimes.meta.InnerRates`.
        inner_lr_positive: learn their logarithms, so that none falls below 0.
        inner_loss: ``region``: each network descends on the mean error of its own region; ``image``: on its part of the
            mean over the image.
        adapt_layers: of the networks, that inner steps change, counted from the output (ANIL); None for all.
        meta_batch_size: tasks an outer step.
        context_fraction: of the samples of a task, that it is adapted to, drawn anew each time; the outer objective is
            over all of them.
        partition_in: ``both``: tasks are cut in training and in testing; ``test``: learned with one network for the
            whole signal, which each region then begins with; ``neither``: one network throughout.
        initialisation: ``shared`` by all regions (the paper's), or one for each ``region`` of a grid.
        recompute: keep nothing of an inner step for the way back, and compute it again: less memory, more time.
        clip_norm: largest norm of the outer gradient; None for any.
        validation_steps: inner steps that are looked at: K or more.
        validation_tasks: held-out signals that are looked at; None for all.
        evaluate_every: evaluate every so many outer steps; None for a geometric sequence.
        evaluations_per_decade: of that sequence.
        evaluate_at: further steps at which to evaluate.
        collapse_db: the run has failed when its PSNR stays so far below its best for three evaluations in a row.
        workers: processes that load signals; 0 for none but the run's own.
    """

    algorithm: Algorithm = "maml"
    inner_steps: Annotated[int, Field(ge=1)] = 3
    inner_lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-5
    inner_lr_kind: RateKind = "per_parameter_per_step"
    inner_lr_positive: bool = False
    inner_loss: InnerLoss = "region"
    adapt_layers: Annotated[int, Field(ge=1)] | None = None
    meta_batch_size: Annotated[int, Field(ge=1)] = 4
    context_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    partition_in: Literal["both", "test", "neither"] = "both"
    initialisation: Literal["shared", "region"] = "shared"
    recompute: bool = False
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    validation_steps: Annotated[int, Field(ge=1)] = 10
    validation_tasks: Annotated[int, Field(ge=1)] | None = 32
    evaluate_every: Annotated[int, Field(ge=1)] | None = None
    evaluations_per_decade: Annotated[int, Field(ge=1, le=100)] = 5
    evaluate_at: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
    collapse_db: Annotated[float, Field(gt=0)] | None = 10.0
    workers: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        """Check which options go together.

        Raises:
            PartinrError: rates are to be learned by an algorithm that has no gradient for them, or others that
                exclude each other.
        """
        if self.validation_steps < self.inner_steps:
            raise PartinrError(
                f"regime.validation_steps={self.validation_steps} does not reach regime.inner_steps="
                f"{self.inner_steps}, where the PSNR of the curve is measured; give as many or more"
            )
        if self.algorithm in ("reptile", "unadapted") and self.inner_lr_kind != "static":
            why = "takes no gradient through its inner steps" if self.algorithm == "reptile" else "takes no inner steps"
            raise PartinrError(
                f"regime.algorithm={self.algorithm} {why}, so it learns no learning rates; "
                "give regime.inner_lr_kind=static and a regime.inner_lr"
            )
        if self.partition_in != "both" and self.initialisation == "region":
            what = "the one initialisation that is learned is copied to every region"
            what = what if self.partition_in == "test" else "there is one network"
            raise PartinrError(f"regime.partition_in={self.partition_in}: {what}; leave regime.initialisation=shared")
        if self.recompute and self.algorithm != "maml":
            raise PartinrError(
                f"regime.recompute=true is of no use to regime.algorithm={self.algorithm}, which keeps nothing of an "
                "inner step; leave regime.recompute=false"
            )
        if self.inner_lr_positive and self.inner_lr_kind == "static":
            raise PartinrError(
                "regime.inner_lr_positive=true is for learned rates; leave it out, or give another regime.inner_lr_kind"
            )
        if self.algorithm == "unadapted" and self.context_fraction < 1:
            raise PartinrError(
                f"regime.algorithm=unadapted takes no inner steps, so there is nothing to do with "
                f"regime.context_fraction={self.context_fraction:g}; leave it at 1"
            )


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """How one held-out signal is fitted, step by step.

    Attributes:
        name: of the signal.
        signal: ``[*grid, C]``.
        steps: inner steps behind each of ``values``.
        values: ``[*grid, C]`` each, clamped to [0, 1].
        psnr: of each of them, in dB.
    """

    name: str
    signal: Tensor
    steps: tuple[int, ...]
    values: tuple[Tensor, ...]
    psnr: tuple[float, ...]


class MetaModule(Learning):
    """The learning-to-learn regime as a LightningModule.

    Every call of :meth:`training_step` takes one outer step on a meta-batch. Of several processes each has a part of
    the meta-batch, and the sum of their gradients is that of the whole one. Callbacks read the same attributes as those
    of the ordinary regime.

    Args:
        start: what is learned, in place.
        validation: batches of held-out tasks.
        optimizer: of the outer steps.
        schedule: how its learning rate moves.
        stop: when it is over.
        settings: algorithm, evaluations.
        facts: what run.json says of data and partition.
        data_fingerprint: what must be equal of the data for a run to be continued.
        seed: of the choice of context samples.

    Raises:
        PartinrError: there is nothing to validate on, or settings contradict each other.
    """

    learns = "initialisation"

    def __init__(
        self,
        start: LearnedStart,
        validation: Sequence[TaskBatch],
        *,
        optimizer: Optimizer,
        schedule: Schedule,
        stop: StopRule,
        settings: MetaSettings,
        facts: dict[str, Any],
        data_fingerprint: str = "",
        seed: int = 0,
    ) -> None:
        super().__init__(stop=stop, looking=settings, seed=seed)
        self.model = start
        self.optimizer = optimizer
        self.schedule = schedule
        self.settings = settings
        self._validation = list(validation)
        self._facts = facts
        self._data_fingerprint = data_fingerprint
        schedule.check(stop)
        optimizer.build(self._learned())
        self._check_settings()
        if not self._validation:
            raise PartinrError(
                "there are no held-out signals to look at; give data.val_fraction=0.1, data.val_list or data.val_path"
            )

        self._left_at: float | None = None

    def _check_settings(self) -> None:
        """See that the settings are those that the start was made with."""
        start, settings = self.model, self.settings
        made = {
            "inner_steps": start.inner_steps,
            "inner_lr": start.rates.value,
            "inner_lr_kind": start.rates.kind,
            "inner_lr_positive": start.rates.positive,
            "inner_loss": start.inner_loss,
            "adapt_layers": start.adapt_layers,
        }
        for name, value in made.items():
            if getattr(settings, name) != value:
                raise PartinrError(
                    f"the start was made with {name}={value}, and regime.{name} is {getattr(settings, name)}; "
                    "give both the same"
                )

    def _learned(self) -> list[Tensor]:
        """Everything that the outer optimiser moves."""
        return [value for value in self.model.parameters() if value.requires_grad]

    def check_devices(self, devices: int) -> None:
        """See that each of so many processes has a task of every meta-batch.

        Raises:
            PartinrError: there are more of them than tasks.
        """
        check_ranks(self.settings.meta_batch_size, devices)

    # -- what Lightning calls -----------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Find out which of the processes this is."""
        keep_freed_memory()
        self._ranks = Ranks(self.trainer.world_size, self.trainer.global_rank, self.trainer.strategy.root_device)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The outer optimiser and its schedule; both are stepped by hand."""
        optimizer = self.optimizer.build(self._learned())
        # Not clock.elapsed, which is another in each process: all take the same step, so they need the same rate.
        scheduler = self.schedule.build(optimizer, self.stop, lambda: self.clock.training)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler}}

    def on_train_start(self) -> None:
        """See that the meta-gradient is the right one; this also makes the kernels, before the clock runs."""
        self.check_gradient()

    def check_gradient(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> None:
        """Compare the meta-gradient with finite differences, see :func:`partinr.regimes.meta.check_meta_gradient`.

        Args:
            device: where it will be trained; None for where it is.
            dtype: of its parameters then; None for what they are.

        Raises:
            PartinrError: it is not what the algorithm asks for.
        """
        check_meta_gradient(self.model, self.settings.algorithm, self.settings.recompute, device, dtype)

    def training_step(self, batch: TaskBatch, batch_idx: int) -> None:
        """Take an outer step; evaluate if it is due; stop if it is over."""
        if not self.curve:
            self._evaluate()
        elif self._left_at is not None:
            # Waiting for the next tasks is part of learning from them, and all wait for the slowest.
            (waited,) = self._ranks.most(time.perf_counter() - self._left_at)
            self.clock.training += waited
        if self.stop_reason is None and self.failure is None:
            due = self._due()
            with self.clock.run("training", self.device):
                self._outer_step(batch)
            (self.clock.training,) = self._ranks.most(self.clock.training)
            self._check_finite()
            if self.failure is not None or self._over() or self.step == due:
                self._evaluate()
                self._adjust_plateau()
        if self.stop_reason is not None or self.failure is not None:
            self._restore_best_after_failure()
            self.trainer.should_stop = True

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """From here on it waits for the next tasks; what callbacks took is not counted."""
        # Nor is it where another process waited for them: all meet here.
        self._ranks.most(0.0)
        self._left_at = time.perf_counter()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a resumed run must know."""
        checkpoint["partinr"] = {**self._progress(), "fingerprint": self.fingerprint()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from where the checkpoint was saved."""
        self.trainer.precision_plugin.convert_module(self)
        self._go_on_from(checkpoint["partinr"])

    def results(self) -> dict[str, Any]:
        """What the process that started this one has to know of the training."""
        weights = {name: value.detach().cpu() for name, value in self.model.state_dict().items()}
        return {"weights": weights, **self._told()}

    def recover(self, results: dict[str, Any]) -> None:
        """Be as a module of another process was at its end."""
        self.model.load_state_dict(results["weights"], assign=True)
        self._hear(results)

    # -- what callbacks ask -------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What is learned, in a few words."""
        return f"{self.settings.algorithm}, {self.settings.inner_steps} inner steps"

    @property
    def views(self) -> tuple[()]:
        """There is no one signal that is fitted; there are :meth:`adaptations`."""
        return ()

    def reconstructions(self) -> tuple[()]:
        """Likewise."""
        return ()

    def weights(self) -> Iterator[tuple[None, bytes]]:
        """What is learned, as the content of a file."""
        yield None, self.model.to_bytes()

    @property
    def points_per_step(self) -> int:
        """Samples that an outer step sees, about: of signals as large as the held-out ones."""
        counts = [count for batch in self._validation for count in batch.samples]
        return round(self.settings.meta_batch_size * sum(counts) / len(counts))

    def facts(self) -> dict[str, Any]:
        """What run.json says of this run."""
        last = self.curve[-1] if self.curve else {}
        by_step = [last[key] for key in _psnr_columns(self.settings.validation_steps) if key in last]
        return {
            **self._facts,
            "parameters_learned": sum(value.numel() for value in self._learned()),
            "inner_lr": self.model.rates.mean(),
            "psnr_by_inner_step": by_step,
        }

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for a checkpoint of one run to be continued by another."""
        settings = {
            key: value
            for key, value in dataclasses.asdict(self.settings).items()
            if key
            in ("algorithm", "meta_batch_size", "context_fraction", "partition_in", "initialisation", "clip_norm")
        }
        return {
            "regime": "meta",
            **self.model.architecture(),
            **settings,
            "data": self._data_fingerprint,
            "optimizer": dataclasses.asdict(self.optimizer),
            "schedule": {"name": type(self.schedule).__qualname__, **dataclasses.asdict(self.schedule)},
            "seed": self.seed,
        }

    def adaptations(self) -> list[Adaptation]:
        """How the first held-out signals are fitted now; every process does them all."""
        shown: list[Adaptation] = []
        for batch in self._validation:
            if len(shown) >= SHOWN_TASKS:
                break
            batch = self._to_device(batch)
            steps = tuple(range(self.settings.validation_steps + 1))
            by_step = [(batch.images(values), batch.squared_errors(values)) for values in self._steps(batch)]
            for task, name in enumerate(batch.names):
                images = [images[task].float().clamp(0, 1).cpu() for images, _ in by_step]
                errors = [float(each[task]) for _, each in by_step]
                truth = batch.images(batch.targets)[task].float().cpu()
                shown.append(Adaptation(name, truth, steps, tuple(images), tuple(map(_decibel, errors))))
        return shown[:SHOWN_TASKS]

    # -- learning -----------------------------------------------------------------------------------------------

    def _outer_step(self, batch: TaskBatch) -> None:
        optimizer, scheduler = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert (
            isinstance(optimizer, torch.optim.Optimizer) and not isinstance(scheduler, list) and scheduler is not None
        )
        optimizer.zero_grad()
        among = self.settings.meta_batch_size
        batch = self._to_device(batch)
        context = batch.context(self.settings.inner_loss, self.settings.context_fraction, self._seeds(batch))
        objective = outer_gradients(
            self.model,
            batch,
            context,
            batch.weights(among),
            algorithm=self.settings.algorithm,
            recompute=self.settings.recompute,
            tasks=among,
        )
        inner = 0 if self.settings.algorithm == "unadapted" else self.settings.inner_steps
        work = self.model.networks.macs_of_networks[0] * (len(batch.targets) + inner * len(context.targets))
        learned = self._learned()
        for value in learned:
            if value.grad is None:
                value.grad = torch.zeros_like(value)
            self._ranks.whole(value.grad)
        if self.settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(learned, self.settings.clip_norm)
        optimizer.step()
        if not isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler.step()
        self._last_loss, work_of_all = self._ranks.total(float(objective), float(work))
        self.step += 1
        self.macs += round(work_of_all)
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
        progress.ready += 1
        progress.completed += 1

    def _seeds(self, batch: TaskBatch) -> list[int]:
        """Of the choice of context samples: another for each step and task, whatever else is in the batch."""
        return [(self.seed * 1_000_003 + self.step * 10_007 + index) % 2**63 for index in batch.indices]

    # -- looking ------------------------------------------------------------------------------------------------

    def _to_device(self, batch: TaskBatch) -> TaskBatch:
        """A batch where the parameters are, in their precision."""
        return batch.to(self.device, next(iter(self.model.networks.stack.values())).dtype)

    def _steps(self, batch: TaskBatch) -> Iterator[Tensor]:
        """Values of all samples ``[M, C]`` after 0, 1, … inner steps on all of them."""
        context = batch.context(self.settings.inner_loss)
        yield self.model.values(batch, self.model.start(batch))
        # Without autocast: what is measured is what the learned start gives to whoever loads it.
        with torch.autocast(self.device.type, enabled=False):
            for fast in self.model.adapt(batch, context, self.settings.validation_steps):
                yield self.model.values(batch, fast)

    def _evaluate(self) -> None:
        """Add a row to the curve, keep the best weights, and see whether the run is over."""
        with self.clock.run("evaluation", self.device):
            found, similar = self._measured()
            names = [name for batch in self._validation for name in batch.names]
            self.image_curve += [
                {
                    "step": self.step,
                    "seconds": self.clock.training,
                    "image": name,
                    "psnr": by_step[self.settings.inner_steps],
                    "ssim": alike,
                }
                for name, by_step, alike in zip(names, found, similar, strict=True)
            ]
            means = [mean_psnr(of_step) for of_step in zip(*found, strict=True)]
            row = {
                "step": self.step,
                "seconds": self.clock.training,
                "macs": self.macs,
                # Before the first step there is none of training: that of the held-out signals.
                "loss": self._last_loss if self.step else 10 ** (-means[self.settings.inner_steps] / 10),
                "psnr": means[self.settings.inner_steps],
                "ssim": sum(similar) / len(similar),
                "lr": self.lr,
                "inner_lr": self.model.rates.mean(),
                **dict(zip(_psnr_columns(self.settings.validation_steps), means, strict=True)),
            }
            self._keep(row)
        self._check_target()

    def _measured(self) -> tuple[list[list[float]], list[float]]:
        """The PSNR of each held-out task after each number of steps, and the SSIM after those of the training."""
        total = sum(batch.tasks for batch in self._validation)
        errors = torch.zeros(total, self.settings.validation_steps + 1, dtype=torch.float64)
        similar = torch.zeros(total, dtype=torch.float64)
        first = 0
        for number, batch in enumerate(self._validation):
            rows = slice(first, first + batch.tasks)
            first += batch.tasks
            if number % self._ranks.size != self._ranks.rank:
                continue
            batch = self._to_device(batch)
            for step, values in enumerate(self._steps(batch)):
                errors[rows, step] = batch.squared_errors(values)
                if step == self.settings.inner_steps:
                    pairs = zip(batch.images(values), batch.images(batch.targets), strict=True)
                    similar[rows] = torch.tensor([ssim(value, truth) for value, truth in pairs], dtype=torch.float64)
        if self._ranks.size > 1:
            errors, similar = (self._ranks.whole(each.to(self.device)).cpu() for each in (errors, similar))
        return [[_decibel(error) for error in row] for row in errors.tolist()], similar.tolist()

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: each.detach().clone() for name, each in self.model.state_dict().items()}

    def _cure(self, collapsed: bool) -> str:
        if self.step == 0:  # the inner steps alone have done it
            return f"lower regime.inner_lr (now {self.settings.inner_lr:g})"
        cure = f"lower optimizer.lr (now {self.lr:g}) or regime.inner_lr, or give regime.clip_norm=1"
        return f"{cure}; or let it go on with regime.collapse_db=null" if collapsed else cure

    def _restore_best_after_failure(self) -> None:
        if self.failure is not None and self._best_parameters is not None:
            self.model.load_state_dict(self._best_parameters)


def _psnr_columns(steps: int) -> list[str]:
    return [f"psnr_{step}" for step in range(steps + 1)]


def _decibel(error: float) -> float:
    """PSNR over data range 1 of a mean squared error."""
    return math.inf if error == 0 else -10 * math.log10(error)


def fingerprint_of(names: Sequence[str], *more: object) -> str:
    """A few digits that stand for a list of signals and whatever else."""
    return hashlib.sha256("\n".join([*names, *map(str, more)]).encode()).hexdigest()[:16]
