"""Ordinary training: fits signals by gradient descent on the squared error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.model.signal_stack import SignalStack
from partinr.partition import Live
from partinr.regimes.fit.checks import check_fit, check_live, checked_signals
from partinr.regimes.fit.evaluated import Evaluated, View, check_kinds, error_by_network, mean_of, measured
from partinr.regimes.fit.learned_steps import LearnedSteps
from partinr.regimes.fit.sampler import meant, sampler_of
from partinr.regimes.fit.seen import Seen
from partinr.regimes.meta.learned import LearnedStart
from partinr.samplers import Sampler
from partinr.signals.identity import SignalIdentity
from partinr.signals.observations import Identity, Observation, Observed
from partinr.training.checkpoint import kept_partitions
from partinr.training.clock import StopRule
from partinr.training.facts import (
    further_metrics,
    image_facts,
    partition_facts,
    partition_seconds,
    signal_facts,
)
from partinr.training.live_loop import LiveLoop
from partinr.training.optimizer import Optimizer
from partinr.training.samples import Samples
from partinr.training.schedule import Schedule
from partinr.training.steps import PlainSteps

if TYPE_CHECKING:
    from partinr.regimes.fit.settings import FitSettings


class FitModule(LiveLoop):
    """The ordinary regime as a LightningModule.

    Each signal is evaluated separately. Loss, PSNR and SSIM of the curve are means over the signals. These means decide
    on ``target_psnr``, the best weights and a collapse.

    Args:
        model: the model to fit; trained in place.
        signals: one signal, or one for each of the model's names, in that order; float32 ``[*grid, C]`` in [0, 1] each.
        optimizer: the optimiser and its options.
        schedule: schedule of the learning rate.
        stop: when training ends.
        settings: loss, points per step, evaluations.
        seed: seed for drawing ``points_per_step`` samples.
        start: the learned initialisation that the model began with (:meth:`LearnedStart.begin
            <partinr.regimes.meta.LearnedStart.begin>`); None for fresh networks.
        start_steps: number of first steps that are inner steps with the rates of ``start``; the optimiser takes the
            others.
        identities: identity of each signal, by name; by default that of its values.
        observe: what the loss sees of the signals.
        observed: what it sees of each, if that is known already.
        sampler: which samples the steps see; by default all, or ``points_per_step`` drawn uniformly.
        lives: for each signal, what happens to its partition during training, or None; None if all stay.

    Raises:
        PartinrError: signals and model do not match, or the settings contradict each other.
    """

    @door
    def __init__(
        self,
        model: SignalStack,
        signals: Tensor | Sequence[Tensor],
        *,
        optimizer: Optimizer,
        schedule: Schedule,
        stop: StopRule,
        settings: FitSettings,
        seed: int = 0,
        start: LearnedStart | None = None,
        start_steps: int = 0,
        identities: Mapping[str, SignalIdentity] | None = None,
        observe: Observation | None = None,
        observed: Sequence[Observed] | None = None,
        sampler: Sampler | None = None,
        lives: Sequence[Live | None] | None = None,
    ) -> None:
        super().__init__(
            optimizer=optimizer, schedule=schedule, stop=stop, settings=settings, seed=seed, evaluations=settings
        )
        # A tuple hides it from torch: it is not a submodule, so it is neither trained nor saved in checkpoints.
        self._start = (start,)
        self.start_steps = start_steps
        named = checked_signals(model.names, [signals] if isinstance(signals, Tensor) else signals)
        signals = [each for _, each in named]
        self.kinds = [model.kind(number) for number in range(len(model.names))]
        check_kinds(model.names, self.kinds)
        self.identities = identities or {name: SignalIdentity.of(name, each) for name, each in named}
        self.samples = sum(partition.labels.numel() for partition in model.partitions)
        self.seen = Seen.of(observe or Identity(), observed, signals, model.partitions, settings, seed)
        self.draws = meant(settings, sampler)
        self.lives, self.changes = lives or (), [[0, model.regions]]
        check_fit(model, settings, self.draws, self.samples, start is not None, start_steps, self.seen)
        check_live(model, self.lives, start is not None, self.seen)
        self._shapes = [tuple(each.shape) for each in signals]
        self._learn(model, signals)
        self.watched, self.evaluated = self.seen.watched, Evaluated(model.partitions, self.kinds)
        self._seconds_at_full_work: tuple[float, int] | None = None

    def _learn(self, model: SignalStack, signals: Sequence[Tensor]) -> None:
        """Hold a model and the signals as its partitions sort them."""
        batch = model.batch_of(signals)
        # Sorted by signal; each signal is row-major.
        self.register_buffer("_signals", batch.signal, persistent=False)
        targets, weights = self.seen.targets, self.seen.weights
        self.sampler = sampler_of(self.draws, self.settings, model, batch, signals, self.seen)
        batch = batch if self.sampler.period is None else batch.with_table()
        self.hold(model, batch, batch.by_sample(targets), None if weights is None else batch.by_sample(weights))
        self._errors = torch.full((len(batch.sizes),), float("inf"), dtype=torch.float64)

    def take_model(self, model: SignalStack) -> None:
        """Go on with a model whose partitions differ."""
        signals = [each.float().cpu() for each in self.seen.by_signal(self.buffer("_signals"))]
        self.seen = replace(self.seen, partitions=model.partitions)
        self.__dict__.pop("_settled_facts", None)
        self._learn(model, signals)

    def setup(self, stage: str) -> None:
        """Apply ``begin_at_mean`` and divide the training among the processes."""
        if self.settings.begin_at_mean:
            estimates = self.seen.estimates.to(self.buffer("_signals"))
            self.model.begin_at_mean(estimates[self.batch.order.to(estimates.device)], self.batch.sizes)
        super().setup(stage)

    # -- for callbacks -------------------------------------------------------------------------------------------

    @property
    def views(self) -> list[View]:
        """The signals, each with its partition, its kind and what is seen of it."""
        signals, kinds = self.seen.by_signal(self.buffer("_signals")), self.kinds
        each = zip(self.model.names, signals, self.model.partitions, kinds, self.seen.pictures, strict=True)
        return [View(*facts) for facts in each]

    @door
    @torch.no_grad()
    def reconstructions(self) -> list[Tensor]:
        """The current reconstruction of each signal: ``[*grid, C]``, not clamped, on the device."""
        if (known := self.evaluated.at(self.step)) is not None:
            return known
        self.gather()
        return self.seen.by_signal(self.batch.unsort(self.values()))

    @property
    def together(self) -> tuple[str, str] | None:
        """Why no part of the networks can be trained without the others; see :attr:`StackLoop.together`."""
        return super().together or self.seen.together

    @property
    def points_per_step(self) -> int:
        """Number of samples in a step."""
        return self.draws.points(self.samples, self.settings.points_per_step) or self.samples

    def squared_errors(self) -> list[Tensor]:
        """Squared error of each sample of each signal at the last evaluation."""
        return self.evaluated.squared_errors

    def facts(self) -> dict[str, Any]:
        """The entries of this regime in ``run.json``: plain containers."""
        images = image_facts(self.model, self._shapes, self.image_curve)
        return {
            "regions": self.model.regions,
            "parameters": self.model.parameter_count,
            "macs_per_pixel": self.model.macs_per_sample,
            "frozen_regions": int(self.finished.sum()),
            "seconds": {"partition": partition_seconds(self.model.partitions), "saved": self.seconds_saved},
            **self._settled_facts,
            **({"changes": self.changes} if self.lives else {}),
            "metrics": further_metrics(self.kinds[0].metrics, self.curve) | self.seen.metrics(self.curve),
            **({"images": images} if images else {}),
        }

    def final_metrics(self) -> dict[str, Any]:
        """How well regions match along their borders, and what else the kind of signal measures at the end."""
        return self.evaluated.at_end

    @cached_property
    def _settled_facts(self) -> dict[str, Any]:
        """Facts that do not change and take time to compute from signals and label maps."""
        return {
            "partition": partition_facts(self.model.names, self.model.partitions),
            "signal": signal_facts(self.model.names, self._shapes, self.buffer("_signals"), self.identities.values())
            | self.kinds[0].describe(self._shapes[0][:-1] if len(self._shapes) == 1 else None),
        }

    @property
    def seconds_saved(self) -> float | None:
        """Training seconds saved by frozen regions; None if no region is frozen.

        The estimate assumes that the run would have kept the pace that it had before the first region was frozen.
        """
        if self._seconds_at_full_work is None:
            return None
        seconds, steps = self._seconds_at_full_work
        return max(0.0, seconds / steps * self.step - self.clock.training) if steps else None

    # -- training -----------------------------------------------------------------------------------------------

    @property
    def period(self) -> int | None:
        """The number of steps after which their samples repeat."""
        return self.sampler.period

    def take_steps(self, steps: int, batch: Any) -> None:
        """Take optimiser steps on the networks of the shard, in pieces of steps that are alike."""
        end = self.step + steps
        while self.step < end:
            alike = self.sampler.begin(self, end - self.step)
            if self.sampler.fresh:
                self._stepping = None
            super().take_steps(alike, batch)

    def samples_of(self, step: int) -> list[Samples]:
        """The samples of a step that belong to this process's networks."""
        return self.sampler.samples(self.shard, step)

    @property
    def divisor(self) -> float:
        """The samples of all shards times channels, so that a network's training does not depend on the shards.

        For several signals the weights make the loss the sum of their mean squared errors.
        """
        return self.sampler.points * self.model.channels

    def macs_a_step(self) -> int:
        """Multiply-accumulates of the forward pass of one step, over all processes."""
        per_sample = self.model.macs_per_sample
        return self.sampler.macs(per_sample, self.of_networks, ~self.finished)

    def step_of(self, step: int) -> PlainSteps | None:
        """Steps with the learned rates for the first ``start_steps``."""
        (start,) = self._start
        return LearnedSteps(self, start) if start is not None and step < self.start_steps else None

    def newly_finished(self) -> Tensor:
        """The regions that have reached ``freeze_at_psnr``."""
        limit = self.settings.freeze_at_psnr
        # Not before the first step: the seconds saved are estimated from the pace before the first freeze.
        if limit is None or self.step == 0:
            return torch.zeros_like(self.finished)
        reached = (self._errors <= 10 ** (-limit / 10)) & ~self.finished
        if reached.any() and self._seconds_at_full_work is None:
            self._seconds_at_full_work = self.clock.training, self.step
        return reached

    # -- evaluation ---------------------------------------------------------------------------------------------

    def measure(self) -> dict[str, float]:
        """Mean PSNR, SSIM and metrics of the kind over the signals."""
        self.gather()
        self.evaluated = Evaluated(self.model.partitions, self.kinds)  # else two reconstructions would be in memory
        values = self.values()
        reconstructions = self.seen.by_signal(self.batch.unsort(values))
        pairs = list(zip(reconstructions, self.seen.by_signal(self.buffer("_signals")), strict=True))
        if self.settings.freeze_at_psnr is not None:
            self._errors = error_by_network(values, self.buffer("_targets"), self.batch)
        self.look(values)
        rows = measured(pairs, self.kinds, self.ranks)
        self.evaluated.put(self.step, pairs)
        self.image_curve += [
            {"step": self.step, "seconds": self.clock.training, "image": name, **row}
            for name, row in zip(self.model.names, rows, strict=True)
            if name
        ]
        return {**mean_of(rows), **self.seen.measured(reconstructions, self.ranks, untrained=self.step == 0)}

    def look(self, values: Tensor) -> None:
        """Let the sampler go by the errors of the values of all rows of the batch."""
        if self.sampler.goes_by_error:
            self.sampler.refresh(self._error_by_sample(values))

    def _error_by_sample(self, values: Tensor) -> Tensor:
        """Root mean squared error over the channels of each sample, times its weight in the loss: ``[M]``."""
        error = (values - self.buffer("_targets")).square().mean(1).sqrt()
        return error if self._weights is None else error * self.buffer("_weights").squeeze(1)

    def cure(self, collapsed: bool) -> str:
        """Advice to the user after a failure or a collapse of the curve."""
        lower = f"lower optimizer.lr (now {self.lr:g})"
        if collapsed:
            return f"{lower}, choose schedule=cosine, or let it continue with regime.collapse_db=null"
        return f"{lower} or choose schedule=warmup"

    # -- state --------------------------------------------------------------------------------------------------

    def identity(self) -> dict[str, Any]:
        """What must be equal, in addition to signals, settings and seed, to continue from a checkpoint."""
        return {
            **self.model.architecture(),
            "init_steps": self.start_steps,
            **self.seen.identity(),
            **self.draws.about(),
        }

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Restore the weights of a stack."""
        self.evaluated.drop()
        super().restore(weights)

    def progress(self) -> dict[str, Any]:
        """The state that a resumed run needs."""
        return {
            **super().progress(),
            "at_end": self.evaluated.at_end,
            "seconds_at_full_work": self._seconds_at_full_work,
            "sampler": self.sampler.state(),
            "partitions": kept_partitions(self.model.names, self.model.partitions),
        }

    def continue_from(self, state: dict[str, Any]) -> None:
        """Restore the :meth:`progress` of a checkpoint."""
        self.evaluated.drop(state["at_end"])
        self._seconds_at_full_work = state["seconds_at_full_work"]
        self.sampler.restore(state["sampler"])
        super().continue_from(state)

    def export_state(self) -> dict[str, Any]:
        """The training state that the parent process needs."""
        return {
            **super().export_state(),
            "at_end": self.evaluated.at_end,
            "seconds_at_full_work": self._seconds_at_full_work,
        }

    def import_state(self, state: dict[str, Any]) -> None:
        """Restore the state in which the module of another process ended."""
        super().import_state(state)
        self.evaluated.drop(state["at_end"])
        self._seconds_at_full_work = state["seconds_at_full_work"]
