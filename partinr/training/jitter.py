"""Points between the samples: drawn samples are moved within their cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from partinr.base.seeds import derived

Moved = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From rows of a batch, ``[p]``, to what is added to their coordinates, ``[p, d]``, and their targets, ``[p, C]``."""


class Jitter:
    """Moves each drawn sample to a random place in its cell, where its target is that between the samples.

    A place follows from the seed and the step alone, whatever the processes share. It belongs to the network of its
    cell. A sample that is drawn twice in a step has one place.

    Args:
        signals: float32 ``[*grid, C]`` each, with the same number of axes.
        order: int64 ``[M]``, the sample of each row of the batch, sorted by signal, each row-major.
        steps: ``[M, d]``, the distance of two samples in the coordinates of each row.
        seed: of the places.
    """

    def __init__(self, signals: Sequence[Tensor], order: Tensor, steps: Tensor, seed: int) -> None:
        self._signals = [signal.cpu() for signal in signals]
        self._order, self._steps, self._seed = order.cpu(), steps.float().cpu(), seed
        self._first = torch.tensor([0, *(signal[..., 0].numel() for signal in signals)]).cumsum(0)

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
            return shift * self._steps[rows], self._values(self._order[rows], shift)

        return moved

    def _values(self, samples: Tensor, shift: Tensor) -> Tensor:
        """The values at places that are ``shift`` samples away from samples: ``[p, C]``."""
        found = torch.empty(len(samples), self._signals[0].shape[-1])
        number = torch.searchsorted(self._first, samples, right=True) - 1
        for each, signal in enumerate(self._signals):
            own = number == each
            cells = torch.stack(torch.unravel_index(samples[own] - self._first[each], signal.shape[:-1]), dim=1)
            found[own] = between(signal, cells, shift[own])
        return found


def between(signal: Tensor, cells: Tensor, shift: Tensor) -> Tensor:
    """Linear interpolation between samples; beyond the outermost ones, their values.

    Args:
        signal: ``[*grid, C]``.
        cells: int64 ``[p, d]``, samples.
        shift: ``[p, d]``, the distance from them, in samples.

    Returns:
        ``[p, C]``.
    """
    low, share = cells + shift.floor().long(), shift - shift.floor()
    found = torch.zeros(len(cells), signal.shape[-1])
    for corner in product((0, 1), repeat=cells.shape[1]):
        places = [(low[:, axis] + step).clamp(0, signal.shape[axis] - 1) for axis, step in enumerate(corner)]
        shares = [share[:, axis] if step else 1 - share[:, axis] for axis, step in enumerate(corner)]
        found += torch.stack(shares).prod(dim=0)[:, None] * signal[tuple(places)]
    return found
