"""Ordinary learning: a signal, or several, from fresh networks, by gradient descent on the squared error."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.metrics.quality import EXACT_DB, SEAM, mean_psnr, psnr, seam, ssim
from partinr.model.album import Album
from partinr.model.inr import PiecewiseINR
from partinr.partition import Partition
from partinr.regimes.meta import LearnedStart
from partinr.training.clock import StopRule, keep_freed_memory
from partinr.training.graphs import GraphedSteps, can_be_graphed
from partinr.training.optimizer import Optimizer
from partinr.training.ranks import Ranks
from partinr.training.samples import Samples
from partinr.training.sampling import ErrorSampler
from partinr.training.schedule import Constant, Schedule
from partinr.training.shards import Shard, deal, hand_over, widen_state
from partinr.training.stacked import StackLearning
from partinr.training.trainer import FitResult, Model, make_trainer, run_fit

CHUNK_SECONDS = 0.2
"""Optimiser steps are taken in chunks of about so long between two calls from Lightning's loop.

Long enough that what happens between chunks does not count, short enough that a progress bar lives, and that a signal
or a time limit is noticed soon.
"""

_BORDER = ("border_weight", "border_width")
"""Settings that make another loss; runs from before they were there have the plain one."""

_RESULTS = ("frozen", "_seconds_at_full_work")
"""What a module that was trained in another process tells the one here, beside what every regime does."""


@dataclass(frozen=True)
class View:
    """One signal of a run, as callbacks see it.

    Attributes:
        name: of an image of an album; None where the run is for one signal.
        signal: float32 ``[*grid, C]``, on the device.
        partition: of it.
    """

    name: str | None
    signal: Tensor
    partition: Partition


@spec
class FitSettings:
    """How the ordinary regime learns and looks.

    Attributes:
        loss: ``image``: the mean squared error over all samples, so that every pixel counts alike (the paper's).
            ``region``: the mean over regions of each region's own mean, so that every region counts alike and a pixel
            of a small one counts more. With Adam the two differ little, since a network's own scale cancels. Of
            several images each has a loss of its own, and what a network learns does not depend on the other images.
        border_weight: what a sample near a border between regions counts in the loss, those inside count 1; above 0.
            The weights are then divided by their mean, over the image (over the region with ``loss=region``), so that
            the loss keeps its scale, and a learning rate its meaning. The steps of ``init_steps`` do without.
        border_width: near is what has another region within so many samples along the axes.
        points_per_step: samples drawn for each step, evenly from all signals as a whole; None for all of them. Every
            sample is seen once before any is seen again.
        sampling: which of them. ``uniform``: all alike. ``error``: in proportion to their error when they were last
            evaluated, and with weights that leave the expectation of the loss as it is (:class:`ErrorSampler
            <partinr.training.sampling.ErrorSampler>`). How many points a network gets then depends on the others.
        evaluate_every: evaluate every so many steps; None for a geometric sequence.
        evaluations_per_decade: of that sequence: evaluations while the steps grow tenfold.
        evaluate_at: further steps at which to evaluate.
        collapse_db: the run has failed when its PSNR stays so far below its best for three evaluations in a row;
            None to let it go on.
        freeze_at_psnr: a region whose PSNR has reached so many dB at an evaluation is finished: its network keeps its
            weights and costs nothing from then on (Saragadam et al., "MINER", 2022, do so with their blocks). The
            run is over when all are. None to train every region to the end.
        begin_at_mean: a network's values begin around the mean of its region (its bias of the output layer does), and
            not around 0, so that no step is spent on getting there. The papers of the backbones draw that bias by lot.
    """

    loss: Literal["image", "region"] = "image"
    border_weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    border_width: Annotated[int, Field(ge=1)] = 2
    points_per_step: Annotated[int, Field(ge=1)] | None = None
    sampling: Literal["uniform", "error"] = "uniform"
    evaluate_every: Annotated[int, Field(ge=1)] | None = None
    evaluations_per_decade: Annotated[int, Field(ge=1, le=100)] = 20
    evaluate_at: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
    collapse_db: Annotated[float, Field(gt=0)] | None = 10.0
    freeze_at_psnr: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    begin_at_mean: bool = False

    def __post_init__(self) -> None:
        """Check which options go together.

        Raises:
            PartinrError: there is something to say of how points are drawn, but none are.
        """
        if self.sampling != "uniform" and self.points_per_step is None:
            raise PartinrError(
                f"regime.sampling={self.sampling} is about the points that are drawn for a step, and all are taken; "
                "give regime.points_per_step, or leave regime.sampling=uniform"
            )


class FitModule(StackLearning):
    """The ordinary regime as a LightningModule.

    Every call of :meth:`training_step` takes a chunk of optimiser steps, with all signals already on the device,
    and evaluates where the schedule of evaluations says so. Callbacks read :attr:`curve`, :attr:`clock`,
    :attr:`stop_reason` and :attr:`failure` after a batch; nothing is logged step by step.

    Several images are an album: each is evaluated by itself, and loss, PSNR and SSIM of the curve, with them
    ``target_psnr``, the best weights and a collapse, are means over the images.

    Args:
        model: what is fitted; trained in place.
        signal: float32 ``[*grid, C]`` in [0, 1]; for an album one an image, in the order of its names.
        optimizer: which optimiser.
        schedule: how the learning rate moves.
        stop: when it is over.
        settings: loss, points a step, evaluations.
        seed: of the order in which ``points_per_step`` are drawn.
        start: the initialisation that the model began with (:meth:`LearnedStart.begin
            <partinr.regimes.meta.LearnedStart.begin>`), if it is one that was learned.
        start_steps: the first so many steps are inner steps with the rates that were learned with it; the optimiser
            has the others.

    Raises:
        PartinrError: signal and model do not fit together, or the settings contradict each other.
    """

    learns = "signals"

    def __init__(
        self,
        model: PiecewiseINR | Album,
        signal: Tensor | Sequence[Tensor],
        *,
        optimizer: Optimizer,
        schedule: Schedule,
        stop: StopRule,
        settings: FitSettings,
        seed: int = 0,
        start: LearnedStart | None = None,
        start_steps: int = 0,
    ) -> None:
        super().__init__(stop=stop, looking=settings, seed=seed)
        self.model = model
        # Not a module of this one: it is not trained, and is in no checkpoint.
        self._start = (start,)
        self.start_steps = start_steps
        self.optimizer = optimizer
        self.schedule = schedule
        self.settings = settings

        schedule.check(stop)
        # Refuses options that only the optimiser itself can judge, while nothing has been written yet.
        optimizer.build_stack(model, dict(model.stack))
        if isinstance(model, Album):
            self._names: tuple[str | None, ...] = model.names
            self._partitions = model.partitions
            signals = [_checked(each, f"signal {number}: ") for number, each in enumerate(signal, 1)]
            batch = model.batch(signals)
        else:
            self._names, self._partitions = (None,), (model.partition,)
            signals = [_checked(signal, "")]
            batch = model.batch(signals[0])
        self._shapes = [tuple(each.shape) for each in signals]
        self._lengths = [each.shape[:-1].numel() for each in signals]
        self._batch = batch
        self.samples = batch.samples
        if model.blended and settings.freeze_at_psnr is not None:
            raise PartinrError(
                "regime.freeze_at_psnr takes regions out of the training one by one, but with overlap or "
                "global_network they are trained together; leave one of the two out"
            )
        if model.blended and settings.sampling != "uniform":
            raise PartinrError(
                f"regime.sampling={settings.sampling} goes by the error of each network, but with overlap or "
                "global_network they are trained together; leave regime.sampling=uniform"
            )
        if model.blended and start is not None:
            raise PartinrError(
                "the steps of an initialisation are those of networks that have a region each to themselves; "
                "leave start out, or give overlap=0 and global_network=False"
            )
        if settings.points_per_step is not None and settings.points_per_step > self.samples:
            raise PartinrError(
                f"regime.points_per_step={settings.points_per_step} is more than the {self.samples} samples there are; "
                "give fewer, or null for all of them"
            )
        if start_steps and (start is None or settings.points_per_step is not None):
            why = "there is no init" if start is None else "they are taken on all points, not on regime.points_per_step"
            raise PartinrError(
                f"init_steps={start_steps} are steps with the learning rates of an initialisation, but {why}; "
                "leave one of the two out"
            )
        if settings.begin_at_mean and start is not None:
            raise PartinrError(
                "regime.begin_at_mean=true would change the initialisation that was learned (init); "
                "leave one of the two out"
            )
        if settings.begin_at_mean and self._regions < model.networks:
            raise PartinrError(
                "regime.begin_at_mean=true with global_network=true would begin at twice the mean of each region; "
                "leave one of the two out"
            )
        if settings.begin_at_mean and model.backbone.output_bias() is None:
            raise PartinrError(
                f"the output of {model.backbone.title} has no bias that could begin at the mean of a region; "
                "leave regime.begin_at_mean out, or let its class say which parameter it is (output_bias)"
            )
        # Signal by signal, each row-major.
        flat = torch.cat([each.reshape(-1, model.channels) for each in signals])
        self.register_buffer("_signals", flat, persistent=False)
        self.register_buffer("_coords", batch.coords, persistent=False)
        self.register_buffer("_targets", batch.targets, persistent=False)
        self.register_buffer("_weights", self._loss_weights(), persistent=False)

        self._order: tuple[int, Tensor] | None = None
        self._sampler: ErrorSampler | None = None
        if settings.sampling == "error":
            self._sampler = ErrorSampler(batch.network.cpu(), len(batch.sizes), seed)
        self._blended: tuple[Shard, list[Samples]] | None = None
        self.cuda_graphs = False
        self._graphed: GraphedSteps | None = None

        self._owned = torch.ones(len(batch.sizes), dtype=torch.bool)
        self.frozen = torch.zeros(len(batch.sizes), dtype=torch.bool)
        self._seam = dict.fromkeys(SEAM, float("nan"))
        self._evaluated: list[tuple[Tensor, Tensor]] = []
        self._seconds_at_full_work: tuple[float, int] | None = None
        self.share = self._take_shard()

    def check_devices(self, devices: int) -> None:
        """See that each of so many processes has a network to train.

        Raises:
            PartinrError: there are more of them than networks.
        """
        if devices > 1 and self.model.blended:
            raise PartinrError(
                f"trainer.devices={devices} trains regions apart, but with overlap or global_network they are trained "
                "together; give trainer.devices=1, or overlap=0 and global_network=false"
            )
        regions = self.model.networks
        if devices > regions:
            only = "is only 1 region" if regions == 1 else f"are only {regions} regions"
            raise PartinrError(
                f"trainer.devices={devices}, but there {only}, and each device trains some of them; "
                f"give trainer.devices={regions}, or more regions (partition.regions)"
            )

    # -- what Lightning calls -----------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Deal the networks out to the processes, evenly by their work; the weights of a checkpoint come after this."""
        keep_freed_memory()
        if self.settings.begin_at_mean:
            self.model.begin_at_mean(self._tensor("_targets"), self._batch.sizes)
        self._ranks = Ranks(self.trainer.world_size, self.trainer.global_rank, self.trainer.strategy.root_device)
        dealt = deal(self._work().tolist(), self._ranks.size)
        self._owned = torch.zeros_like(self._owned)
        self._owned[dealt[self._ranks.rank]] = True

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser and its schedule; a graph of other ones is worth nothing."""
        self._graphed = None
        return super().configure_optimizers()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Take a chunk of optimiser steps; evaluate if one is due; stop if it is over."""
        if not self.curve:
            self._evaluate()
        if self.stop_reason is None and self.failure is None:
            due = self._due()
            due = due if self.stop.max_steps is None else min(due, self.stop.max_steps)
            self._take_steps(min(due - self.step, self._chunk()))
            self._check_finite()
            over_time = self.stop.max_seconds is not None and self.clock.training >= self.stop.max_seconds
            if self.step == due or over_time or self.failure is not None:
                self._evaluate()
                self._adjust_plateau()
                self._freeze()
            if self.stop_reason is None and self.failure is None:
                self._over()
        if self.stop_reason is not None or self.failure is not None:
            self.trainer.should_stop = True

    def on_train_end(self) -> None:
        """A run that failed leaves the best weights that it had."""
        self._graphed = None
        self._gather()
        if self.failure is not None and self._best_parameters is not None:
            self.model.stack.load_state_dict(self._best_parameters)
            # Or the next look at the model would bring back what has just been replaced.
            self.share = self._take_shard()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of, in plain types; and let what it holds of a share stand for the whole."""
        self._gather()
        checkpoint["state_dict"] = self.state_dict()
        checkpoint["optimizer_states"] = [self._whole_state(state) for state in checkpoint["optimizer_states"]]
        checkpoint["partinr"] = {
            **self._progress(),
            "fingerprint": self.fingerprint(),
            "frozen": self.frozen,
            "seam": self.seam,
            "seconds_at_full_work": self._seconds_at_full_work,
            "sampled_errors": None if self._sampler is None else self._sampler.errors,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from where the checkpoint was saved."""
        # Lightning loads the weights before it does this; with 64-true they would lose half of their digits on the way.
        self.trainer.precision_plugin.convert_module(self)
        state = checkpoint["partinr"]
        # Checkpoints of before there were frozen regions, several images or seams do not say.
        macs = state["step"] * self.points_per_step * self.model.macs_per_sample
        self.frozen = state.get("frozen", torch.zeros_like(self.frozen))
        self._seam, self._evaluated = state.get("seam", self._seam), []
        self._seconds_at_full_work = state.get("seconds_at_full_work")
        if self._sampler is not None:
            self._sampler.refresh(state["sampled_errors"])
        self._loaded = checkpoint
        self._go_on_from({"macs": macs, "image_curve": [], **state})
        if self.stop_reason is None and bool(self.frozen.all()):
            self.stop_reason = "all_frozen"

    def results(self) -> dict[str, Any]:
        """What the process that started this one has to know of the training."""
        weights = {name: value.detach().cpu() for name, value in self.model.stack.items()}
        return {
            "weights": weights,
            **self._told(),
            "seam": self.seam,
            **{name: getattr(self, name) for name in _RESULTS},
        }

    def recover(self, results: dict[str, Any]) -> None:
        """Be as a module of another process was at its end."""
        # assign: in the precision that it was trained in.
        self.model.stack.load_state_dict(results["weights"], assign=True)
        self._hear(results)
        self._seam, self._evaluated = results["seam"], []
        for name in _RESULTS:
            setattr(self, name, results[name])

    # -- what callbacks ask -------------------------------------------------------------------------------------

    @property
    def seam(self) -> dict[str, float]:
        """How well regions fit together along their borders (:func:`partinr.metrics.seam`), at the last evaluation.

        Of an album means over the images that have borders; NaN before the first evaluation, or where there is no
        border. Taken when it is asked for: only that of the last evaluation is of interest.
        """
        if self._evaluated:
            pairs = zip(self._evaluated, self._partitions, strict=True)
            self._seam = _mean_seam([seam(*pair, partition) for pair, partition in pairs])
            self._evaluated = []
        return self._seam

    @property
    def points_per_step(self) -> int:
        """Samples that a step sees."""
        return self.settings.points_per_step or self.samples

    @property
    def _regions(self) -> int:
        return sum(partition.regions for partition in self._partitions)

    @property
    def title(self) -> str:
        """What is fitted, in a few words."""
        count = self._regions
        regions = "1 region" if count == 1 else f"{count:,} regions"
        return f"{_count_images(len(self._names))}, {regions}" if isinstance(self.model, Album) else regions

    @property
    def views(self) -> list[View]:
        """The signals, each with its partition."""
        signals = self._by_image(self._tensor("_signals"))
        return [View(*each) for each in zip(self._names, signals, self._partitions, strict=True)]

    @torch.no_grad()
    def reconstructions(self) -> list[Tensor]:
        """The signals as the networks have them now: ``[*grid, C]`` each, not clamped, on the device."""
        self._gather()
        return self._by_image(self._batch.unsort(self._values()))

    def weights(self) -> Iterator[tuple[str | None, bytes]]:
        """The model of each signal as the content of a file, with the name of the image in an album, else None."""
        if isinstance(self.model, Album):
            for number, name in enumerate(self.model.names):
                yield name, self.model.member(number).to_bytes()
        else:
            yield None, self.model.to_bytes()

    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says of this regime's runs only: plain containers."""
        return {
            "regions": self._regions,
            "parameters": self.model.parameter_count,
            "macs_per_pixel": self.model.macs_per_sample,
            "frozen_regions": int(self.frozen.sum()),
            "metrics": {"seam": self.seam},
            "seconds": {"partition": self._partition_seconds(), "saved": self.seconds_saved},
            **self._settled_facts,
            **({"images": self._image_facts(self.model)} if isinstance(self.model, Album) else {}),
        }

    @cached_property
    def _settled_facts(self) -> dict[str, Any]:
        """Those that take a while and do not change: signals and label maps are read through."""
        sizes = torch.cat([partition.sizes for partition in self._partitions])
        signal: dict[str, Any] = {"shape": list(self._shapes[0]) if len(set(self._shapes)) == 1 else None}
        if isinstance(self.model, Album):
            signal["images"] = len(self._names)
        return {
            "partition": {
                # What has to be kept beside the weights: nothing of a grid, which follows from its options.
                "bits": sum(partition.bits for partition in self._partitions),
                "smallest": int(sizes.min()),
                "largest": int(sizes.max()),
                "notice": self._notice(),
            },
            "signal": {**signal, "sha256": self._signal_sha256()},
        }

    def _notice(self) -> str | None:
        """What is to be said of the partitions, in one line."""
        noticed = [
            (name, partition.notice)
            for name, partition in zip(self._names, self._partitions, strict=True)
            if partition.notice is not None
        ]
        if not noticed:
            return None
        name, notice = noticed[0]
        if name is None:
            return notice
        others = len(noticed) - 1
        return f"{name}: {notice}" + (f" (and {others} more like it)" if others else "")

    def _partition_seconds(self) -> float | None:
        """What the rule took over all images; None if no rule made a partition."""
        known = [partition.seconds for partition in self._partitions if partition.seconds is not None]
        return sum(known) if known else None

    def _image_facts(self, album: Album) -> dict[str, dict[str, Any]]:
        """Of each image of an album, by its name."""
        latest = {row["image"]: row for row in self.image_curve[-len(album.names) :]}
        return {
            name: {
                "shape": list(shape),
                "regions": partition.regions,
                "parameters": parameters,
                "psnr": latest[name]["psnr"] if latest else None,
                "ssim": latest[name]["ssim"] if latest else None,
            }
            for name, shape, partition, parameters in zip(
                album.names, self._shapes, album.partitions, album.parameter_counts, strict=True
            )
        }

    def _by_image(self, values: Tensor) -> list[Tensor]:
        """What is there of each sample, ``[M, C]`` signal by signal, as one grid a signal."""
        parts = values.split(self._lengths)
        return [part.reshape(shape) for part, shape in zip(parts, self._shapes, strict=True)]

    def _signal_sha256(self) -> str:
        # In single precision, which the signals came in: with trainer.precision=64-true they are held in double.
        return hashlib.sha256(self._tensor("_signals").float().cpu().contiguous().numpy().tobytes()).hexdigest()

    def _values(self) -> Tensor:
        """The values of all samples, ``[M, C]``; each process evaluates its own networks."""
        # Without autocast: what is measured is what the saved weights give to whoever loads them.
        with torch.autocast(self.device.type, enabled=False):
            if self._ranks.size == 1:
                return self.model.evaluate(self._tensor("_coords"), self._batch.sizes)
            sizes = [size if mine else 0 for size, mine in zip(self._batch.sizes, self._owned.tolist(), strict=True)]
            own = self._owned[self._batch.network.cpu()].to(self.device)
            values = self._tensor("_targets").new_zeros(self._tensor("_targets").shape)
            values[own] = self.model.evaluate(self._tensor("_coords")[own], sizes)
            return self._ranks.whole(values)

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for a checkpoint of one run to be continued by another."""
        return {
            **self.model.architecture(),
            "signal_sha256": self._signal_sha256(),
            # Their options too: those of a continued run come out of the checkpoint, so others would go unheard.
            "optimizer": dataclasses.asdict(self.optimizer),
            "schedule": {"name": type(self.schedule).__qualname__, **dataclasses.asdict(self.schedule)},
            "loss": self.settings.loss,
            "points_per_step": self.settings.points_per_step,
            **({"sampling": self.settings.sampling} if self._sampler is not None else {}),
            "freeze_at_psnr": self.settings.freeze_at_psnr,
            "seed": self.seed,
            # It says no more after the first step, but two runs that differ in it are not one.
            **({"begin_at_mean": True} if self.settings.begin_at_mean else {}),
            **({"init_steps": self.start_steps} if self.start_steps else {}),
            **({name: getattr(self.settings, name) for name in _BORDER} if self.settings.border_weight != 1 else {}),
        }

    @property
    def seconds_saved(self) -> float | None:
        """Of training, by the regions that are frozen: against the pace before the first of them was; None if none is.

        The pace is measured, that the rest of the run would have kept it is not.
        """
        if self._seconds_at_full_work is None:
            return None
        seconds, steps = self._seconds_at_full_work
        return max(0.0, seconds / steps * self.step - self.clock.training) if steps else None

    # -- learning -----------------------------------------------------------------------------------------------

    def _take_steps(self, steps: int) -> None:
        scheduler = self.lr_schedulers()
        assert not isinstance(scheduler, list) and scheduler is not None
        plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        wrapped = str(self.trainer.precision) == "16-mixed" or _hooked(self.trainer)
        take = self._wrapped_step if wrapped else self._graphed_step if self._graphs() else self._plain_step
        loss, first = None, self.step
        macs = self._macs_a_step()
        with self.clock.run("training", self.device):
            for step in range(first, first + steps):
                if self.share.sizes:  # a process all of whose regions are frozen only keeps step
                    loss = take(step) if step >= self.start_steps else self._inner_step(step)
                if not plateau:
                    scheduler.step()
            # The one wait for the device in a chunk; the steps themselves never ask for a value.
            own_loss = 0.0 if loss is None else float(loss.detach())
        # Once a chunk: setting an attribute of a module takes as long as a small product.
        self.step += steps
        self.macs += steps * macs
        if not wrapped:
            # What Lightning's wrappers would have counted: trainer.global_step.
            progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
            progress.ready += steps
            progress.completed += steps
        # The chunks of all processes end here together, so that they agree on what comes next.
        (total,) = self._ranks.total(own_loss)
        self._last_loss = total / len(self._names)
        (self.clock.training,) = self._ranks.most(self.clock.training)

    def _plain_step(self, step: int) -> Tensor:
        """One optimiser step without Lightning's wrappers, which take longer than a thin stack's own work."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        optimizer.zero_grad()
        loss = self._loss(step)
        loss.backward()
        optimizer.step()
        return loss

    def _inner_step(self, step: int) -> Tensor:
        """One step down the gradient with the rates that were learned with the initialisation."""
        (start,) = self._start
        assert start is not None
        share = self.share
        error = self.model.squared_error(
            share.coords, share.targets, share.sizes, self._inner_weights(start), share.params
        )
        names = start.adapted
        gradients = torch.autograd.grad(error, [share.params[name] for name in names])
        # Images one after the other, in each the regions in their order, which are the cells.
        cell = None if start.cells == 1 else (share.networks % start.cells).to(self.device)
        with torch.no_grad():
            loss = self._loss(step)
            for name, gradient in zip(names, gradients, strict=True):
                rate = start.rates.at(step, name, cell)
                by = gradient * (rate.to(gradient) if isinstance(rate, Tensor) else rate)
                share.params[name].sub_(by)
        # Without gradients it does nothing; but a schedule wants to have seen it before it goes on.
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        optimizer.zero_grad()
        optimizer.step()
        return loss

    def _inner_weights(self, start: LearnedStart) -> Tensor:
        """What each sample of the share counts in the objective of an inner step, ``[m, 1]``."""
        share = self.share
        sizes = torch.tensor(self._batch.sizes, dtype=torch.float64)
        if start.inner_loss == "image":
            regions = torch.tensor([partition.regions for partition in self._partitions])
            sizes = torch.tensor(self._lengths, dtype=torch.float64).repeat_interleave(regions)
        by_network = 1 / (sizes[share.networks] * self.model.channels)
        return by_network.repeat_interleave(torch.tensor(share.sizes)).to(share.targets).unsqueeze(1)

    def _graphs(self) -> bool:
        """Whether steps are recorded and replayed, instead of being taken one by one."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        precision, points = str(self.trainer.precision), self.settings.points_per_step
        return self.cuda_graphs and can_be_graphed(self.device, precision, optimizer, points)

    def _graphed_step(self, step: int) -> Tensor:
        """One optimiser step as a CUDA graph."""
        if self._graphed is None:
            optimizer = self.optimizers(use_pl_optimizer=False)
            assert isinstance(optimizer, torch.optim.Optimizer)
            # Of the full batch: which step it is makes no difference.
            self._graphed = GraphedSteps(lambda: self._loss(step), optimizer)
        return self._graphed.take(self.share)

    def _wrapped_step(self, step: int) -> Tensor:
        """One through Lightning, which scales the loss for half precision, and calls what hooks into a step."""
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        optimizer.zero_grad()
        loss = self._loss(step)
        self.manual_backward(loss)
        optimizer.step()
        return loss

    def _loss(self, step: int) -> Tensor:
        if self._batch.blend is not None:
            return self._blended_loss(step)
        share = self.share
        coords, targets, weights, sizes = share.coords, share.targets, share.weights, share.sizes
        points = self.settings.points_per_step
        if points is not None:
            drawn = self._draw(points, step)
            at, sizes = share.among(drawn, self._batch.count(drawn))
            importance = None if self._sampler is None else self._sampler.weights(share.positions(at)).to(targets)
            at = at.to(self.device)
            coords, targets = coords[at], targets[at]
            weights = None if weights is None else weights[at]
            if importance is not None:
                weights = importance if weights is None else weights * importance
        error = self.model.squared_error(coords, targets, sizes, weights, share.params)
        # Over all samples of a step, also those of other shares: what a network learns does not depend on the others.
        # Of several images the weights make this the sum of their losses.
        return error / (self.points_per_step * self.model.channels)

    def _blended_loss(self, step: int) -> Tensor:
        """:meth:`_loss` where several networks have a part in a sample: of what they give together."""
        share, points = self.share, self.settings.points_per_step
        if points is not None or self._blended is None or self._blended[0] is not share:
            drawn = None if points is None else self._draw(points, step)
            samples = Samples.take(self._batch, share.coords, self._tensor("_signals"), share.weights, drawn)
            self._blended = share, samples
        error = torch.stack([each.squared_error(self.model, share.params) for each in self._blended[1]]).sum()
        return error / (self.points_per_step * self.model.channels)

    def _loss_weights(self) -> Tensor | None:
        """The weight of each sample in the loss, ``[M, 1]``, in the order of the batch; None where all are 1.

        Of blended networks, in the order of the signals.
        """
        bordered = self.settings.border_weight != 1
        if self.settings.loss == "image" and len(self._lengths) == 1 and not bordered:
            return None
        weights = []
        for partition in self._partitions:
            labels = partition.labels.reshape(-1)
            # Of an image all samples are alike; of regions each has the same share of the image.
            group = labels if self.settings.loss == "region" else torch.zeros_like(labels)
            sizes = torch.bincount(group)
            weight = (self.samples / (len(sizes) * sizes.double()))[group]
            if bordered:
                factor = torch.ones_like(weight)
                factor[partition.near_border(self.settings.border_width).reshape(-1)] = self.settings.border_weight
                weight *= factor * (sizes / torch.bincount(group, weights=factor))[group]
            weights.append(weight)
        by_sample = torch.cat(weights).float().unsqueeze(-1)
        return by_sample[self._batch.order] if self._batch.blend is None else by_sample

    def _macs_a_step(self) -> int:
        """Multiply-accumulates of the forward pass of one step, over all processes."""
        if self._sampler is not None:
            macs = self._sampler.shares * torch.tensor(self.model.macs_of_networks, dtype=torch.float64)
            return round(self.points_per_step * float(macs[~self.frozen].sum()))
        whole = self.points_per_step * self.model.macs_per_sample
        if not self.frozen.any():
            return whole
        work = self._work()
        return round(whole * float(work[~self.frozen].sum() / work.sum()))

    def _draw(self, points: int, step: int) -> Tensor:
        """The samples of a step, ascending: int64 ``[points]``.

        They follow from seed and step alone (each epoch is one shuffle of all samples, cut into pieces; the few left
        over are others every time), so a resumed run draws what an unbroken one would have drawn. Where errors count,
        they follow from the last evaluation as well.
        """
        if self._sampler is not None:
            return self._sampler.draw(points, step)
        pieces = self.samples // points
        epoch, piece = divmod(step, pieces)
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
            self._order = epoch, torch.randperm(self.samples, generator=generator)
        return self._order[1][piece * points : (piece + 1) * points].sort().values

    def _chunk(self) -> int:
        """How many steps to take until Lightning's loop is next given a turn; numerics do not depend on it."""
        if self.clock.training == 0 or self.step == 0:
            return 1
        seconds_per_step = self.clock.training / self.step
        seconds = CHUNK_SECONDS
        if self.stop.max_seconds is not None:
            seconds = min(seconds, max(0.0, self.stop.max_seconds - self.clock.training))
        return max(1, int(seconds / seconds_per_step))

    # -- whose networks -----------------------------------------------------------------------------------------

    def _work(self) -> Tensor:
        """Multiply-accumulates of each network over all of its samples: float64 ``[N]``."""
        sizes = torch.tensor(self._batch.sizes, dtype=torch.float64)
        return sizes * torch.tensor(self.model.macs_of_networks, dtype=torch.float64)

    def _take_shard(self) -> Shard:
        weights = None if self._weights is None else self._tensor("_weights")
        networks = torch.nonzero(self._owned & ~self.frozen).squeeze(1)
        return Shard.take(self.model, self._batch, self._tensor("_coords"), self._tensor("_targets"), weights, networks)

    @torch.no_grad()
    def _gather(self) -> None:
        """Bring the model up to date, in every process."""
        self.share.give_back(self.model)
        if self._ranks.size > 1:
            rows = self.model.rows(torch.nonzero(self._owned).squeeze(1))
            for name, value in self.model.stack.items():
                own, part = rows[name].to(value.device), torch.zeros_like(value)
                part[own] = value.data[own]
                value.data.copy_(self._ranks.whole(part))

    def _whole_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """An optimiser's state for the whole stack, from those of all processes."""
        return self._ranks.merged(widen_state(state, self.share, self.model))

    def _freeze(self) -> None:
        """Drop the regions that have reached ``freeze_at_psnr`` at the evaluation that was just made."""
        limit = self.settings.freeze_at_psnr
        if limit is None or self.failure is not None:
            return
        reached = (self._errors <= 10 ** (-limit / 10)) & ~self.frozen
        if not reached.any():
            return
        if self._seconds_at_full_work is None:
            self._seconds_at_full_work = self.clock.training, self.step
        before = self.share
        self.frozen |= reached
        self.share = self._take_shard()
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        hand_over(optimizer, before, self.share)
        if self.frozen.all() and self.stop_reason is None:
            self.stop_reason = "all_frozen"

    # -- looking ------------------------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        """Add a row to the curve, keep the best weights, and see whether the run is over."""
        with self.clock.run("evaluation", self.device):
            self._gather()
            values = self._values()
            reconstructions, signals = (
                self._by_image(each) for each in (self._batch.unsort(values), self._tensor("_signals"))
            )
            if self.settings.freeze_at_psnr is not None:
                self._errors = self._error_by_network(values)
            if self._sampler is not None:
                self._sampler.refresh(self._error_by_sample(values))
            row = {
                "step": self.step,
                "seconds": self.clock.training,
                "macs": self.macs,
                "loss": self._last_loss if self.step else self._first_loss(reconstructions, signals),
                "lr": self.lr,
            }
            # One opinion for all processes: what follows from it they must do together.
            pairs = list(zip(reconstructions, signals, strict=True))
            numbers = self._ranks.first(*(metric(*pair) for metric in (psnr, ssim) for pair in pairs))
            psnrs, ssims = numbers[: len(pairs)], numbers[len(pairs) :]
            row["psnr"], row["ssim"] = mean_psnr(psnrs), sum(ssims) / len(pairs)
            self._evaluated = pairs
            self.image_curve += [
                {"step": self.step, "seconds": self.clock.training, "image": name, "psnr": own_psnr, "ssim": own_ssim}
                for name, own_psnr, own_ssim in zip(self._names, psnrs, ssims, strict=True)
                if name is not None
            ]
            self._keep(row)
        self._check_target()

    @staticmethod
    def _first_loss(reconstructions: Sequence[Tensor], signals: Sequence[Tensor]) -> float:
        """The mean squared error of the untrained networks, mean over the signals."""
        errors = zip(reconstructions, signals, strict=True)
        return sum(float((values.float() - signal).square().mean()) for values, signal in errors) / len(signals)

    def _error_by_network(self, values: Tensor) -> Tensor:
        """Mean squared error of each network on its own samples, values clamped: float64 ``[N]``, on the CPU."""
        error = (values.float().clamp(0, 1) - self._tensor("_targets").float()).square().mean(1).double().cpu()
        sizes = torch.tensor(self._batch.sizes, dtype=torch.float64)
        return torch.zeros_like(sizes).index_add_(0, self._batch.network.cpu(), error) / sizes

    def _error_by_sample(self, values: Tensor) -> Tensor:
        """How far off each sample is, over its channels, times what it counts in the loss: ``[M]``."""
        error = (values - self._tensor("_targets")).square().mean(1).sqrt()
        return error if self._weights is None else error * self._tensor("_weights").squeeze(1)

    def _snapshot(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.model.stack.items()}

    def _cure(self, collapsed: bool) -> str:
        lower = f"lower optimizer.lr (now {self.lr:g})"
        if collapsed:
            return f"{lower}, choose schedule=cosine, or let it go on with regime.collapse_db=null"
        return f"{lower} or choose schedule=warmup"

    def _tensor(self, name: str) -> Tensor:
        """A buffer, which for a type checker might also be a module."""
        value = getattr(self, name)
        assert isinstance(value, Tensor)
        return value


def _checked(signal: object, which: str) -> Tensor:
    """A signal in single precision.

    Raises:
        PartinrError: it is none.
    """
    if not isinstance(signal, Tensor) or not signal.is_floating_point() or not _within_range(signal):
        raise PartinrError(
            f"{which}the signal must be a tensor of floating-point numbers in [0, 1], such as partinr.load_image gives"
        )
    return signal.float()


def _mean_seam(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of each number the mean over the signals that have it; of the share of the band over all of them."""
    means = {}
    for name in SEAM:
        known = [each[name] for each in found if not math.isnan(each[name])]
        if len(found) > 1 and name.startswith("psnr"):
            known = [min(value, EXACT_DB) for value in known]
        means[name] = sum(known) / len(known) if known else float("nan")
    return means


def _count_images(count: int) -> str:
    return "1 image" if count == 1 else f"{count:,} images"


def _within_range(signal: Tensor) -> bool:
    """Whether all values are in [0, 1]; NaN is not."""
    return bool(((signal >= 0) & (signal <= 1)).all())


def _hooked(trainer: L.Trainer) -> bool:
    """Whether a callback wants to be called within every step."""
    hooks = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
    callbacks: Sequence[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return any(getattr(type(each), hook) is not getattr(L.Callback, hook) for each in callbacks for hook in hooks)


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
        target_psnr: stop when an evaluation reaches it, in dB; of an album the mean over images.
        optimizer: name of an optimiser, or one with options.
        schedule: of the learning rate; constant by default.
        settings: loss, points a step, evaluations.
        seed: of the drawing of points; the model has a seed of its own.
        start: the learned initialisation that the model began with, see :meth:`LearnedStart.begin
            <partinr.regimes.meta.LearnedStart.begin>`.
        start_steps: the first so many steps are inner steps with the learning rates of ``start``.
        trainer: a Lightning Trainer; by default one on the best device there is.
        ckpt_path: go on from this checkpoint.

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
