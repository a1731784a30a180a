"""Multiresolution hash encoding and a small ReLU network (Müller et al. 2022).

"Instant Neural Graphics Primitives with a Multiresolution Hash Encoding", section 3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import reduce
from itertools import accumulate, product
from operator import add, mul, xor
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from partinr.backbones.base import Mlp
from partinr.errors import PartinrError
from partinr.spec import spec
from partinr.stack.engine import Linear
from partinr.stack.kept import kept

NUMBER_BYTES = 40
"""What a number of a level takes, in Python and on the device."""

PRIMES = (1, 2_654_435_761, 805_459_861)
"""Of the spatial hash (equation 4), an axis each."""


@spec
class HashGrid(Mlp):
    """The first layer sees ``features`` numbers from each of ``levels`` grids over the frame, from coarse to fine.

    A level is a grid of N cells an axis, N growing geometrically (equations 2 and 3). Its corners have entries of a
    table, one each where there are as many (the coarse ones), and else the same for many, by a hash of the corner; a
    coordinate sees the entries at its cell's corners, interpolated. Each network has a table of its own. A
    small network cannot have the paper's (2^14 entries a level and more), so by default the table grows with the
    network: ``hidden_features^2`` entries a level, which is most of the parameters, as in the paper. Tables start
    uniform in ±1e-4, weights as Glorot's uniform initialisation, biases (which the paper leaves out) at 0; the output
    layer is linear. Depth, levels and features are the paper's.

    A grid covers the whole frame. In ``coords.frame=global`` a region's network uses the part that its region lies in,
    and the entries of the other parts are wasted; ``coords.frame=local`` suits it better.

    Attributes:
        levels: 1 or more.
        features: numbers in an entry, 1 or more.
        table_size: entries of a level, at most; null for ``hidden_features^2``.
        coarsest: cells an axis of the first level.
        finest: of the last one, not below ``coarsest``; about half the pixels of an axis.

    Raises:
        PartinrError: ``finest`` is below ``coarsest``.
    """

    title: ClassVar[str] = "hash_grid"
    products_only: ClassVar[bool] = False
    encoding: ClassVar[tuple[str, ...]] = ("table",)
    hidden_layers: Annotated[int, Field(ge=0)] = 1
    levels: Annotated[int, Field(ge=1, le=64)] = 16
    features: Annotated[int, Field(ge=1)] = 2
    table_size: Annotated[int, Field(ge=1)] | None = None
    coarsest: Annotated[int, Field(ge=1, le=2**20)] = 16
    finest: Annotated[int, Field(ge=1, le=2**20)] = 512

    def __post_init__(self) -> None:
        """Check what concerns two options."""
        super().__post_init__()
        if self.finest < self.coarsest:
            raise PartinrError(
                f"backbone.finest={self.finest} is below backbone.coarsest={self.coarsest}; give a larger one"
            )

    def resolutions(self) -> list[int]:
        """Cells an axis of each level."""
        growth = (self.finest / self.coarsest) ** (1 / max(1, self.levels - 1))
        # A level's number may come out a rounding error below a whole one.
        return [math.floor(self.coarsest * growth**level + 1e-6) for level in range(self.levels)]

    def entries(self, in_features: int) -> list[int]:
        """Entries of each level: one a corner, up to the size of a table."""
        assert self.hidden_features is not None, "call sized() first"
        most = self.hidden_features**2 if self.table_size is None else self.table_size
        return [min(most, (cells + 1) ** in_features) for cells in self.resolutions()]

    def encoded_features(self, in_features: int) -> int:
        """Those of all levels."""
        return self.levels * self.features

    def init_encoding(self, networks: int, in_features: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        """``table [N, entries, features]``, level by level.

        Raises:
            PartinrError: there are more axes than the hash has primes for.
        """
        if in_features > len(PRIMES):
            raise PartinrError(f"backbone=hash_grid is for up to {len(PRIMES)} axes, not {in_features}; choose another")
        table = torch.empty(networks, sum(self.entries(in_features)), self.features)
        return {"table": table.uniform_(-1e-4, 1e-4, generator=generator)}

    def encode(self, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        """``[..., n, d]`` to ``[..., n, levels · features]``."""
        table, axes = params["table"], x.shape[-1]
        # The tables of all networks as one, [k · entries, features].
        flat = table.reshape(-1, self.features)
        own = torch.arange(0, flat.shape[0], table.shape[-2], device=x.device).reshape(*table.shape[:-2], 1, 1)
        levels = zip(self.resolutions(), self.entries(axes), strict=True)
        hashed = [(cells + 1) ** axes > entries for cells, entries in levels]
        # The coarse levels have an entry for each corner, the fine ones do not: [..., n, levels, features] of each.
        parts = [
            self._look_up(flat, own, x, kind, [level for level, one in enumerate(hashed) if one == kind])
            for kind in (False, True)
            if kind in hashed
        ]
        return torch.cat(parts, dim=-2).flatten(-2)

    def _look_up(self, flat: Tensor, own: Tensor, x: Tensor, hashed: bool, levels: list[int]) -> Tensor:
        axes = x.shape[-1]
        entries, starts = self.entries(axes), [0, *accumulate(self.entries(axes))]
        cells, size, start = (
            _on_device(tuple(each[level] for level in levels), x.device)
            for each in (self.resolutions(), entries, starts)
        )
        start = own + start
        place = [one.unsqueeze(-1) * cells for one in ((x + 1) / 2).unbind(-1)]  # [..., n, levels], an axis each
        low = [one.floor().clamp(min=0).minimum(cells - 1) for one in place]
        # Beyond the frame the outermost cells go on.
        after = [one - corner for one, corner in zip(place, low, strict=True)]
        corners = [one.long() for one in low]
        values = []
        for high in product((0, 1), repeat=axes):
            at = [corner + more for corner, more in zip(corners, high, strict=True)]
            if hashed:
                index = reduce(xor, map(mul, at, PRIMES)) % size
            else:
                index = reduce(lambda number, one: number * (cells + 1) + one, at)
            share = reduce(mul, (one if more else 1 - one for one, more in zip(after, high, strict=True)))
            values.append(share.unsqueeze(-1) * F.embedding(start + index, flat))
        return reduce(add, values)

    def init_layer(self, layer: int, weight: Tensor, bias: Tensor, generator: torch.Generator | None) -> None:
        """Glorot's uniform initialisation (Glorot and Bengio 2010)."""
        bound = math.sqrt(6 / sum(weight.shape[-2:]))
        weight.uniform_(-bound, bound, generator=generator)
        bias.zero_()

    def activation(self, layer: int, x: Tensor, weight: Tensor, bias: Tensor, linear: Linear) -> Tensor:
        """``max(0, W x + b)``."""
        return torch.relu(linear(x, weight, bias))


@kept(lambda numbers: len(numbers) * NUMBER_BYTES)
@torch.inference_mode(False)
def _on_device(numbers: tuple[int, ...], device: torch.device) -> Tensor:
    """int64: copied there once, since a recorded step cannot copy."""
    return torch.tensor(numbers, device=device)
