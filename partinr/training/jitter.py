"""Points between the samples: drawn samples are moved within their cells, and have the signal's values there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from partinr.base.seeds import derived

if TYPE_CHECKING:
    from partinr.signals.identity import Everywhere

Moved = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From rows of a batch, ``[p]``, to what is added to their coordinates, ``[p, d]``, and their targets, ``[p, C]``."""


class Jitter:
    """Moves each drawn sample to a random place in its cell, where its target is the value of the signal.

    A place follows from the seed and the step alone, whatever the processes share. It belongs to the network of its
    cell. A sample that is drawn twice in a step has one place.

    Args:
        shapes: the grid of each signal, with the same number of axes.
        values: of each signal, its values at any places.
        order: int64 ``[M]``, the sample of each row of the batch, sorted by signal, each row-major.
        steps: ``[M, d]``, the distance of two samples in the coordinates of each row.
        seed: of the places.
    """

    def __init__(
        self, shapes: Sequence[Sequence[int]], values: Sequence[Everywhere], order: Tensor, steps: Tensor, seed: int
    ) -> None:
        self._shapes, self._values = shapes, values
        self._order, self._steps, self._seed = order.cpu(), steps.float().cpu(), seed
        self._first = torch.tensor([0, *map(prod, shapes)]).cumsum(0)

    def of_step(self, step: int, drawn: Tensor) -> Moved:
        """The places of a step.

        Args:
            step: its number.
            drawn: int64 ``[P]``, the rows that are drawn, ascending.
        """
        # Another number in the series than that of the draw.
        generator = torch.Generator().manual_seed(derived(self._seed, step, 1))
        shifts = torch.rand(len(drawn), self._steps.shape[1], generator=generator) - 0.5

        def moved(rows: Tensor) -> tuple[Tensor, Tensor]:
            shift = shifts[torch.searchsorted(drawn, rows)]
            return shift * self._steps[rows], self._targets(self._order[rows], shift)

        return moved

    def _targets(self, samples: Tensor, shift: Tensor) -> Tensor:
        """The values at places that are ``shift`` samples away from samples: ``[p, C]``."""
        number = torch.searchsorted(self._first, samples, right=True) - 1
        parts = []
        for each, (shape, values) in enumerate(zip(self._shapes, self._values, strict=True)):
            own = number == each  # samples are sorted by signal
            cells = torch.stack(torch.unravel_index(samples[own] - self._first[each], tuple(shape)), dim=1)
            parts.append(values((2 * (cells + shift[own].double()) + 1) / torch.tensor(shape) - 1))
        return torch.cat(parts)


def between(signal: Tensor, coords: Tensor) -> Tensor:
    """Linear interpolation between samples; beyond the outermost ones, their values.

    Args:
        signal: float32 ``[*grid, C]``.
        coords: float64 ``[M, d]`` in [-1, 1].

    Returns:
        float32 ``[M, C]``.
    """
    at = ((coords + 1) * torch.tensor(signal.shape[:-1]) - 1) / 2
    low, share = at.floor().long(), (at - at.floor()).float()
    found = torch.zeros(len(coords), signal.shape[-1])
    for corner in product((0, 1), repeat=coords.shape[1]):
        places = [(low[:, axis] + step).clamp(0, signal.shape[axis] - 1) for axis, step in enumerate(corner)]
        shares = [share[:, axis] if step else 1 - share[:, axis] for axis, step in enumerate(corner)]
        found += torch.stack(shares).prod(dim=0)[:, None] * signal[tuple(places)]
    return found
