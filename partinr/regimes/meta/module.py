"""Learning to learn: an initialisation from which a few steps fit any signal of a kind."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.base.seeds import derived
from partinr.metrics import mean_psnr
from partinr.regimes.meta.learned import INNER, LearnedStart, outer_gradients
from partinr.regimes.meta.loading import check_ranks
from partinr.regimes.meta.selftest import check_meta_gradient
from partinr.regimes.meta.tasks import TaskBatch
from partinr.signals.identity import SignalIdentity
from partinr.signals.kind import SignalKind
from partinr.signals.kinds import default_kind
from partinr.training.clock import Reading, StopRule
from partinr.training.facts import further_metrics, mean_of
from partinr.training.loop import TrainingLoop
from partinr.training.optimizer import Optimizer
from partinr.training.schedule import Schedule

if TYPE_CHECKING:
    from partinr.regimes.meta.settings import MetaSettings

SHOWN_TASKS = 4
"""Number of held-out signals in the picture of the adaptation."""


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """How one held-out signal is fitted, step by step.

    Attributes:
        name: name of the signal.
        signal: ``[*grid, C]``.
        steps: number of inner steps for each entry of ``values``.
        values: ``[*grid, C]`` each, clamped to [0, 1].
        psnr: PSNR of each entry of ``values``, in dB.
        kind: the kind of the signal.
    """

    name: str
    signal: Tensor
    steps: tuple[int, ...]
    values: tuple[Tensor, ...]
    psnr: tuple[float, ...]
    kind: SignalKind


class MetaModule(TrainingLoop):
    """The learning-to-learn regime as a LightningModule.

    Every call of :meth:`training_step` takes one outer step on a meta-batch. Each of several processes has a part of
    the meta-batch; the sum of their gradients is the gradient of the whole.

    Args:
        start: the initialisation and rates, learned in place.
        validation: batches of held-out tasks.
        optimizer: optimiser of the outer steps.
        schedule: schedule of its learning rate.
        stop: when training ends.
        settings: algorithm, evaluations.
        facts: entries of data and partition in ``run.json``.
        data: the training tasks; None if the caller passes them to Lightning.
        about: settings of data and partition; a run continues only with equal ones.
        identities: identities of the signals, by name; by default those of the values of the held-out signals.
        kind: kind of the signals; None for the one that follows from their number of axes.
        cache_dir: folder for results of the gradient check; None to keep none.
        seed: seed for drawing context samples.

    Raises:
        PartinrError: there are no held-out tasks, or settings contradict each other.
    """

    model: LearnedStart

    @door
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
        data: L.LightningDataModule | None = None,
        about: Mapping[str, Any] | None = None,
        identities: Mapping[str, SignalIdentity] | None = None,
        kind: SignalKind | None = None,
        cache_dir: Path | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            optimizer=optimizer, schedule=schedule, stop=stop, settings=settings, seed=seed, evaluations=settings
        )
        self.model = start
        self.data = data
        self._validation = list(validation)
        self._facts = facts
        self.about = about or {}
        self.identities = identities or _identities(self._validation)
        self._cache_dir, self._kind = cache_dir, kind or default_kind(start.networks.in_features)
        _check_settings(start, settings)
        if not self._validation:
            raise PartinrError(
                "there are no held-out signals to look at; give data.val_fraction=0.1, data.val_list or data.val_path"
            )
        self._left_at: Reading | None = None

    def _learned(self) -> list[Tensor]:
        """All tensors that the outer optimiser changes."""
        return [value for value in self.model.parameters() if value.requires_grad]

    def divides(self, devices: int) -> str | None:
        """``signals``, those of each meta-batch; None for one process."""
        return None if devices == 1 else "signals"

    def check_devices(self, devices: int) -> None:
        """Check that each of ``devices`` processes has a task of every meta-batch.

        Raises:
            PartinrError: there are more processes than tasks, or they are to divide samples.
        """
        if devices > 1 and self.shard_by == "samples":
            raise PartinrError("shard=samples: devices divide the signals of each meta-batch; leave shard=auto")
        check_ranks(self.settings.meta_batch_size, devices)

    # -- what Lightning calls -----------------------------------------------------------------------------------

    def parameters_for(self) -> torch.optim.Optimizer:
        """The outer optimiser."""
        return self.optimizer.build(self._learned())

    def seconds_for_schedule(self) -> float:
        """Seconds of training up to the last step. All processes agree on them, and so on the learning rate."""
        return self.clock.spent

    def on_train_start(self) -> None:
        """Check the meta-gradient. This also compiles the kernels before the clock runs."""
        super().on_train_start()
        self.check_gradient()

    def check_gradient(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> None:
        """Compare the meta-gradient with finite differences, see :func:`partinr.regimes.meta.check_meta_gradient`.

        Args:
            device: the device of training; None for the current one.
            dtype: type of the parameters in training; None for the current one.

        Raises:
            PartinrError: the gradient is wrong for the algorithm.
        """
        check_meta_gradient(
            self.model, self.settings.algorithm, self.settings.recompute, device, dtype, self._cache_dir
        )

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Start the clock that counts the wait for the next tasks; time in callbacks does not count."""
        # Nor does time count that another process waits for them: all processes meet here.
        self.ranks.most(0.0)
        self._left_at = Reading.now()

    def on_train_end(self) -> None:
        """Restore the best weights if the run failed."""
        super().on_train_end()
        self.restore_best_after_failure()

    # -- for callbacks -------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What is learned, in a few words."""
        return f"{self.settings.algorithm}, {self.settings.inner_steps} inner steps"

    def weights(self) -> Iterator[tuple[str, bytes]]:
        """The learned initialisation as the content of a file."""
        yield "", self.model.to_bytes()

    @property
    def points_per_step(self) -> int:
        """Approximate number of samples in an outer step, for signals as large as the held-out ones."""
        counts = [count for batch in self._validation for count in batch.samples]
        return round(self.settings.meta_batch_size * sum(counts) / len(counts))

    def facts(self) -> dict[str, Any]:
        """The entries of this regime in ``run.json``."""
        last = self.curve[-1] if self.curve else {}
        return {
            **self._facts,
            "parameters_learned": sum(value.numel() for value in self._learned()),
            "inner_lr": self.model.rates.mean(),
            "metrics": further_metrics(self._kind.metrics, self.curve),
            "psnr_by_inner_step": [last[key] for key in _psnr_columns(self.settings.validation_steps) if key in last],
        }

    def identity(self) -> dict[str, Any]:
        """What must be equal, in addition to signals, settings and seed, to continue from a checkpoint."""
        return self.model.architecture()

    def adaptations(self) -> list[Adaptation]:
        """The current adaptation to the first held-out signals; every process computes all of them."""
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
                shown.append(Adaptation(name, truth, steps, tuple(images), tuple(map(_decibel, errors)), self._kind))
        return shown[:SHOWN_TASKS]

    # -- training -----------------------------------------------------------------------------------------------

    def chunk(self) -> int:
        """One step, since each outer step has its own meta-batch."""
        return 1

    def take_steps(self, steps: int, batch: TaskBatch) -> None:
        """Take an outer step."""
        if self._left_at is not None:
            # The wait for the next tasks counts as training, and all processes wait for the slowest.
            self.clock.count("training", self._left_at, self.ranks)
        with self.clock.run("training", self.device, self.ranks):
            self._outer_step(batch)

    def _outer_step(self, batch: TaskBatch) -> None:
        optimizer, scheduler = self.own_optimizer(), self.lr_schedulers()
        assert not isinstance(scheduler, list) and scheduler is not None
        optimizer.zero_grad()
        among = self.settings.meta_batch_size
        batch = self._to_device(batch)
        context = batch.context(self.settings.inner_loss, self.settings.context_fraction, self.seeds(batch))
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
            self.ranks.whole(value.grad)
        if self.settings.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(learned, self.settings.clip_norm)
        optimizer.step()
        if not isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            scheduler.step()
        self._last_loss, work_of_all = self.ranks.total(float(objective), float(work))
        self.step += 1
        self.macs += round(work_of_all)
        self.count_steps(1)

    def seeds(self, batch: TaskBatch) -> list[int]:
        """Seeds for drawing context samples: they depend on step and task, not on the rest of the batch."""
        return [derived(self.seed, self.step, index) for index in batch.indices]

    # -- evaluation ------------------------------------------------------------------------------------------------

    def _to_device(self, batch: TaskBatch) -> TaskBatch:
        """A batch on the device and in the precision of the parameters."""
        return batch.to(self.device, next(iter(self.model.networks.stack.values())).dtype)

    def _steps(self, batch: TaskBatch) -> Iterator[Tensor]:
        """Values of all samples ``[M, C]`` after 0, 1, … inner steps on all of them."""
        context = batch.context(self.settings.inner_loss)
        yield self.model.values(batch, self.model.start(batch))
        # Without autocast, to measure what a user gets who loads the learned start.
        with torch.autocast(self.device.type, enabled=False):
            for fast in self.model.adapt(batch, context, self.settings.validation_steps):
                yield self.model.values(batch, fast)

    def measure(self) -> dict[str, float]:
        """Mean PSNR of the held-out signals after each number of inner steps; SSIM and others after ``inner_steps``."""
        found, further = self._measured()
        names = [name for batch in self._validation for name in batch.names]
        after = self.settings.inner_steps
        self.image_curve += [
            {"step": self.step, "seconds": self.clock.training, "image": name, "psnr": by_step[after], **others}
            for name, by_step, others in zip(names, found, further, strict=True)
        ]
        means = [mean_psnr(of_step) for of_step in zip(*found, strict=True)]
        row = {
            "psnr": means[after],
            **mean_of(further),
            "inner_lr": self.model.rates.mean(),
            **dict(zip(_psnr_columns(self.settings.validation_steps), means, strict=True)),
        }
        # There is no training loss before the first step, so that of the held-out signals takes its place.
        return row if self.step else {**row, "loss": 10 ** (-means[after] / 10)}

    def _measured(self) -> tuple[list[list[float]], list[dict[str, float]]]:
        """The PSNR of each held-out task after each number of steps, and its other metrics after ``inner_steps``."""
        keys = list(dict.fromkeys(["ssim", *(each["key"] for each in self._kind.metrics)]))
        total = sum(batch.tasks for batch in self._validation)
        errors = torch.zeros(total, self.settings.validation_steps + 1, dtype=torch.float64)
        further = torch.zeros(total, len(keys), dtype=torch.float64)
        first = 0
        for number, batch in enumerate(self._validation):
            rows = slice(first, first + batch.tasks)
            first += batch.tasks
            if number % self.ranks.size != self.ranks.rank:
                continue
            batch = self._to_device(batch)
            for step, values in enumerate(self._steps(batch)):
                errors[rows, step] = batch.squared_errors(values)
                if step == self.settings.inner_steps:
                    further[rows] = _others(self._kind, keys, batch, values)
        if self.ranks.size > 1:
            errors, further = (self.ranks.whole(each.to(self.device)).cpu() for each in (errors, further))
        psnr = [[_decibel(error) for error in row] for row in errors.tolist()]
        return psnr, [dict(zip(keys, row, strict=True)) for row in further.tolist()]

    def cure(self, collapsed: bool) -> str:
        """Advice to the user after a failure or a collapse of the curve."""
        if self.step == 0:  # the inner steps alone caused it
            return f"lower regime.inner_lr (now {self.settings.inner_lr:g})"
        cure = f"lower optimizer.lr (now {self.lr:g}) or regime.inner_lr, or give regime.clip_norm=1"
        return f"{cure}; or let it continue with regime.collapse_db=null" if collapsed else cure

    # -- state --------------------------------------------------------------------------------------------------

    def weights_to_keep(self) -> dict[str, Tensor]:
        """A copy of all learned tensors."""
        return {name: each.detach().clone() for name, each in self.model.state_dict().items()}

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Restore such a copy."""
        # assign keeps the precision of training.
        self.model.load_state_dict(weights, assign=True)


def _check_settings(start: LearnedStart, settings: MetaSettings) -> None:
    """Check that the start was made with the same settings.

    Raises:
        PartinrError: it was not.
    """
    made = start.architecture()
    for name in INNER:
        given = getattr(settings, name)
        if given != made[name]:
            raise PartinrError(
                f"the start was made with {name}={made[name]}, and regime.{name} is {given}; give both the same"
            )


def _others(kind: SignalKind, keys: Sequence[str], batch: TaskBatch, values: Tensor) -> Tensor:
    """The metrics of a kind for each task, NaN where it has none of a key: float64 ``[B, K]``."""
    pairs = zip(batch.images(values), batch.images(batch.targets), strict=True)
    measured = [kind.measure(*pair) for pair in pairs]
    return torch.tensor([[each.get(key, math.nan) for key in keys] for each in measured], dtype=torch.float64)


def _identities(batches: Sequence[TaskBatch]) -> dict[str, SignalIdentity]:
    """Identities of the named signals of batches, by their values."""
    pairs = (pair for batch in batches for pair in zip(batch.names, batch.images(batch.targets), strict=False))
    return {name: SignalIdentity.of(name, values) for name, values in pairs}


def _psnr_columns(steps: int) -> list[str]:
    return [f"psnr_{step}" for step in range(steps + 1)]


def _decibel(error: float) -> float:
    """PSNR over data range 1 of a mean squared error."""
    return math.inf if error == 0 else -10 * math.log10(error)
