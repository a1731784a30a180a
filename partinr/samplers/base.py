"""The contract of a sampler: which samples the steps of a fit see.

A :class:`Sampler` is a spec whose fields are the keys of the group ``sampler``. For a fit it makes :class:`Draws`,
which the loop asks for the rows of each step, and which may look at the networks now and then.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Protocol

import torch
from pydantic import Field
from torch import Tensor

from partinr.base.spec import course, spec


@dataclass(frozen=True, eq=False)
class Pool:
    """The samples that a fit draws from, as rows, sorted by network.

    Attributes:
        signals: what is seen of each signal, float32 ``[*grid, C]``.
        order: int64 ``[M]``; row i is sample ``order[i]``, counted by signal, each row-major.
        sizes: number of rows of each network. A single number where samples belong to several networks.
        points: number of rows in a step; in the first steps, if it grows.
        seed: of random draws.
    """

    signals: Sequence[Tensor]
    order: Tensor
    sizes: tuple[int, ...]
    points: int
    seed: int

    @property
    def samples(self) -> int:
        """Number of rows, M."""
        return len(self.order)

    @cached_property
    def network(self) -> Tensor:
        """The network of each row: int64 ``[M]``, ascending."""
        return torch.repeat_interleave(torch.arange(len(self.sizes)), torch.tensor(self.sizes))

    def rows(self, grids: Sequence[Tensor]) -> Tensor:
        """A number for each sample, ``[*grid]`` a signal, as a number for each row, ``[M]``."""
        return torch.cat([each.reshape(-1) for each in grids])[self.order]

    def grids(self, rows: Tensor) -> list[Tensor]:
        """Values of rows, ``[M, C]``, on the grids of the signals, ``[*grid, C]`` each."""
        flat = torch.empty_like(rows)
        flat[self.order] = rows
        parts = flat.split([each[..., 0].numel() for each in self.signals])
        return [part.reshape(*each.shape[:-1], -1) for part, each in zip(parts, self.signals, strict=True)]

    def sums(self, rows: Tensor) -> Tensor:
        """Sums over the rows of each network: ``[M]`` to float64 ``[N]``."""
        return torch.zeros(len(self.sizes), dtype=torch.float64).index_add_(0, self.network, rows.double())


class Look(Protocol):
    """All samples as the networks are now. What is asked for is computed, and counts as work of the training."""

    @property
    def residuals(self) -> Tensor:
        """Value minus target of each row, times the root of its weight in the loss: float32 ``[M, C]`` on the CPU.

        It is 0 for rows of networks whose training has ended.
        """

    @property
    def kernel(self) -> Tensor:
        """The change of each row's value by a step on the error of all rows: float32 ``[M]`` on the CPU.

        It is the norm over channels of ``K r``, for the weighted residuals ``r`` and the neural tangent kernel ``K`` of
        the parameters, whose entries between two networks are 0. Not for samples of several networks.
        """


class Draws(ABC):
    """The rows of the steps of one fit.

    Args:
        pool: the samples.

    Attributes:
        points: number of rows in the present steps; the loop sets it to :meth:`count`.
        weights: float32 ``[M, 1]``, additional weights of the rows in the loss; None if all are 1.
        goes_by_error: whether to call :meth:`refresh` after an evaluation.
    """

    goes_by_error: ClassVar[bool] = False

    def __init__(self, pool: Pool) -> None:
        self.pool, self.points = pool, pool.points
        self.weights: Tensor | None = None

    @abstractmethod
    def draw(self, step: int) -> Tensor | None:
        """The rows of a step, ascending: int64 ``[P]``; None for all of them."""

    def count(self, progress: float) -> int:
        """Number of rows in a step, when a fraction of the run is over, 0 … 1."""
        return self.pool.points

    @property
    def shares(self) -> Tensor | None:
        """Expected number of rows of each network in a step: float64 ``[N]``; None if in proportion to their sizes."""
        return None

    @property
    def turns(self) -> int | None:
        """The number of steps after which their rows repeat, until the next look or another number of rows.

        An engine takes such steps by itself, which is faster. None if they do not repeat, or not often enough.
        """
        return None

    def due(self, step: int) -> bool:
        """Whether to call :meth:`look` before a step."""
        return False

    def look(self, step: int, progress: float, look: Look) -> None:  # noqa: B027
        """Go by the networks as they are now.

        Args:
            step: the step that follows.
            progress: fraction of the run that is over.
            look: gives what is known of all samples.
        """

    def refresh(self, errors: Tensor | None) -> None:  # noqa: B027
        """Go by the errors of an evaluation, which costs the training nothing.

        Args:
            errors: ``[M]``, root mean squared error over the channels of each row, times its weight in the loss.
        """

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps: plain containers and tensors."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Continue from a :meth:`state`."""


@spec
class Sampler(ABC):
    """How the samples of a step are chosen.

    Attributes:
        fraction: part of all samples that a step sees, unless ``regime.points_per_step`` says their number. None for
            all samples.
    """

    blends: ClassVar[bool] = False
    """Whether it can draw samples that several networks contribute to; none of them may be drawn twice in a step."""

    fraction: Annotated[float, Field(gt=0, le=1)] | None = None

    @property
    def title(self) -> str:
        """Its name for messages and checkpoints."""
        return type(self).__name__.lower()

    @property
    def plain(self) -> bool:
        """Whether it does what a fit does if nothing is said."""
        return False

    @property
    def follows_end(self) -> bool:
        """Whether draws depend on how much of the run is over, and so on the clock if only seconds limit it."""
        return False

    def points(self, samples: int, given: int | None) -> int | None:
        """Number of samples in a step; None for all, in every step.

        Args:
            samples: number of samples of all signals.
            given: ``regime.points_per_step``.
        """
        return given if given is not None or self.fraction is None else max(1, round(self.fraction * samples))

    @abstractmethod
    def begin(self, pool: Pool) -> Draws:
        """The draws of a fit."""

    def about(self) -> dict[str, Any]:
        """What must be equal to continue from a checkpoint: plain containers."""
        return {} if self.plain else {"sampler": {"kind": self.title, **course(self)}}
