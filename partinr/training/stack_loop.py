"""The loop of regimes that train the networks of a stack. Each process trains a shard."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.model.batch import RegionBatch
from partinr.model.computed import Coords, keep, some
from partinr.model.signal_stack import SignalStack
from partinr.training.best import at_point, renders
from partinr.training.clipping import clip_networks
from partinr.training.loop import StopReason, TrainingLoop
from partinr.training.ranks import Ranks
from partinr.training.samples import Samples
from partinr.training.sharding import ByRegions, Sharding, sharding_of
from partinr.training.shards import Shard, hand_over, narrow_state, widen_state
from partinr.training.steps import PlainSteps


class StackLoop(TrainingLoop):
    """A loop that trains the unfinished networks of this process's shard.

    A regime calls :meth:`hold` once it has model and batch. It implements the loss of a step (:meth:`loss`) and selects
    the networks that are finished after an evaluation (:meth:`newly_finished`). Finished networks keep their weights
    and cost nothing from then on. The run ends when all networks are finished.

    Attributes:
        sharding: how the processes divide the training.
        shard: the networks that this process trains, and their samples.
        finished: bool ``[N]``, networks whose training has ended.
        cuda_graphs: whether steps may be recorded and replayed on CUDA.
    """

    model: SignalStack
    sharding: Sharding
    shard: Shard
    finished: Tensor
    cuda_graphs = False
    _coords: Coords
    all_finished: StopReason = "all_frozen"
    """The stop reason when no network is left."""

    _loaded: dict[str, Any] | None = None
    """A checkpoint that Lightning has read, until the optimiser has its state."""

    _stepping: PlainSteps | None = None

    def hold(self, model: SignalStack, batch: RegionBatch, by_sample: Tensor, weights: Tensor | None) -> None:
        """Set the model, and keep its samples as buffers of the module.

        Args:
            model: trained in place.
            batch: all samples of the signals.
            by_sample: targets ``[M, C]``, as :meth:`RegionBatch.by_sample` orders them.
            weights: ``[M, 1]``, weights of the samples in the loss, likewise; None if all are 1.
        """
        self.model = model
        self.batch = batch
        keep(self, "_coords", batch.points)
        self.register_buffer("_targets", by_sample, persistent=False)
        self.register_buffer("_weights", weights, persistent=False)
        self.sharding = ByRegions(Ranks(), batch.sizes)
        self.finished = torch.zeros(len(batch.sizes), dtype=torch.bool)
        self.shard = self._take_shard()

    # -- for the regime -----------------------------------------------------------------------------------------

    @abstractmethod
    def samples_of(self, step: int) -> list[Samples]:
        """The samples of a step that belong to this process's networks."""

    @property
    @abstractmethod
    def divisor(self) -> float:
        """What the squared error of a step is divided by."""

    @property
    @abstractmethod
    def period(self) -> int | None:
        """The number of steps after which their samples repeat: 1 if all see the same; None if samples are drawn."""

    @abstractmethod
    def macs_a_step(self) -> int:
        """Multiply-accumulates of the forward pass of one step, over all processes."""

    @abstractmethod
    def newly_finished(self) -> Tensor:
        """Networks that are finished since the last evaluation: bool ``[N]``."""

    def losses(self) -> int:
        """Number of losses that the loss of a step sums up; the curve shows their mean."""
        return len(self.model.names)

    def step_of(self, step: int) -> PlainSteps | None:
        """An alternative to the optimiser for a step; None for the optimiser."""
        return None

    @property
    def together(self) -> tuple[str, str] | None:
        """Why no part of the networks can be trained without the others, and what to give instead; None if one can."""
        why = "with overlap or global_network they are trained together", "overlap=0 and global_network=false"
        return why if self.model.together else None

    # -- shards -------------------------------------------------------------------------------------------------

    def _sharding_of(self, devices: int) -> type[Sharding]:
        return sharding_of(self.shard_by, self.model, devices, self.together is not None)

    @cached_property
    def work(self) -> Tensor:
        """Multiply-accumulates of each network over all of its samples: float64 ``[N]``."""
        return torch.tensor(self.batch.sizes, dtype=torch.float64) * self.of_networks

    @cached_property
    def of_networks(self) -> Tensor:
        """Multiply-accumulates of each network for one sample: float64 ``[N]``."""
        return torch.tensor(self.model.macs_of_networks, dtype=torch.float64)

    def divides(self, devices: int) -> str | None:
        """What so many processes divide: ``regions`` or ``samples``; None for one process."""
        return None if devices == 1 else self._sharding_of(devices).name

    def check_devices(self, devices: int) -> None:
        """Check that each of ``devices`` processes has work.

        Raises:
            PartinrError: a process would have no work, or the networks cannot be divided.
        """
        refused = self._sharding_of(devices).refuses(self.model, self.points_per_step, devices, self.together)
        if refused is not None:
            raise PartinrError(refused)

    def useful_devices(self, devices: int) -> tuple[int, str | None]:
        """At most as many devices as have work, so that one sweep can include ``partition=none``."""
        sharding = self._sharding_of(devices)
        most, there = sharding.most(self.model, self.points_per_step)
        if devices > most:
            return most, f"there {there} for trainer.devices={devices}; the other devices have no work"
        chosen = f"{devices} devices divide the {sharding.name} among each other (shard=auto)"
        return devices, chosen if devices > 1 and self.shard_by == "auto" else None

    def setup(self, stage: str) -> None:
        """Divide the training among the processes, before the weights of a checkpoint are loaded."""
        super().setup(stage)
        self.sharding = self._sharding_of(self.ranks.size)(self.ranks, self.work.tolist())

    def seconds_for_schedule(self) -> float:
        """Seconds of training so far, for schedules that follow the clock."""
        return self.sharding.seconds(self)

    def _take_shard(self) -> Shard:
        networks = torch.nonzero(self.sharding.owned & ~self.finished).squeeze(1)
        targets = self.buffer("_targets")
        weights = None if self._weights is None else self.buffer("_weights")
        return Shard.take(self.model, self.batch, self._coords, targets, weights, networks, self.sharding.portion)

    @torch.no_grad()
    def gather(self) -> None:
        """Write the trained parameters of all processes into the model."""
        self.shard.give_back(self.model)
        self.sharding.complete(self.model)

    def parameters_for(self) -> torch.optim.Optimizer:
        """The optimiser of a new shard, since the module may have changed device or precision."""
        self.shard, self._stepping = self._take_shard(), None
        if self._loaded is not None:
            # Lightning passes the states to the optimiser next, whose parameters are those of this shard.
            states = self._loaded["optimizer_states"]
            self._loaded["optimizer_states"] = [narrow_state(state, self.shard, self.model) for state in states]
            self._loaded = None
        optimizer = self.optimizer.build_stack(self.model, self.shard.params)
        if self.optimizer.clip_norm is not None:
            clip_networks(optimizer, self.model, self.optimizer.clip_norm)
        return optimizer

    def after_evaluation(self) -> None:
        """Drop finished networks from the shard."""
        if self.failure is not None:
            return
        found = self.newly_finished()
        if found.any():
            before = self.shard
            before.give_back(self.model)
            self.finished = self.finished | found
            self.shard = self._take_shard()
            hand_over(self.own_optimizer(), before, self.shard)
        if self.finished.all() and self.stop_reason is None:
            self.stop_reason = self.all_finished

    # -- steps --------------------------------------------------------------------------------------------------

    def on_train_start(self) -> None:
        """Take a step without effect before the clock runs, to compile or load kernels."""
        super().on_train_start()
        if self.shard.sizes and self.stop_reason is None:
            with self.trainer.precision_plugin.forward_context():
                loss = self.loss(self.step)
            loss.backward()
            for value in self.shard.params.values():
                value.grad = None

    def take_steps(self, steps: int, batch: Any) -> None:
        """Take optimiser steps on the networks of the shard."""
        scheduler = self.lr_schedulers()
        assert not isinstance(scheduler, list) and scheduler is not None
        plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
        advance = _nothing if plateau else scheduler.step
        if self._stepping is None:
            self._stepping = self.sharding.steps(self)
        stepping, loss, step, end = self._stepping, None, self.step, self.step + steps
        macs, among = self.macs_a_step(), self.losses()
        with self.clock.run("training", self.device, self.ranks):
            while step < end and self.shard.sizes and (own := self.step_of(step)) is not None:
                loss, step = own.run(range(step, step + 1), advance), step + 1
            if self.shard.sizes:
                loss = stepping.run(range(step, end), advance) if step < end else loss
            else:  # a process without unfinished networks only keeps step
                for _ in range(steps):
                    advance()
            # The only wait for the device in a chunk; steps never read a value.
            own_loss = 0.0 if loss is None else float(loss.detach())
        # Once per chunk, since setting an attribute of a module takes as long as a small product.
        self.step += steps
        self.macs += steps * macs
        if not stepping.counted:
            self.count_steps(steps)
        # All processes end their chunks here together, so that they agree on the next action.
        (total,) = self.ranks.total(own_loss)
        self._last_loss = total / among

    def loss(self, step: int) -> Tensor:
        """The loss of a step for this process's networks, with its graph."""
        errors = [each.squared_error(self.model, self.shard.params) for each in self.samples_of(step)]
        return reduce(add, errors) / self.divisor

    # -- evaluation ---------------------------------------------------------------------------------------------

    def values(self) -> Tensor:
        """The values of all rows of the batch, ``[P, C]``; each process evaluates its part."""
        # Without autocast, to measure what a user gets who loads the saved weights.
        coords = self._coords
        with torch.autocast(self.device.type, enabled=False):
            if self.ranks.size == 1:
                return self.model.evaluate(coords, self.batch.sizes)
            rows = self.sharding.rows(self.batch)
            own = rows.to(self.device)
            values = self.buffer("_targets").new_zeros(len(coords), self.model.channels)
            values[own] = self.model.evaluate(some(coords, own), self.batch.count(rows))
            return self.ranks.whole(values)

    def buffer(self, name: str) -> Tensor:
        """A buffer, typed as a tensor."""
        return self.get_buffer(name)

    # -- state --------------------------------------------------------------------------------------------------

    def weights_to_keep(self) -> dict[str, Tensor]:
        """A copy of the stack."""
        return {name: value.detach().clone() for name, value in self.model.stack.items()}

    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Restore the weights of a stack."""
        self.put(weights)

    def put(self, weights: Mapping[str, Tensor]) -> None:
        """Give the model the result of :meth:`weights_to_keep`, to stay or to look at another point of the curve."""
        # assign keeps the precision of training.
        self.model.stack.load_state_dict(weights, assign=True)

    def best(self) -> list[tuple[str, bytes]]:
        """What :meth:`weights` gives, with the weights of the best point of the curve."""
        return at_point(self, self._best_weights, self.weights)

    def best_reconstructions(self) -> list[Tensor]:
        """What the networks of the best point of the curve give, ``[*grid, C]`` each; by this process alone."""
        return at_point(self, self._best_weights, lambda: renders(self.model))

    def on_train_end(self) -> None:
        """Restore the best weights if the run failed."""
        super().on_train_end()
        self._stepping = None
        self.gather()
        if self.restore_best_after_failure():
            # Otherwise the next gather would overwrite the restored weights.
            self.shard = self._take_shard()

    def progress(self) -> dict[str, Any]:
        """The state that a resumed run needs."""
        return {**super().progress(), "finished": self.finished}

    def continue_from(self, state: dict[str, Any]) -> None:
        """Restore the :meth:`progress` of a checkpoint."""
        self.finished = state["finished"]
        super().continue_from(state)
        if self.stop_reason is None and bool(self.finished.all()):
            self.stop_reason = self.all_finished

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Widen Lightning's state of a shard to the whole stack."""
        self.gather()
        checkpoint["state_dict"] = self.state_dict()
        checkpoint["optimizer_states"] = [
            self.sharding.merged(widen_state(state, self.shard, self.model)) for state in checkpoint["optimizer_states"]
        ]
        super().on_save_checkpoint(checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue from where the checkpoint was saved."""
        self._loaded = checkpoint
        super().on_load_checkpoint(checkpoint)

    def export_state(self) -> dict[str, Any]:
        """The training state that the parent process needs."""
        return {**super().export_state(), "finished": self.finished}

    def import_state(self, state: dict[str, Any]) -> None:
        """Restore the state in which the module of another process ended."""
        super().import_state(state)
        self.finished = state["finished"]


def _nothing() -> None:
    """What follows a step where the schedule goes by evaluations."""
