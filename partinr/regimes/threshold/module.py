"""How many steps does it take to a fixed error? Many step functions at once, or many images, as one stack.

Every trial is a signal and a model of it, which has one network, or one for each of its parts. All of them are
an album, so a study of hundreds of trials is one run. A trial whose error has reached the threshold is over: its
networks leave the work, and the others go on without noticing. What a trial sees and where it begins follows from its
own numbers alone, so it takes the steps that it would take if it were the only one.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.coords import region_frames
from partinr.model.album import Album
from partinr.partition import Partition
from partinr.regimes.fit.module import CHUNK_SECONDS, View
from partinr.signals import EdgedImage, StepSignal
from partinr.signals.edges import DETECTOR
from partinr.training.clock import StopRule, keep_freed_memory
from partinr.training.optimizer import Optimizer
from partinr.training.schedule import Plateau, Schedule
from partinr.training.shards import Shard, hand_over, widen_state
from partinr.training.stacked import StackLearning

_INIT, _POINTS = 1, 2
"""What a trial draws beside its signal, as the last of the numbers that a draw follows from."""


@spec
class ThresholdSettings:
    """When a trial is over, and what it learns from.

    Attributes:
        threshold: mean squared error on the grid of the signal; below it a trial is over. Step functions have values
            from -1 to 1. Those of images are from 0 to 1, and what is fitted to them is clamped to that, so that
            0.01 is 20 dB, 0.001 is 30 dB.
        points_per_step: points drawn for each step and trial, evenly and anew every time, anywhere in the step
            function; None for the samples of its grid, all of them in every step, which images need.
        resolution: a trial is looked at after every so large a part of its steps: with 0.01 after each of the first
            199 steps, and then so often that its number of steps is at most 1 % too high. 0 for after every step.
        networks: trials for each signal, each with an initialisation and points of its own.
    """

    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05
    points_per_step: Annotated[int, Field(ge=1)] | None = 5000
    resolution: Annotated[float, Field(ge=0, le=1)] = 0.01
    networks: Annotated[int, Field(ge=1)] = 1


@dataclass(frozen=True, eq=False)
class Trial:
    """A signal to be fitted once.

    Attributes:
        signal_name: no two signals of a run have the same.
        signal: what is fitted; in a run all are step functions, or all are images.
        draw: number of a step function among those with as many borders.
        network: number of the trial among those of its signal.
        seed: what is drawn for the trial follows from this and ``network``: for another signal or run it is another.
    """

    signal_name: str
    signal: StepSignal | EdgedImage
    draw: int
    network: int
    seed: tuple[int, ...]

    @property
    def name(self) -> str:
        """No two of a run have the same."""
        return f"{self.signal_name}-{self.network}"

    @property
    def init_seed(self) -> int:
        """Of its networks' initialisation."""
        return int(self._words(_INIT)[0] >> 1)  # below 2^63

    @property
    def key(self) -> NDArray[np.uint64]:
        """Of its points: ``[2]``."""
        return self._words(_POINTS)

    def _words(self, purpose: int) -> NDArray[np.uint64]:
        words = np.random.SeedSequence([*self.seed, self.network, purpose]).generate_state(2, np.uint64)
        return np.asarray(words, dtype=np.uint64)


class Points:
    """Draws the points of each step: they follow from the trial and the step alone.

    Args:
        trials: all of them.
        partition: how each of them is cut, into rectangles: along every axis into equal parts, or not at all.
        count: points a trial.

    Raises:
        PartinrError: a region is no rectangle, or gets no point, or the trials are of images.
    """

    def __init__(self, trials: Sequence[Trial], partition: Partition, count: int) -> None:
        signals = [trial.signal for trial in trials if isinstance(trial.signal, StepSignal)]
        if len(signals) < len(trials):
            raise PartinrError(
                f"regime.points_per_step={count} are drawn anywhere in a step function, and images have no values "
                "between their pixels; give regime.points_per_step=null"
            )
        axes = partition.labels.ndim
        centre, half = region_frames(partition.labels, partition.regions)
        share = half.prod(1)  # of the whole, where all are rectangles
        if abs(float(share.sum()) - 1) > 1e-9:
            raise PartinrError("points are drawn in rectangles; choose partition=none or partition=grid")
        ends = (share.cumsum(0) * count).round().long()
        self.sizes = torch.diff(ends, prepend=torch.zeros(1, dtype=torch.int64))
        if int(self.sizes.min()) < 1:
            raise PartinrError(
                f"regime.points_per_step={count} are too few for {partition.regions} regions; give more of them, "
                "or fewer regions"
            )
        self.count = count
        self._keys = [trial.key for trial in trials]
        self._centre = centre.float().repeat_interleave(self.sizes, 0)  # [count, d]
        self._half = half.float().repeat_interleave(self.sizes, 0)
        # Of each axis the borders of all trials, with infinity behind them: float32 [trials, most of them].
        self._borders = [
            torch.nn.utils.rnn.pad_sequence(
                [signal.borders[axis] for signal in signals], batch_first=True, padding_value=float("inf")
            )
            for axis in range(axes)
        ]
        self._first = torch.tensor([signal.first for signal in signals])
        self._bits = np.random.Philox(key=0)
        self._generator = np.random.Generator(self._bits)

    def draw(self, trials: Sequence[int], step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The points of some trials at one step.

        Args:
            trials: n of them.
            step: from 0 on.

        Returns:
            in the frame of their region and in that of the whole, float32 ``[n, count, d]`` each and sorted by region;
            and the values there, ``[n, count, 1]``.
        """
        drawn = np.empty((len(trials), *self._centre.shape), dtype=np.float32)
        for row, trial in zip(drawn, trials, strict=True):
            # A generator that counts: any place of any trial's sequence can be gone to at once.
            self._bits.state = {
                "bit_generator": "Philox",
                "state": {"counter": np.array([0, 0, step, 0], dtype=np.uint64), "key": self._keys[trial]},
                "buffer": np.zeros(4, dtype=np.uint64),
                "buffer_pos": 4,
                "has_uint32": 0,
                "uinteger": 0,
            }
            self._generator.random(out=row, dtype=np.float32)
        local = torch.from_numpy(drawn).mul_(2).sub_(1)
        whole = torch.addcmul(self._centre, self._half, local)
        at = torch.as_tensor(trials)
        passed = torch.zeros(whole.shape[:2], dtype=torch.int64)
        for axis, borders in enumerate(self._borders):
            passed += torch.searchsorted(borders[at], whole[..., axis].contiguous(), right=True)
        values = self._first[at, None] * (1 - 2 * (passed & 1))
        return local, whole, values.float().unsqueeze(-1)


class ThresholdModule(StackLearning):
    """The study of steps as a LightningModule.

    It is over when all trials are, or at ``max_steps``, the cap, which the trials that are left have met. The curve has
    means over trials, each as it was when it was last looked at, and the further column ``reached``: how many trials
    are over. PSNR is that of the values clamped to their range, and of step functions moved from [-1, 1] to [0, 1].

    Args:
        model: of every trial, in their order; each cut alike. Trained in place.
        trials: what is fitted.
        optimizer: which optimiser.
        schedule: how the learning rate moves.
        stop: the cap; ``max_seconds`` if anything interrupts the trials.
        settings: threshold, points a step.
        seed: of the run; the trials have seeds of their own.

    Raises:
        PartinrError: the settings contradict each other.
    """

    learns = "steps"

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
    ) -> None:
        super().__init__(stop=stop, looking=None, seed=seed)
        schedule.check(stop)
        optimizer.build_stack(model, dict(model.stack))
        if stop.target_psnr is not None:
            raise PartinrError("target_psnr is for regime=fit; here each trial ends at regime.threshold")
        if isinstance(schedule, Plateau):
            raise PartinrError("schedule=plateau would follow all trials together; choose schedule=constant or cosine")
        self.model = model
        self.trials = tuple(trials)
        self.optimizer = optimizer
        self.schedule = schedule
        self.settings = settings
        partition = model.partitions[0]
        self.parts = partition.regions
        self._shape = partition.shape
        self._images = isinstance(trials[0].signal, EdgedImage)
        self._lowest = trials[0].signal.lowest
        batch = model.batch([trial.signal.on_grid(partition.shape) for trial in trials])
        self._batch = batch
        self.samples = partition.labels.numel()
        self._points = None
        if settings.points_per_step is not None:
            self._points = Points(trials, partition, settings.points_per_step)
        self.register_buffer("_coords", batch.coords, persistent=False)
        self.register_buffer("_targets", batch.targets, persistent=False)
        # Of each trial: the step at which it was seen to be below the threshold, 0 where it has not been.
        self.reached = torch.zeros(len(trials), dtype=torch.int64)
        self.mse = torch.full((len(trials),), float("nan"), dtype=torch.float64)
        self._clamped = self.mse.clone()
        self.share = self._take_shard()

    def check_devices(self, devices: int) -> None:
        """See that there is one process.

        Raises:
            PartinrError: there are several.
        """
        if devices > 1:
            raise PartinrError(
                f"trainer.devices={devices}: regime=threshold works on one device; give trainer.devices=1, and spread "
                "a study over several runs with data.counts or seed"
            )

    # -- what Lightning calls -----------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Keep what steps allocate."""
        keep_freed_memory()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Take some steps, look at the trials if it is time, and drop those that are over."""
        if not self.curve:
            self._look()
        if self.stop_reason is None:
            due = self._due()
            due = due if self.stop.max_steps is None else min(due, self.stop.max_steps)
            self._take_steps(min(due - self.step, self._chunk()))
            over_time = self.stop.max_seconds is not None and self.clock.training >= self.stop.max_seconds
            if self.step == due or over_time:
                self._look()
            if self.stop_reason is None:
                self._over()
        if self.stop_reason is not None:
            self.trainer.should_stop = True

    def on_train_end(self) -> None:
        """Leave the networks as they are now."""
        self._gather()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of, and let what it holds of a share stand for the whole."""
        self._gather()
        checkpoint["state_dict"] = self.state_dict()
        checkpoint["optimizer_states"] = [
            widen_state(state, self.share, self.model) for state in checkpoint["optimizer_states"]
        ]
        checkpoint["partinr"] = {
            **self._progress(),
            "fingerprint": self.fingerprint(),
            "reached": self.reached,
            "mse": self.mse,
            "clamped": self._clamped,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from where the checkpoint was saved."""
        # Lightning loads the weights before it does this; with 64-true they would lose half of their digits on the way.
        self.trainer.precision_plugin.convert_module(self)
        state = checkpoint["partinr"]
        self.reached, self.mse, self._clamped = state["reached"], state["mse"], state["clamped"]
        self._loaded = checkpoint
        self._go_on_from(state)
        if self.stop_reason is None and bool((self.reached > 0).all()):
            self.stop_reason = "all_reached"

    # -- what callbacks ask -------------------------------------------------------------------------------------

    @property
    def points_per_step(self) -> int:
        """Samples that a step of all trials sees."""
        return len(self.trials) * self._points_a_trial

    @property
    def title(self) -> str:
        """What is fitted, in a few words."""
        return f"{len(self.trials):,} trials"

    @property
    def views(self) -> Sequence[View]:
        """None: of hundreds of trials there are no pictures."""
        return ()

    def weights(self) -> Iterator[tuple[str | None, bytes]]:
        """None: what a study keeps is how many steps there were."""
        return iter(())

    def steps_rows(self) -> list[dict[str, Any]]:
        """A row a trial, see :data:`partinr.runs.directory.STEPS_COLUMNS`."""
        # A trial that is not over has been seen above the threshold at the last look.
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
        """What ``run.json`` says of this regime's runs only: plain containers."""
        partition = self.model.partitions[0]
        return {
            "regions": self.parts,
            "parameters": self.model.parameter_counts[0],
            "macs_per_pixel": self.model.macs_per_sample,
            "trials": {
                "count": len(self.trials),
                "reached": int((self.reached > 0).sum()),
                # Whose error is no number any more: they will not reach it.
                "diverged": int((~self.mse.isfinite()).sum()) if self.curve else 0,
            },
            "partition": {
                "smallest": int(partition.sizes.min()),
                "largest": int(partition.sizes.max()),
                "notice": partition.notice,
            },
            "signal": {"shape": [*self._shape, self.model.channels], "sha256": self._signal_sha256()},
            **({"edges": DETECTOR} if self._images else {}),
        }

    def fingerprint(self) -> dict[str, Any]:
        """What must be equal for a checkpoint of one run to be continued by another."""
        first = self.model.architecture()["image"][self.trials[0].name]
        return {
            **first,
            "trials": [trial.name for trial in self.trials],
            "signal_sha256": self._signal_sha256(),
            "optimizer": dataclasses.asdict(self.optimizer),
            "schedule": {"name": type(self.schedule).__qualname__, **dataclasses.asdict(self.schedule)},
            "regime": dataclasses.asdict(self.settings),
        }

    # -- learning -----------------------------------------------------------------------------------------------

    @property
    def _points_a_trial(self) -> int:
        return self.settings.points_per_step or self.samples

    @property
    def _working(self) -> list[int]:
        """Trials that are not over."""
        return torch.nonzero(self.reached == 0).squeeze(1).tolist()

    def _take_shard(self) -> Shard:
        """The networks of the trials that are not over, with the samples that these are looked at on."""
        first = torch.tensor(self._working, dtype=torch.int64) * self.parts
        networks = (first[:, None] + torch.arange(self.parts)).reshape(-1)
        return Shard.take(self.model, self._batch, self._tensor("_coords"), self._tensor("_targets"), None, networks)

    @torch.no_grad()
    def _gather(self) -> None:
        self.share.give_back(self.model)

    def _snapshot(self) -> dict[str, Tensor]:
        return {}

    def _cure(self, collapsed: bool) -> str:
        return ""

    def _due(self) -> int:
        # From the last look on: from the step of the moment on it would move away with every chunk that ends before it.
        seen = int(self.curve[-1]["step"])
        return seen + max(1, int(self.settings.resolution * seen))

    def _chunk(self) -> int:
        """How many steps to take until Lightning's loop is next given a turn; numerics do not depend on it."""
        if self.clock.training == 0 or self.step == 0:
            return 1
        return max(1, int(CHUNK_SECONDS / (self.clock.training / self.step)))

    def _take_steps(self, steps: int) -> None:
        optimizer, scheduler = self.optimizers(use_pl_optimizer=False), self.lr_schedulers()
        assert isinstance(optimizer, torch.optim.Optimizer)
        assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
        loss = torch.zeros(())
        with self.clock.run("training", self.device):
            for step in range(self.step, self.step + steps):
                optimizer.zero_grad()
                loss = self._loss(step)
                loss.backward()
                optimizer.step()
                scheduler.step()
            total = float(loss.detach())
        working = len(self.share.sizes) // self.parts
        self.step += steps
        self.macs += steps * working * self._points_a_trial * self.model.macs_per_sample
        self._last_loss = total / working
        # What Lightning's wrappers would have counted: trainer.global_step.
        progress = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
        progress.ready += steps
        progress.completed += steps

    def _loss(self, step: int) -> Tensor:
        """The sum over the trials of each one's mean squared error: none of them notices the others."""
        share = self.share
        coords, targets, sizes = share.coords, share.targets, share.sizes
        if self._points is not None:
            working = self._working
            local, whole, values = self._points.draw(working, step)
            seen = local if self.model.frame == "local" else whole
            coords = seen.flatten(0, 1).to(share.coords)
            targets = values.flatten(0, 1).to(share.targets)
            sizes = tuple(self._points.sizes.tolist()) * len(working)
        error = self.model.squared_error(coords, targets, sizes, None, share.params)
        return error / (self._points_a_trial * self.model.channels)

    # -- looking ------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Look at the trials that are left, add a row to the curve, and let those go that are over."""
        with self.clock.run("evaluation", self.device):
            working = torch.tensor(self._working)
            values = self._values()
            targets = self.share.targets.view(len(working), -1)
            error = (values - targets).square().mean(1, dtype=torch.float64)
            clamped = (values.clamp(self._lowest, 1) - targets).square().mean(1, dtype=torch.float64)
            self._clamped[working] = clamped.cpu()
            # Of step functions the published protocol has no clamp; the PSNR of images always has one.
            self.mse[working] = self._clamped[working] if self._images else error.cpu()
            below = working[self.mse[working] < self.settings.threshold]
            # At step 0 no step was needed, which a number of steps of 0 could not say.
            self.reached[below] = max(self.step, 1)
            psnr = float((-10 * torch.log10(self._clamped / (1 - self._lowest) ** 2)).mean())
            self.best_psnr = max(self.best_psnr, psnr)
            self.curve.append(
                {
                    "step": self.step,
                    "seconds": self.clock.training,
                    "macs": self.macs,
                    "loss": self._last_loss if self.step else float(error.mean()),
                    "psnr": psnr,
                    "ssim": float("nan"),
                    "lr": self.lr,
                    "reached": int((self.reached > 0).sum()),
                }
            )
        if len(below):
            before, self.share = self.share, self._after(self.share)
            optimizer = self.optimizers(use_pl_optimizer=False)
            assert isinstance(optimizer, torch.optim.Optimizer)
            hand_over(optimizer, before, self.share)
        if not self.share.sizes:
            self.stop_reason = "all_reached"

    def _after(self, before: Shard) -> Shard:
        before.give_back(self.model)
        return self._take_shard()

    @torch.no_grad()
    def _values(self) -> Tensor:
        """The values of the trials that are left on their grids, ``[n, samples · C]``, sorted by region."""
        share = self.share
        with torch.autocast(self.device.type, enabled=False):
            values = self.model.evaluate(share.coords, share.sizes, params=share.params)
        return values.view(-1, self.samples * self.model.channels)

    def _signal_sha256(self) -> str:
        return hashlib.sha256(self._tensor("_targets").float().cpu().contiguous().numpy().tobytes()).hexdigest()

    def _tensor(self, name: str) -> Tensor:
        """A buffer, which for a type checker might also be a module."""
        value = getattr(self, name)
        assert isinstance(value, Tensor)
        return value
