"""Coordinates of the samples of large signals, computed for the rows that are asked for."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from partinr.model.frames import Frames
from partinr.partition import Partition

TABLE = 2**22
"""Samples up to which coordinates are kept as a table, which is faster to read."""


class ComputedCoords(nn.Module):
    """The coordinates of the samples of a batch, computed for the rows that are asked for, bit by bit as in a table.

    They are on the device and in the precision of the module that has them.

    Args:
        frames: frames of each signal's networks; each sample belongs to one network.
        partitions: partition of each signal.
        order: int64 ``[M]``, the sample of each row, numbered by signal, each row-major.
    """

    order: Tensor
    like: Tensor
    regions: Tensor | None

    def __init__(self, frames: Sequence[Frames], partitions: Sequence[Partition], order: Tensor) -> None:
        super().__init__()
        self._signals = [(own, partition.shape) for own, partition in zip(frames, partitions, strict=True)]
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("like", torch.empty(0), persistent=False)
        # Global frames do not depend on the region.
        local = frames[0].centre is not None
        regions = torch.cat([each.labels.reshape(-1) for each in partitions]) if local else None
        self.register_buffer("regions", regions, persistent=False)

    def __len__(self) -> int:
        return len(self.order)

    @property
    def device(self) -> torch.device:
        """The device of the coordinates."""
        return self.order.device

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        """The coordinates of some rows: ``[m, d]``."""
        sample = self.order[rows]
        regions = None if self.regions is None else self.regions[sample]
        found, first = self.like.new_empty(len(sample), len(self._signals[0][1])), 0
        for frames, shape in self._signals:
            stop = first + math.prod(shape)
            own = slice(None) if len(self._signals) == 1 else (sample >= first) & (sample < stop)
            seen = frames.coords_of(shape, sample[own] - first, None if regions is None else regions[own])
            found[own] = seen.to(found)
            first = stop
        return found

    def some(self, rows: Tensor) -> ComputedCoords:
        """The coordinates of some rows, computed likewise."""
        found = copy.copy(self)
        found._buffers = {**self._buffers, "order": self.order[rows]}
        return found


Coords = Tensor | ComputedCoords
"""Coordinates ``[M, d]``; rows of either are tensors."""


def some(coords: Coords, rows: Tensor) -> Coords:
    """Some rows of coordinates, int64 ``[m]``, in the same form."""
    return coords[rows] if isinstance(coords, Tensor) else coords.some(rows)


def keep(module: nn.Module, name: str, coords: Coords) -> None:
    """Let coordinates follow a module to its device and precision, as its attribute ``name``."""
    if isinstance(coords, Tensor):
        module.register_buffer(name, coords, persistent=False)
    else:
        module.add_module(name, coords)


def every(coords: Coords) -> Tensor:
    """All rows of coordinates; a table is not copied."""
    return coords if isinstance(coords, Tensor) else coords[:]
