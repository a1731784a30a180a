"""How several processes divide the training of a stack: by networks, or by the samples of every network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.model.batch import RegionBatch
from partinr.model.signal_stack import SignalStack
from partinr.training.contract import ShardBy
from partinr.training.ranks import Ranks
from partinr.training.shards import deal
from partinr.training.steps import PlainSteps, steps_of
from partinr.training.summed import SummedSteps

if TYPE_CHECKING:
    from partinr.training.stack_loop import StackLoop


class Sharding(ABC):
    """What each process trains and evaluates, and what the processes exchange.

    Args:
        ranks: the processes.
        work: work of each network.

    Attributes:
        owned: bool ``[N]``, the networks that this process trains.
        portion: how many processes share the samples of these networks, and the number of this one among them.
    """

    name: ClassVar[Literal["regions", "samples"]]
    owned: Tensor
    portion: tuple[int, int]

    def __init__(self, ranks: Ranks, work: Sequence[float]) -> None:
        self._ranks = ranks

    @classmethod
    @abstractmethod
    def most(cls, model: SignalStack, points: int) -> tuple[int, str]:
        """The largest number of processes that have work, and what there is to divide, in words.

        Args:
            model: the stack.
            points: number of samples in a step.
        """

    @classmethod
    def refuses(
        cls, model: SignalStack, points: int, devices: int, together: tuple[str, str] | None = None
    ) -> str | None:
        """Why so many processes cannot divide the work, and what to do about it; None if they can.

        Args:
            model: the stack.
            points: number of samples in a step.
            devices: number of processes.
            together: see :attr:`StackLoop.together <partinr.training.stack_loop.StackLoop.together>`.
        """
        most, there = cls.most(model, points)
        if devices <= most:
            return None
        return (
            f"trainer.devices={devices}, but there {there}, and with shard={cls.name} each device trains some of them; "
            f"give trainer.devices={most}, or {cls._more}"
        )

    _more: ClassVar[str]
    """What gives more processes work."""

    @abstractmethod
    def rows(self, batch: RegionBatch) -> Tensor:
        """The rows of a batch that this process evaluates, ascending: int64 ``[p]`` on the CPU."""

    @abstractmethod
    def steps(self, loop: StackLoop) -> PlainSteps:
        """The kind of steps of a loop."""

    def total(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """The gradients of this process's networks by all samples, from those by this process's samples."""
        return gradients

    @abstractmethod
    def complete(self, model: SignalStack) -> None:
        """Write the parameters of other processes' networks into the model. All processes must call this."""

    @abstractmethod
    def merged(self, state: dict[str, Any]) -> dict[str, Any]:
        """The optimiser's state for the whole stack.

        Args:
            state: this process's, as :func:`partinr.training.shards.widen_state` gives it.
        """

    def seconds(self, loop: StackLoop) -> float:
        """Seconds of training so far, for schedules that follow the clock."""
        return loop.clock.elapsed()


class ByRegions(Sharding):
    """Each process trains some of the networks on all of their samples. They exchange no gradients."""

    name = "regions"
    portion = (1, 0)
    _more = "shard=samples, or more regions (partition.regions)"

    def __init__(self, ranks: Ranks, work: Sequence[float]) -> None:
        super().__init__(ranks, work)
        self.owned = torch.zeros(len(work), dtype=torch.bool)
        self.owned[deal(work, ranks.size)[ranks.rank]] = True

    @classmethod
    def most(cls, model: SignalStack, points: int) -> tuple[int, str]:
        """As many processes as networks."""
        count = model.networks
        return count, "is only 1 region" if count == 1 else f"are only {count} regions"

    @classmethod
    def refuses(
        cls, model: SignalStack, points: int, devices: int, together: tuple[str, str] | None = None
    ) -> str | None:
        """Also refuses networks that are trained together."""
        if devices > 1 and together is not None:
            why, instead = together
            return (
                f"trainer.devices={devices} with shard=regions trains regions apart, but {why}; "
                f"give shard=samples, or {instead}"
            )
        return super().refuses(model, points, devices)

    def rows(self, batch: RegionBatch) -> Tensor:
        """All rows of its networks."""
        return torch.nonzero(self.owned[batch.network.cpu()]).squeeze(1)

    def steps(self, loop: StackLoop) -> PlainSteps:
        """Steps that need no other process."""
        return steps_of(loop)

    def complete(self, model: SignalStack) -> None:
        """Exchange the parameters."""
        if self._ranks.size > 1:
            rows = model.rows(torch.nonzero(self.owned).squeeze(1))
            for name, value in model.stack.items():
                own, part = rows[name].to(value.device), torch.zeros_like(value)
                part[own] = value.data[own]
                value.data.copy_(self._ranks.whole(part))

    def merged(self, state: dict[str, Any]) -> dict[str, Any]:
        """Exchange the states."""
        return self._ranks.merged(state)


class BySamples(Sharding):
    """Each process trains all networks on an equal part of each one's samples, with the gradients of all processes.

    The processes begin with the same parameters, sum their gradients before every step, and take the same step. An
    all-reduce gives every process the same bits, so their parameters stay equal.

    Attributes:
        taken: number of steps that the run has taken, also within a chunk.
    """

    name = "samples"
    _more = "more samples a step (regime.points_per_step)"

    def __init__(self, ranks: Ranks, work: Sequence[float]) -> None:
        super().__init__(ranks, work)
        self.owned = torch.ones(len(work), dtype=torch.bool)
        self.portion = ranks.size, ranks.rank
        self.taken = 0

    @classmethod
    def most(cls, model: SignalStack, points: int) -> tuple[int, str]:
        """As many processes as samples in a step."""
        return points, "is only 1 sample in a step" if points == 1 else f"are only {points} samples in a step"

    def rows(self, batch: RegionBatch) -> Tensor:
        """Rows of every network."""
        processes, this = self.portion
        return torch.arange(this, len(batch.order), processes)

    def steps(self, loop: StackLoop) -> PlainSteps:
        """Steps that sum the gradients of all processes."""
        return SummedSteps(loop, self)

    def total(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """Sum the gradients in one buffer: one message instead of one per parameter."""
        flat = self._ranks.whole(torch.cat([each.reshape(-1) for each in gradients]))
        parts = flat.split([each.numel() for each in gradients])
        return [part.view_as(each) for part, each in zip(parts, gradients, strict=True)]

    def complete(self, model: SignalStack) -> None:
        """Nothing: every process has all parameters."""

    def merged(self, state: dict[str, Any]) -> dict[str, Any]:
        """Nothing to merge: every process has the whole state."""
        return state

    def seconds(self, loop: StackLoop) -> float:
        """Seconds at the pace of the run so far: clocks differ, and with them the steps of the processes would."""
        return loop.clock.spent * (max(self.taken, loop.step) / loop.step if loop.step else 1.0)


def sharding_of(by: ShardBy, model: SignalStack, devices: int, together: bool) -> type[Sharding]:
    """How so many processes divide the training of a stack.

    ``auto`` divides by regions, which exchange no gradients, if each process gets one and they are not trained
    together.

    Raises:
        PartinrError: ``by`` is none of the choices.
    """
    if by not in get_args(ShardBy):
        raise PartinrError(f"shard={by!r}; choose from {', '.join(get_args(ShardBy))}")
    apart = devices <= model.networks and not together
    return ByRegions if devices == 1 or by == "regions" or (by == "auto" and apart) else BySamples
