"""The loop of regimes that fit signals, whose partitions may change during training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.model.inherit import Heirs
from partinr.model.signal_stack import SignalStack
from partinr.partition import Change, Live, Partition
from partinr.training.shards import inherit_state, narrow_state, widen_state
from partinr.training.stack_loop import StackLoop


class LiveLoop(StackLoop):
    """A loop that asks live partitions for new labels after each evaluation, and makes the stack anew for them.

    A new network inherits weights and optimiser state from its parent (:class:`Heirs
    <partinr.model.inherit.Heirs>`), and so do the weights of the best point of the curve. The schedule goes on. The
    time for it counts as training. A checkpoint keeps the label maps, with which a resumed run builds its model.

    Attributes:
        lives: for each signal its live partition, or None.
        changes: step and number of regions at the beginning and after each change.
    """

    lives: Sequence[Live | None] = ()
    changes: list[list[int]]

    @property
    def _live(self) -> bool:
        return any(each is not None for each in self.lives)

    @abstractmethod
    def squared_errors(self) -> list[Tensor]:
        """Squared error of each sample of each signal at the last evaluation: float64 ``[*grid]`` on the CPU."""

    @abstractmethod
    def take_model(self, model: SignalStack) -> None:
        """Go on with a model for the same signals, whose partitions differ: call :meth:`hold`."""

    def look(self, values: Tensor) -> None:
        """Act on the values of all rows of the batch, at an evaluation and after a change."""

    def after_evaluation(self) -> None:
        """Drop finished networks from the shard, then follow the partitions."""
        super().after_evaluation()
        # Untrained networks say nothing of where the error will be, and after the last step none can learn.
        done = self.stop.done(self.step, self.clock.spent)
        if self._live and self.running and 0 < done < 1:
            with self.clock.run("training", self.device, self.ranks):
                asked = zip(self.lives, self.model.partitions, self.squared_errors(), strict=True)
                changes = [None if live is None else live.change(own, error, done) for live, own, error in asked]
                if any(each is not None for each in changes):
                    self._follow(changes)

    def _follow(self, changes: Sequence[Change | None]) -> None:
        """Make the stack anew."""
        self.gather()
        before, finished, optimizer = self.model, self._by_region(self.finished), self.own_optimizer()
        state = self.sharding.merged(widen_state(optimizer.state_dict(), self.shard, before))
        partitions, parents, still = [], [], []
        for live, change, partition, own in zip(self.lives, changes, before.partitions, finished, strict=True):
            if live is None or change is None:
                change = Change(partition.labels, torch.arange(partition.regions))
            partitions.append(partition if live is None else change.of(partition, live.limit))
            parents.append(change.parents)
            still.append(own[change.parents] & change.same(partition))
        heirs = Heirs.of(before, partitions, parents)
        if self._best_weights is not None:
            self._best_weights = heirs.values(self._best_weights)
        self._make(heirs.model)
        self.finished = torch.cat(still)
        self.shard, self._stepping = self._take_shard(), None
        state = inherit_state(state, before, heirs.parents)
        optimizer.param_groups[0]["params"] = list(self.shard.params.values())
        optimizer.state.clear()
        optimizer.load_state_dict(narrow_state(state, self.shard, self.model))
        self.look(self.values())
        self.changes.append([self.step, self.model.regions])

    def _make(self, model: SignalStack) -> None:
        """Hold a model for the same signals on the device, in the precision of training."""
        sharding = type(self.sharding)
        self.take_model(model)
        for name in ("work", "of_networks"):
            self.__dict__.pop(name, None)
        self.trainer.precision_plugin.convert_module(self)
        self.to(self.device)
        self.sharding = sharding(self.ranks, self.work.tolist())

    def _by_region(self, flags: Tensor) -> tuple[Tensor, ...]:
        """One flag per network, by signal. Networks of one width are in the order of the regions."""
        return flags.split([partition.regions for partition in self.model.partitions])

    # -- for callbacks -------------------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """What is fitted, in a few words."""
        return self.model.title

    @door
    def weights(self) -> Iterator[tuple[str, bytes]]:
        """For each signal its name and its model as the content of a file."""
        for number, name in enumerate(self.model.names):
            yield name, self.model.member(number).to_bytes()

    # -- state --------------------------------------------------------------------------------------------------

    def progress(self) -> dict[str, Any]:
        """The state that a resumed run needs."""
        return {**super().progress(), "changes": self.changes}

    def continue_from(self, state: dict[str, Any]) -> None:
        """Restore the :meth:`progress` of a checkpoint."""
        self.changes = state.get("changes", self.changes)
        super().continue_from(state)

    def export_state(self) -> dict[str, Any]:
        """The training state that the parent process needs."""
        labels = [partition.labels for partition in self.model.partitions] if self._live else None
        return {**super().export_state(), "changes": self.changes, "labels": labels}

    def import_state(self, state: dict[str, Any]) -> None:
        """Restore the state in which the module of another process ended."""
        if state["labels"] is not None:
            partitions = [
                Partition(each, seconds=old.seconds)
                for each, old in zip(state["labels"], self.model.partitions, strict=True)
            ]
            none = [torch.zeros(each.regions, dtype=torch.int64) for each in partitions]
            self.take_model(Heirs.of(self.model, partitions, none).model)
        self.changes = state["changes"]
        super().import_state(state)
