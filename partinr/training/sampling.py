"""Samples of a step: all of them, lattices that take turns, or points that are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from partinr.base.seeds import derived
from partinr.training.jitter import Jitter
from partinr.training.samples import Samples
from partinr.training.shards import Shard

FLOOR = 0.1
"""Fraction of points drawn uniformly, so that every sample is drawn and no weight exceeds 1 / ``FLOOR``."""


class FullBatch:
    """Uses all samples in every step.

    Args:
        sizes: number of samples of each of the N networks.
        points: number of samples in a step.
    """

    period: int | None = 1
    """See :attr:`StackLoop.period <partinr.training.stack_loop.StackLoop.period>`."""

    coarse = False
    """Whether steps see lattices."""

    errors: Tensor | None = None
    """The state for a checkpoint, or None."""

    goes_by_error = False
    """Whether to call :meth:`refresh` after an evaluation."""

    def __init__(self, sizes: Sequence[int], points: int) -> None:
        self.sizes = torch.tensor(sizes, dtype=torch.float64)
        self._all = points

    @property
    def points(self) -> float:
        """Number of samples in a step, mean over a period."""
        return self._all

    def samples(self, shard: Shard, step: int) -> list[Samples]:
        """The samples of a step that belong to a shard."""
        return shard.every

    def refresh(self, errors: Tensor | None) -> None:
        """Use new errors from now on."""

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
    """

    coarse = True

    def __init__(self, sizes: Sequence[int], lattice: Tensor, number: int) -> None:
        super().__init__(sizes, len(lattice))
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


class UniformSampler(FullBatch):
    """Draws the same number of samples for each step, uniformly from all signals together.

    An epoch is one shuffle of all samples, divided into steps; the few remaining samples differ between epochs. The
    samples follow from seed and step alone, so a resumed run draws the same samples as an uninterrupted one.

    Args:
        sizes: number of samples of each of the N networks.
        samples: number of samples, M.
        points: number of samples in a step, 1 … M.
        seed: seed of the shuffles.
        jitter: moves the samples within their cells; None to leave them.
    """

    period = None

    def __init__(
        self, sizes: Sequence[int], samples: int, points: int, seed: int, jitter: Jitter | None = None
    ) -> None:
        super().__init__(sizes, points)
        self._samples, self._points, self._seed, self._jitter = samples, points, seed, jitter
        self._order: tuple[int, Tensor] | None = None

    def samples(self, shard: Shard, step: int) -> list[Samples]:
        """The samples of a step that belong to a shard."""
        drawn = self.draw(step)
        return shard.drawn(drawn, moved=None if self._jitter is None else self._jitter.of_step(step, drawn))

    def draw(self, step: int) -> Tensor:
        """The samples of a step, ascending: int64 ``[P]``."""
        epoch, piece = divmod(step, self._samples // self._points)
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(derived(self._seed, epoch))
            self._order = epoch, torch.randperm(self._samples, generator=generator)
        return self._order[1][piece * self._points : (piece + 1) * self._points].sort().values


class ErrorSampler(FullBatch):
    """Draws samples in proportion to their error at the last evaluation, and weighs them accordingly.

    A sample is drawn with probability ``p_i = (1 - FLOOR) e_i / sum(e) + FLOOR / M``, and its error has the weight
    ``1 / (M p_i)`` in the loss. The expectation of loss and gradient therefore equals that over all samples, whatever
    the ``e_i`` are. The variance is lowest if the ``e_i`` are proportional to the norms of the samples' gradients
    (Katharopoulos and Fleuret, "Not All Samples Are Created Equal", 2018; for neural fields Kheradmand et al.,
    "Accelerating Neural Field Training via Soft Mining", 2024, whose exponent of the weights is 1 here). Adam's steps
    are not linear in the gradient, so their expectation still changes.

    Each step draws one point from each of P equal parts of the probability, which spreads the points evenly. A sample
    may be drawn more than once.

    Args:
        network: int64 ``[M]`` on the CPU, the network of each sample.
        sizes: number of samples of each of the N networks.
        points: number of samples in a step, P.
        seed: the samples follow from the seed, the step and the ``e_i``.
        jitter: moves the samples within their cells; None to leave them.

    Attributes:
        errors: float32 ``[M]`` on the CPU, the ``e_i``; None before they are known; all samples are then alike.
        shares: float64 ``[N]``, the expected fraction of points of each network.
    """

    goes_by_error = True
    period = None

    def __init__(
        self, network: Tensor, sizes: Sequence[int], points: int, seed: int, jitter: Jitter | None = None
    ) -> None:
        super().__init__(sizes, points)
        self._jitter = jitter
        self._network, self._samples, self._points, self._seed = network, len(network), points, seed
        self.refresh(None)

    def samples(self, shard: Shard, step: int) -> list[Samples]:
        """The samples of a step that belong to a shard."""
        drawn = self.draw(step)
        moved = None if self._jitter is None else self._jitter.of_step(step, drawn)
        return shard.drawn(drawn, self.weights, moved)

    def refresh(self, errors: Tensor | None) -> None:
        """Use new errors from now on.

        Args:
            errors: ``[M]``, 0 or more; None to draw all samples alike.
        """
        self.errors = None if errors is None else errors.detach().float().cpu()
        even = torch.full((self._samples,), 1 / self._samples, dtype=torch.float64)
        total = 0.0 if self.errors is None else float(self.errors.double().sum())
        # The errors of an exact fit are all 0, and those of a diverged fit are not finite.
        if self.errors is None or not 0 < total < float("inf"):
            probability = even
        else:
            probability = (1 - FLOOR) * self.errors.double() / total + FLOOR * even
        self.shares = torch.zeros(len(self.sizes), dtype=torch.float64).index_add_(0, self._network, probability)
        self._ends = probability.cumsum(0)
        self._weights = (1 / (self._samples * probability)).float().unsqueeze(1)

    def draw(self, step: int) -> Tensor:
        """The samples of a step, ascending: int64 ``[P]``."""
        generator = torch.Generator().manual_seed(derived(self._seed, step))
        at = (torch.arange(self._points) + torch.rand(self._points, generator=generator, dtype=torch.float64)) / (
            self._points
        )
        return torch.searchsorted(self._ends, at * self._ends[-1], right=True).clamp_(max=self._samples - 1)

    def weights(self, drawn: Tensor) -> Tensor:
        """The weights of samples in the loss: ``[P]`` to float32 ``[P, 1]``."""
        return self._weights[drawn]

    def macs(self, per_sample: int, of_networks: Tensor, working: Tensor) -> int:
        """Expected multiply-accumulates of the forward pass of one step over all processes."""
        return round(self._points * float((self.shares * of_networks)[working].sum()))
