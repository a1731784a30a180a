"""Samples of a step: all of them, lattices that take turns, or points that are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from partinr.samplers import Draws
from partinr.training.jitter import Jitter
from partinr.training.look import LookAt
from partinr.training.samples import Samples
from partinr.training.shards import Shard

if TYPE_CHECKING:
    from partinr.training.stack_loop import StackLoop


class FullBatch:
    """Uses all samples in every step.

    Args:
        sizes: number of samples of each of the N networks.
        points: number of samples in a step.
    """

    period: int | None = 1
    """See :attr:`StackLoop.period <partinr.training.stack_loop.StackLoop.period>`."""

    goes_by_error = False
    """Whether to call :meth:`refresh` after an evaluation."""

    fresh = False
    """Whether the steps after :meth:`begin` see other samples than those before it."""

    def __init__(self, sizes: Sequence[int], points: int) -> None:
        self.sizes = torch.tensor(sizes, dtype=torch.float64)
        self._all = points

    @property
    def points(self) -> float:
        """Number of samples in a step, mean over a period."""
        return self._all

    def begin(self, loop: StackLoop, most: int) -> int:
        """Get ready for the next steps of a loop: the number of steps that are alike, 1 … ``most``.

        All processes call this together.
        """
        return most

    def samples(self, shard: Shard, step: int) -> list[Samples]:
        """The samples of a step that belong to a shard."""
        return shard.every

    def refresh(self, errors: Tensor | None) -> None:
        """Use new errors from now on."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""

    def macs(self, per_sample: int, of_networks: Tensor, working: Tensor) -> int:
        """Multiply-accumulates of the forward pass of one step over all processes.

        Args:
            per_sample: cost of all networks that contribute to a sample, mean over samples.
            of_networks: float64 ``[N]``, cost of each network for one sample.
            working: bool ``[N]``, which networks are trained.
        """
        whole = self.points * per_sample
        if working.all():
            return round(whole)
        work = self.sizes * of_networks
        return round(whole * float(work[working].sum() / work.sum()))


class CoarseToFine(FullBatch):
    """At first every second sample along each axis, as the multi-scale fits of MINER begin with fewer samples.

    The ``2^d`` lattices of such samples take turns, a step each, so that ``2^d`` steps see every sample once. They cost
    as much as one step on all samples, and early in a run they move the networks nearly ``2^d`` times as far.

    Args:
        sizes: number of samples of each of the N networks.
        lattice: int64 ``[M]``, the lattice of each sample (:func:`lattices`), in the order of
            :meth:`RegionBatch.by_sample`.
        number: number of lattices.
        until: fraction of the run in which steps see lattices.

    Attributes:
        coarse: whether steps see lattices.
    """

    def __init__(self, sizes: Sequence[int], lattice: Tensor, number: int, until: float) -> None:
        super().__init__(sizes, len(lattice))
        self.coarse, self._until = True, until
        self._members = [torch.nonzero(lattice == turn).squeeze(1) for turn in range(number)]
        self._turns: tuple[Shard, list[list[Samples]]] | None = None

    @property
    def period(self) -> int:  # type: ignore[override]
        """The number of lattices, later 1."""
        return len(self._members) if self.coarse else 1

    @property
    def points(self) -> float:
        """Number of samples in a step, mean over a period."""
        return self._all / self.period

    def begin(self, loop: StackLoop, most: int) -> int:
        """The number of steps that are all on lattices, or all on all samples."""
        left = loop.stop.step_at(self._until, loop.step, loop.clock.spent) - loop.step
        self.fresh = self.coarse != (left > 0)
        self.coarse = left > 0
        return min(most, left) if self.coarse else most

    def samples(self, shard: Shard, step: int) -> list[Samples]:
        """The samples of a step that belong to a shard."""
        if not self.coarse:
            return super().samples(shard, step)
        if self._turns is None or self._turns[0] is not shard:
            self._turns = shard, [shard.drawn(members) for members in self._members]
        return self._turns[1][step % self.period]


def lattices(shape: Sequence[int]) -> Tensor:
    """The turn of each sample's lattice, ``0 … 2^d - 1``: int64 ``[*shape]``.

    A lattice has every second sample along each axis. The first half of the turns are those of even samples, as on a
    chessboard, so that successive steps see neighbours of each other's samples from all sides.
    """
    code = torch.zeros(tuple(shape), dtype=torch.int64)
    for axis, length in enumerate(shape):
        code += ((torch.arange(length) % 2) << axis).view(-1, *[1] * (len(shape) - 1 - axis))
    order = sorted(range(2 ** len(shape)), key=lambda each: (each.bit_count() % 2, each))
    return torch.argsort(torch.tensor(order))[code]


class Drawn(FullBatch):
    """The samples that a sampler draws.

    Args:
        draws: the rows of each step.
        sizes: number of samples of each of the N networks.
        jitter: moves the samples within their cells; None to leave them.
    """

    def __init__(self, draws: Draws, sizes: Sequence[int], jitter: Jitter | None = None) -> None:
        super().__init__(sizes, draws.pool.samples)
        self.draws, self._jitter = draws, jitter
        self.goes_by_error = draws.goes_by_error

    @property
    def points(self) -> float:
        """Number of samples in a step."""
        return self.draws.points

    @property
    def period(self) -> int | None:  # type: ignore[override]
        """The number of steps after which their samples repeat; None while they do not."""
        return None if self._jitter is not None else self.draws.turns

    def begin(self, loop: StackLoop, most: int) -> int:
        """Let the sampler look at the networks, as work of the training: the steps until its next look or number."""
        draws, self.fresh = self.draws, False

        def progress(step: int) -> float:
            return loop.stop.done(step, loop.clock.spent)

        if draws.due(loop.step):
            with loop.clock.run("training", loop.device, loop.ranks):
                look = LookAt(loop)
                draws.look(loop.step, progress(loop.step), look)
            loop.macs += look.macs
            self.fresh = True
        points = draws.count(progress(loop.step))
        self.fresh |= points != draws.points
        draws.points = points
        for step in range(loop.step + 1, loop.step + most):
            if draws.due(step) or draws.count(progress(step)) != draws.points:
                return step - loop.step
        return most

    def samples(self, shard: Shard, step: int) -> list[Samples]:
        """The samples of a step that belong to a shard."""
        rows, weights = self.draws.draw(step), self.draws.weights
        if rows is None:
            rows = torch.arange(self._all)
        moved = None if self._jitter is None else self._jitter.of_step(step, rows)
        return shard.drawn(rows, None if weights is None else weights.__getitem__, moved)

    def macs(self, per_sample: int, of_networks: Tensor, working: Tensor) -> int:
        """Expected multiply-accumulates of the forward pass of one step over all processes."""
        shares = self.draws.shares
        if shares is None or len(shares) != len(of_networks):
            return super().macs(per_sample, of_networks, working)
        return round(float((shares * of_networks)[working].sum()))

    def refresh(self, errors: Tensor | None) -> None:
        """Use new errors from now on."""
        self.draws.refresh(errors)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return self.draws.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        self.draws.restore(state)
