"""Averages over boxes of samples."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.signals.observations.base import Mapped, Observation

_POOLS = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


@spec
class Downsample(Observation):
    """Averages over boxes of samples, on a grid of 1, 2 or 3 axes. A box at the end of an axis may be smaller.

    Attributes:
        factor: samples in a box, along each axis.
    """

    factor: Annotated[int, Field(ge=2)] = 4

    def observe(self, signal: Tensor, number: int) -> Mapped:
        """The averages; the estimate repeats them.

        Raises:
            PartinrError: the signal is smaller than a box, or has more than three axes.
        """
        grid = signal.shape[:-1]
        if not 1 <= len(grid) <= len(_POOLS) or min(grid) < self.factor:
            raise PartinrError(
                f"observe.factor={self.factor} averages boxes of 1, 2 or 3 axes, and the signal has "
                f"{'×'.join(map(str, grid))} samples; give a smaller factor"
            )
        small = self.averages(signal)
        estimate = small
        for axis, samples in enumerate(grid):
            estimate = estimate.repeat_interleave(self.factor, axis).narrow(axis, 0, samples)
        return Mapped(self.averages, small, estimate, small)

    def averages(self, values: Tensor) -> Tensor:
        """The averages of values: ``[*grid, C]`` to ``[*smaller grid, C]``."""
        pool = _POOLS[values.ndim - 2]
        planes = pool(values.movedim(-1, 0), self.factor, ceil_mode=True, count_include_pad=False)
        return planes.movedim(0, -1)
