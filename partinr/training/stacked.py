"""What the regimes share that train networks of a stack with an ordinary optimiser, which has a share of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from partinr.training.loop import Learning
from partinr.training.optimizer import Optimizer
from partinr.training.schedule import Schedule
from partinr.training.shards import Shard, narrow_state


class StackLearning(Learning):
    """A module whose optimiser has those networks that this process trains and that are not finished.

    Attributes:
        optimizer: what steps are taken with.
        schedule: of the learning rate.
        share: the networks that are trained here; a subclass takes it when it has made the model.
    """

    optimizer: Optimizer
    schedule: Schedule
    share: Shard

    _loaded: dict[str, Any] | None = None
    """A checkpoint that Lightning has read and whose states the optimiser has not got yet."""

    @abstractmethod
    def _take_shard(self) -> Shard:
        """The networks that are to be trained here from now on."""

    @abstractmethod
    def _loss(self, step: int) -> Tensor:
        """The loss of a step, with its graph."""

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser and its schedule; both are stepped by hand."""
        # Anew: the module may be on another device by now, or in another precision.
        self.share = self._take_shard()
        if self._loaded is not None:
            # Lightning hands them to the optimiser next, whose parameters are those of this share.
            states = self._loaded["optimizer_states"]
            self._loaded["optimizer_states"] = [narrow_state(state, self.share, self.model) for state in states]
            self._loaded = None
        optimizer = self.optimizer.build_stack(self.model, self.share.params)
        scheduler = self.schedule.build(optimizer, self.stop, self.clock.elapsed)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler}}

    def on_train_start(self) -> None:
        """Take a step that changes nothing, before the clock runs: kernels are made or loaded at their first use."""
        if self.share.sizes and self.stop_reason is None:
            with self.trainer.precision_plugin.forward_context():
                loss = self._loss(self.step)
            loss.backward()
            for value in self.share.params.values():
                value.grad = None
