"""Ordinary learning: signals from fresh networks, by gradient descent on the squared error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.metrics import SEAM, mean_psnr, psnr, seam, ssim
from partinr.model.signal_stack import SignalStack
from partinr.partition import Partition
from partinr.regimes.fit.checks import check_fit, checked_signal
from partinr.regimes.fit.learned_steps import LearnedSteps
from partinr.regimes.meta.learned import LearnedStart
from partinr.training.clock import StopRule
from partinr.training.facts import (
    image_facts,
    mean_seam,
    partition_facts,
    partition_seconds,
    signal_facts,
    signal_sha256,
)
from partinr.training.optimizer import Optimizer
from partinr.training.sampling import ErrorSampler, FullBatch, UniformSampler
from partinr.training.schedule import Schedule
from partinr.training.stack_loop import StackLoop
from partinr.training.steps import PlainSteps

if TYPE_CHECKING:
    from partinr.regimes.fit.settings import FitSettings


@dataclass(frozen=True)
class View:
    """One signal of a run, as callbacks see it.

    Attributes:
        name: of an image of a set; empty where the run is for one signal.
        signal: float32 ``[*grid, C]``, on the device.
        partition: of it.
    """

    name: str
    signal: Tensor
    partition: Partition


class FitModule(StackLoop):
    """The ordinary regime as a LightningModule.

    Each signal is evaluated by itself. Loss, PSNR and SSIM of the curve are means over the signals, and with them
    ``target_psnr``, the best weights and a collapse.

    Args:
        model: what is fitted; trained in place.
        signals: float32 ``[*grid, C]`` in [0, 1] each, in the order of the model's names; or the only one.
        optimizer: which optimiser.
        schedule: how the learning rate moves.
        stop: when it is over.
        settings: loss, points a step, evaluations.
        seed: of the order in which ``points_per_step`` are drawn.
        start: the learned initialisation that the model began with (:meth:`LearnedStart.begin
            <partinr.regimes.meta.LearnedStart.begin>`); None for fresh networks.
        start_steps: the first so many steps are inner steps with the rates that were learned with it; the optimiser
            has the others.

    Raises:
        PartinrError: signals and model do not fit together, or the settings contradict each other.
    """

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
    ) -> None:
        super().__init__(
            optimizer=optimizer, schedule=schedule, stop=stop, settings=settings, seed=seed, evaluations=settings
        )
        # In a tuple, so that it is no module of this one: it is not trained, and is in no checkpoint.
        self._start = (start,)
        self.start_steps = start_steps
        signals = [signals] if isinstance(signals, Tensor) else list(signals)
        names = model.names if len(signals) == len(model.names) else [""] * len(signals)
        signals = [checked_signal(each, name) for name, each in zip(names, signals, strict=True)]
        batch = model.batch_of(signals)
        self.samples = batch.samples
        check_fit(model, settings, self.samples, start is not None, start_steps)
        self._shapes = [tuple(each.shape) for each in signals]
        # Signal by signal, each row-major.
        flat = torch.cat([each.reshape(-1, model.channels) for each in signals])
        self.register_buffer("_signals", flat, persistent=False)
        weights = settings.sample_weights(model.partitions, seed)
        self.hold(model, batch, batch.by_sample(flat), None if weights is None else batch.by_sample(weights))
        self.sampler = self._sampler()
        self._seam = dict.fromkeys(SEAM, float("nan"))
        self._evaluated: list[tuple[Tensor, Tensor]] = []
        self._errors = torch.full((len(batch.sizes),), float("inf"), dtype=torch.float64)
        self._seconds_at_full_work: tuple[float, int] | None = None

    def _sampler(self) -> FullBatch:
        points, sizes = self.settings.points_per_step, self.batch.sizes
        if points is None:
            return FullBatch(sizes)
        if self.settings.sampling == "error":
            return ErrorSampler(self.batch.network.cpu(), sizes, points, self.seed)
        return UniformSampler(sizes, self.samples, points, self.seed)

    def check_devices(self, devices: int) -> None:
        """Check that each of so many processes has a network to train.

        Raises:
            PartinrError: there are more of them than networks, or networks are blended.
        """
        if devices > 1 and self.model.blended:
            raise PartinrError(
                f"trainer.devices={devices} trains regions apart, but with overlap or global_network they are trained "
                "together; give trainer.devices=1, or overlap=0 and global_network=false"
            )
        networks = self.model.networks
        if devices > networks:
            raise PartinrError(
                f"trainer.devices={devices}, but there {_only(networks)}, and each device trains some of them; "
                f"give trainer.devices={networks}, or more regions (partition.regions)"
            )

    def useful_devices(self, devices: int) -> tuple[int, str | None]:
        """At most one device a network, so that one command sweeps over partitions of which one is none."""
        useful = min(devices, self.model.networks)
        note = f"there {_only(useful)} for trainer.devices={devices}; the other devices have no work"
        return useful, None if useful == devices else note

    def setup(self, stage: str) -> None:
        """Begin at the mean, if asked to; deal the networks out to the processes."""
        if self.settings.begin_at_mean:
            signals = self.buffer("_signals")
            self.model.begin_at_mean(signals[self.batch.order.to(signals.device)], self.batch.sizes)
        super().setup(stage)

    # -- what callbacks ask -------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What is fitted, in a few words."""
        return self.model.title

    @property
    def views(self) -> list[View]:
        """The signals, each with its partition."""
        signals = self._by_signal(self.buffer("_signals"))
        return [View(*each) for each in zip(self.model.names, signals, self.model.partitions, strict=True)]

    @torch.no_grad()
    def reconstructions(self) -> list[Tensor]:
        """The signals as the networks have them now: ``[*grid, C]`` each, not clamped, on the device."""
        self.gather()
        return self._by_signal(self.batch.unsort(self.values()))

    def weights(self) -> Iterator[tuple[str, bytes]]:
        """The model of each signal as the content of a file, with the name of the signal."""
        for number, name in enumerate(self.model.names):
            yield name, self.model.member(number).to_bytes()

    @property
    def seam(self) -> dict[str, float]:
        """How well regions fit together along their borders (:func:`partinr.metrics.seam`), at the last evaluation.

        Means over the signals that have borders; NaN before the first evaluation, or where there is no border. Taken
        when it is asked for: only that of the last evaluation is of interest.
        """
        if self._evaluated:
            pairs = zip(self._evaluated, self.model.partitions, strict=True)
            self._seam = mean_seam([seam(*pair, partition) for pair, partition in pairs])
            self._evaluated = []
        return self._seam

    @property
    def points_per_step(self) -> int:
        """Samples that a step sees."""
        return self.settings.points_per_step or self.samples

    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says of this regime's runs: plain containers."""
        images = image_facts(self.model, self._shapes, self.image_curve)
        return {
            "regions": self.model.regions,
            "parameters": self.model.parameter_count,
            "macs_per_pixel": self.model.macs_per_sample,
            "frozen_regions": int(self.finished.sum()),
            "metrics": {"seam": self.seam},
            "seconds": {"partition": partition_seconds(self.model.partitions), "saved": self.seconds_saved},
            **self._settled_facts,
            **({"images": images} if images else {}),
        }

    @cached_property
    def _settled_facts(self) -> dict[str, Any]:
        """Those that take a while and do not change: signals and label maps are read through."""
        return {
            "partition": partition_facts(self.model.names, self.model.partitions),
            "signal": signal_facts(self.model.names, self._shapes, self.buffer("_signals")),
        }

    @property
    def seconds_saved(self) -> float | None:
        """Of training, by the regions that are frozen: against the pace before the first of them was; None if none is.

        The pace is measured; that the rest of the run would have kept it is not.
        """
        if self._seconds_at_full_work is None:
            return None
        seconds, steps = self._seconds_at_full_work
        return max(0.0, seconds / steps * self.step - self.clock.training) if steps else None

    def _by_signal(self, values: Tensor) -> list[Tensor]:
        """Values ``[M, C]``, signal by signal, as one grid a signal."""
        parts = values.split([partition.labels.numel() for partition in self.model.partitions])
        return [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    # -- learning -----------------------------------------------------------------------------------------------

    @property
    def sees_all(self) -> bool:
        """Whether every step sees the same samples."""
        return self.settings.points_per_step is None

    def loss(self, step: int) -> Tensor:
        """The mean squared error of the samples of a step, summed over the signals, of this process's networks."""
        # Over all samples of a step, also those of other shards: what a network learns does not depend on the others.
        # For several signals the weights make this the sum of their losses.
        error = self.squared_error(self.sampler.samples(self.shard, step))
        return error / (self.points_per_step * self.model.channels)

    def macs_a_step(self) -> int:
        """Multiply-accumulates of the forward pass of one step, over all processes."""
        per_sample = self.model.macs_per_sample
        return self.sampler.macs(self.points_per_step, per_sample, self.of_networks, ~self.finished)

    def step_of(self, step: int) -> PlainSteps | None:
        """The first ``start_steps`` are taken with the learned rates."""
        (start,) = self._start
        return LearnedSteps(self, start) if start is not None and step < self.start_steps else None

    def newly_finished(self) -> Tensor:
        """The regions that have reached ``freeze_at_psnr``."""
        limit = self.settings.freeze_at_psnr
        # Not before the first step: the seconds saved are told from the pace before the first region is frozen.
        if limit is None or self.step == 0:
            return torch.zeros_like(self.finished)
        reached = (self._errors <= 10 ** (-limit / 10)) & ~self.finished
        if reached.any() and self._seconds_at_full_work is None:
            self._seconds_at_full_work = self.clock.training, self.step
        return reached

    # -- evaluation ---------------------------------------------------------------------------------------------

    def measure(self) -> dict[str, float]:
        """Mean PSNR and SSIM over the signals."""
        self.gather()
        values = self.values()
        pairs = list(
            zip(
                self._by_signal(self.batch.unsort(values)),
                self._by_signal(self.buffer("_signals")),
                strict=True,
            )
        )
        if self.settings.freeze_at_psnr is not None:
            self._errors = self._error_by_network(values)
        if self.sampler.goes_by_error:
            self.sampler.refresh(self._error_by_sample(values))
        # One opinion for all processes: what follows from it they must do together.
        numbers = self.ranks.first(*(metric(*pair) for metric in (psnr, ssim) for pair in pairs))
        psnrs, ssims = numbers[: len(pairs)], numbers[len(pairs) :]
        self._evaluated = pairs
        self.image_curve += [
            {"step": self.step, "seconds": self.clock.training, "image": name, "psnr": own_psnr, "ssim": own_ssim}
            for name, own_psnr, own_ssim in zip(self.model.names, psnrs, ssims, strict=True)
            if name
        ]
        found = {"psnr": mean_psnr(psnrs), "ssim": sum(ssims) / len(pairs)}
        return found if self.step else {**found, "loss": _mean_error(pairs)}

    def _error_by_network(self, values: Tensor) -> Tensor:
        """Mean squared error of each network on its own samples, values clamped: float64 ``[N]``, on the CPU."""
        error = (values.float().clamp(0, 1) - self.buffer("_targets").float()).square().mean(1).double().cpu()
        sizes = torch.tensor(self.batch.sizes, dtype=torch.float64)
        return torch.zeros_like(sizes).index_add_(0, self.batch.network.cpu(), error) / sizes

    def _error_by_sample(self, values: Tensor) -> Tensor:
        """Root mean squared error over the channels of each sample, times its weight in the loss: ``[M]``."""
        error = (values - self.buffer("_targets")).square().mean(1).sqrt()
        return error if self._weights is None else error * self.buffer("_weights").squeeze(1)

    def cure(self, collapsed: bool) -> str:
        """What a user may do about a failure, or a curve that has collapsed."""
        lower = f"lower optimizer.lr (now {self.lr:g})"
        if collapsed:
            return f"{lower}, choose schedule=cosine, or let it go on with regime.collapse_db=null"
        return f"{lower} or choose schedule=warmup"

    # -- keeping ------------------------------------------------------------------------------------------------

    def identity(self) -> dict[str, Any]:
        """What, beside settings and seed, must be equal for a checkpoint to be continued here."""
        return {
            **self.model.architecture(),
            "signal_sha256": signal_sha256(self.buffer("_signals")),
            "init_steps": self.start_steps,
        }

    def progress(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {
            **super().progress(),
            "seam": self.seam,
            "seconds_at_full_work": self._seconds_at_full_work,
            "sampled_errors": self.sampler.errors,
        }

    def continue_from(self, state: dict[str, Any]) -> None:
        """Take over the :meth:`progress` of a checkpoint."""
        self._seam, self._evaluated = state["seam"], []
        self._seconds_at_full_work = state["seconds_at_full_work"]
        self.sampler.refresh(state["sampled_errors"])
        super().continue_from(state)

    def export_state(self) -> dict[str, Any]:
        """What the process that started this one has to know of the training."""
        return {**super().export_state(), "seam": self.seam, "seconds_at_full_work": self._seconds_at_full_work}

    def import_state(self, state: dict[str, Any]) -> None:
        """Be as a module of another process was at its end."""
        super().import_state(state)
        self._seam, self._evaluated = state["seam"], []
        self._seconds_at_full_work = state["seconds_at_full_work"]


def _mean_error(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """The mean squared error of the untrained networks, mean over the signals."""
    return sum(float((values.float() - signal).square().mean()) for values, signal in pairs) / len(pairs)


def _only(networks: int) -> str:
    return "is only 1 region" if networks == 1 else f"are only {networks} regions"
