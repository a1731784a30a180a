"""Multiresolution hash encoding and a small ReLU network (Müller et al. 2022).

"Instant Neural Graphics Primitives with a Multiresolution Hash Encoding", section 3 and appendix A. Grids and tables
have the layout of the authors' library tiny-cuda-nn, in which the same numbers give the same function.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache, reduce
from itertools import accumulate, product
from operator import add, mul, xor
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from partinr.backbones.base import Mlp
from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.engines.base import Linear
from partinr.engines.cache import kept

NUMBER_BYTES = 40
"""Cache for a number of each level, in Python and on the device."""

PRIMES = (1, 2_654_435_761, 805_459_861)
"""Factors of the spatial hash (equation 4), one for each axis."""

ALIGNED = 8
"""The number of entries of a level without a hash is a multiple of this."""

BELOW = 2e-6
"""Relative reduction of the growth of grids from level to level. The number of corners is rounded up, and rounding
errors must not push a whole number above itself on one device and below it on another."""


@spec
class HashGrid(Mlp):
    """The first layer's input is ``features`` numbers from each of ``levels`` grids over the frame, coarse to fine.

    A level is a grid of N corners per axis, and N grows geometrically (equations 2 and 3). On coarse levels each corner
    has its own table entry; on fine levels a hash assigns one entry to many corners. A coordinate gets the interpolated
    entries of its cell's corners. A grid begins half a cell before the frame, so that corners of several levels do not
    coincide (appendix A). Its N corners end half a cell before the end of the frame; there, on a level without a hash,
    the first entry of the next row serves as the next corner. Coordinates beyond the frame are clamped to it.

    Each network has its own tables. A small network cannot afford the paper's tables (2^14 entries per level and more),
    so by default they grow with the network: ``hidden_features^2`` entries per level, most of the parameters, as in the
    paper. Tables start uniform in ±1e-4, weights with Glorot's uniform initialisation, biases (which the paper leaves
    out) at 0. The output layer is linear. Depth, levels and features are the paper's.

    A grid covers the whole frame. With ``coords.frame=global`` a region's network uses only the part of the grid where
    its region lies and wastes the other entries; ``coords.frame=local`` suits it better.

    Attributes:
        levels: number of grids, 1 or more.
        features: numbers in an entry, 1 or more.
        table_size: maximal number of entries of a level; null for ``hidden_features^2``.
        coarsest: corners per axis of the first level, 2 or more.
        finest: corners per axis of the last level, at least ``coarsest``; about half the pixels of an axis.

    Raises:
        PartinrError: ``finest`` is below ``coarsest``.
    """

    title: ClassVar[str] = "hash_grid"
    encoding: ClassVar[tuple[str, ...]] = ("tables",)
    hidden_layers: Annotated[int, Field(ge=0)] = 1
    levels: Annotated[int, Field(ge=1, le=64)] = 16
    features: Annotated[int, Field(ge=1)] = 2
    table_size: Annotated[int, Field(ge=1)] | None = None
    coarsest: Annotated[int, Field(ge=2, le=2**20)] = 16
    finest: Annotated[int, Field(ge=2, le=2**20)] = 512

    def __post_init__(self) -> None:
        """Check that ``finest`` is at least ``coarsest``."""
        super().__post_init__()
        if self.finest < self.coarsest:
            raise PartinrError(
                f"backbone.finest={self.finest} is below backbone.coarsest={self.coarsest}; give a larger one"
            )

    @property
    def growth(self) -> float:
        """The factor from one level's corners to the next's."""
        return float((self.finest / self.coarsest) ** (1 / max(1, self.levels - 1)) * (1 - BELOW))

    def scales(self) -> tuple[float, ...]:
        """The width of the frame at each level, in cells."""
        return _scales(self.levels, self.coarsest, self.growth)

    def corners(self) -> list[int]:
        """Corners per axis of each level."""
        return [math.ceil(scale) + 1 for scale in self.scales()]

    def most_entries(self) -> int:
        """The maximal number of entries of a level."""
        assert self.hidden_features is not None, "call sized() first"
        return self.hidden_features**2 if self.table_size is None else self.table_size

    def entries(self, in_features: int) -> list[int]:
        """Entries of each level: one per corner, up to the size of a table."""
        filled = [-(-(corners**in_features) // ALIGNED) * ALIGNED for corners in self.corners()]
        return [min(self.most_entries(), entries) for entries in filled]

    def encoded_features(self, in_features: int) -> int:
        """The features of all levels."""
        return self.levels * self.features

    def init_encoding(self, networks: int, in_features: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        """``tables [N, entries, features]``, level by level.

        Raises:
            PartinrError: there are more axes than the hash has primes for.
        """
        if in_features > len(PRIMES):
            raise PartinrError(f"backbone=hash_grid is for up to {len(PRIMES)} axes, not {in_features}; choose another")
        tables = torch.empty(networks, sum(self.entries(in_features)), self.features)
        return {"tables": tables.uniform_(-1e-4, 1e-4, generator=generator)}

    def encode(self, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        """``[..., n, d]`` to ``[..., n, levels · features]``."""
        tables, axes = params["tables"], x.shape[-1]
        # The tables of all networks as one table, [k · entries, features].
        flat = tables.reshape(-1, self.features)
        own = torch.arange(0, flat.shape[0], tables.shape[-2], device=x.device).reshape(*tables.shape[:-2], 1, 1)
        within = ((x + 1) / 2).clamp(0, 1)
        levels = zip(self.corners(), self.entries(axes), strict=True)
        hashed = [corners**axes > entries for corners, entries in levels]
        # Only coarse levels have an entry for each corner: [..., n, levels, features] for both kinds of levels.
        parts = [
            self._look_up(flat, own, within, kind, [level for level, one in enumerate(hashed) if one == kind])
            for kind in (False, True)
            if kind in hashed
        ]
        return torch.cat(parts, dim=-2).flatten(-2)

    def _look_up(self, flat: Tensor, own: Tensor, x: Tensor, hashed: bool, levels: list[int]) -> Tensor:
        axes = x.shape[-1]
        entries, starts = self.entries(axes), [0, *accumulate(self.entries(axes))]
        scale, corners, size, start = (
            _on_device(tuple(each[level] for level in levels), dtype, x.device)
            for each, dtype in (
                (self.scales(), torch.float32),
                (self.corners(), torch.int64),
                (entries, torch.int64),
                (starts, torch.int64),
            )
        )
        start = own + start
        place = [one.unsqueeze(-1) * scale + 0.5 for one in x.unbind(-1)]  # [..., n, levels], an axis each
        low = [one.floor() for one in place]
        after = [one - corner for one, corner in zip(place, low, strict=True)]
        lowest = [one.long() for one in low]
        values = []
        for high in product((0, 1), repeat=axes):
            at = [corner + more for corner, more in zip(lowest, high, strict=True)]
            if hashed:
                index = reduce(xor, map(mul, at, PRIMES))
            else:  # the first axis runs fastest
                index = reduce(lambda number, one: number * corners + one, reversed(at))
            share = reduce(mul, (one if more else 1 - one for one, more in zip(after, high, strict=True)))
            values.append(share.unsqueeze(-1) * F.embedding(start + index % size, flat))
        return reduce(add, values)

    def init_layer(self, layer: int, weight: Tensor, bias: Tensor, generator: torch.Generator | None) -> None:
        """Glorot's uniform initialisation (Glorot and Bengio 2010)."""
        bound = math.sqrt(6 / sum(weight.shape[-2:]))
        weight.uniform_(-bound, bound, generator=generator)
        bias.zero_()

    def activation(self, layer: int, x: Tensor, weight: Tensor, bias: Tensor, linear: Linear) -> Tensor:
        """``max(0, W x + b)``."""
        return torch.relu(linear(x, weight, bias))


@lru_cache(maxsize=64)
def _scales(levels: int, coarsest: int, growth: float) -> tuple[float, ...]:
    """Scales in single precision throughout, since double precision may give other numbers of corners."""
    single = np.float32
    rate = single(math.log2(single(growth)))
    factors = [single(math.exp2(single(level) * rate)) for level in range(levels)]
    return tuple(float(factor * single(coarsest) - single(1)) for factor in factors)


@kept(lambda numbers: len(numbers) * NUMBER_BYTES)
@door
def _on_device(numbers: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """The numbers on the device, copied once, since a recorded step cannot copy."""
    return torch.tensor(numbers, dtype=dtype, device=device)
