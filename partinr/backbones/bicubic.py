"""A grid of numbers with cubic interpolation: no network, and the baseline that one has to beat at equal parameters.

Kim and Fridovich-Keil, "Grids Often Outperform Implicit Neural Representations at Compressing Dense Signals" (2025).
The interpolation is by uniform cubic B-splines (Unser, "Splines: A Perfect Fit for Signal and Image Processing", 1999):
they span all cubic splines on the grid, those of Catmull and Rom's interpolation fit an image 0.5 dB worse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, Strict
from torch import Tensor

from partinr.backbones.base import Backbone, all_digits
from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.engines.base import Linear

TAPS = 4
"""Coefficients along an axis that a value depends on."""


_Side = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@spec
class Bicubic(Backbone):
    """A value is the sum of the cubic B-splines on a grid of coefficients, on any number of axes.

    The grid covers the frame as samples do: its outermost coefficients lie half a cell inside. Beyond them they
    continue as constants. One parameter is one coefficient of one channel, so a grid with as many as samples holds
    every value. It needs ``coords.frame=local``: in the global frame a region's grid covers the whole signal.

    Coefficients start uniform in ±1e-4. The fit is a linear least-squares problem; a rate of 1e-1 suits Adam.

    Attributes:
        hidden_features: sum of the grid's sides along all axes; null for the one that ``match_params`` gives.
        aspect: relative sides along the axes, such as ``[2, 3]`` for a region of 200×300 pixels; null for equal ones.

    Raises:
        PartinrError: a side of ``aspect`` is not above 0.
    """

    title: ClassVar[str] = "bicubic"
    aspect: Annotated[tuple[_Side, ...], Field(min_length=1), Strict(False)] | None = None

    def sides(self, axes: int) -> tuple[int, ...]:
        """Coefficients along each axis; the sides grow in turns, so that sizes are close to each other.

        Raises:
            PartinrError: ``aspect`` is for another number of axes.
        """
        assert self.hidden_features is not None, "call sized() first"
        aspect = self.aspect or (1.0,) * axes
        if len(aspect) != axes:
            raise PartinrError(
                f"backbone.aspect={list(aspect)} is for {len(aspect)} axes; give {axes} numbers, one for each, or null"
            )
        shares = (self.hidden_features * one / sum(aspect) + turn / axes for turn, one in enumerate(aspect))
        # Whole numbers that a rounding error puts below themselves.
        return tuple(max(1, math.floor(share + 1e-9)) for share in shares)

    def init(
        self, networks: int, in_features: int, out_features: int, generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """``coefficients [N, nodes, c]``, the last axis of the grid fastest."""
        coefficients = torch.empty(networks, math.prod(self.sides(in_features)), out_features)
        return {"coefficients": coefficients.uniform_(-1e-4, 1e-4, generator=generator)}

    def apply(self, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        """Values, see :meth:`Backbone.apply`."""
        table = params["coefficients"]
        with all_digits(x):
            index, weight = x.new_zeros((*x.shape[:-1], 1), dtype=torch.int64), x.new_ones((*x.shape[:-1], 1))
            for one, side in zip(x.unbind(-1), self.sides(x.shape[-1]), strict=True):
                at, share = _taps(one, side)
                index = (index.unsqueeze(-1) * side + at.unsqueeze(-2)).flatten(-2)
                weight = (weight.unsqueeze(-1) * share.unsqueeze(-2)).flatten(-2)
            # The grids of all networks as one table, [k · nodes, c].
            flat = table.reshape(-1, table.shape[-1])
            own = torch.arange(0, flat.shape[0], table.shape[-2], device=x.device).reshape(*table.shape[:-2], 1, 1)
            found = F.embedding(own + index, flat)  # [..., n, 4^d, c]
            return (weight.to(flat.dtype).unsqueeze(-2) @ found).squeeze(-2)

    def macs(self, in_features: int, out_features: int) -> int:
        """Products with the coefficients, without the splines' own."""
        return TAPS**in_features * out_features


def _taps(x: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Places ``[..., n, 4]`` along an axis of ``side`` coefficients, and the B-splines' values there."""
    place = (x + 1) * (side / 2) - 0.5
    low = place.floor()
    t = place - low
    rest = 1 - t
    # The pieces of the cubic B-spline from left to right (Unser 1999, equation 8).
    weight = torch.stack(
        [rest**3 / 6, 2 / 3 - t**2 * (2 - t) / 2, 2 / 3 - rest**2 * (1 + t) / 2, t**3 / 6],
        dim=-1,
    )
    at = low.long().unsqueeze(-1) + torch.arange(-1, TAPS - 1, device=x.device)
    return at.clamp(0, side - 1), weight
