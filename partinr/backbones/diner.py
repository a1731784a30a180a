"""DINER (Xie et al., "DINER: Disorder-Invariant Implicit Neural Representation", CVPR 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from partinr.backbones.siren import Sines
from partinr.base.spec import spec
from partinr.engines.base import Linear


@spec
class Diner(Sines):
    """A small SIREN whose input is a learned coordinate for each sample, from a table (section 3.2).

    The frame is divided into ``cells`` along each axis, and each cell has its own entry. With at least as many cells as
    the region has samples along its longest axis, each sample has an entry of its own, as in the paper. With fewer
    cells, neighbours share one. The entries of cells without a sample are never trained, so ``coords.frame=local``
    suits several regions.

    There is nothing between the samples, where cells may have entries that were never trained: a fit is rendered at its
    own samples only. Derivatives by the coordinates are 0.

    The table starts uniform in ±1e-4, and sines start as SIREN's do. Depth, omega and two learned coordinates are the
    paper's; its network is 64 wide. The table counts as parameters, two numbers for each cell. The output layer is
    linear; the authors' code also limits it to ±1.

    Attributes:
        cells: cells along each axis of the frame, 1 or more; null for as many as hidden features.
        coordinates: numbers in an entry, 1 or more.
    """

    frequency: ClassVar[None] = None  # learned coordinates have no frequencies of the signal
    between: ClassVar[bool] = False
    encoding: ClassVar[tuple[str, ...]] = ("table",)
    hidden_layers: Annotated[int, Field(ge=0)] = 2
    cells: Annotated[int, Field(ge=1, le=2**20)] | None = None
    coordinates: Annotated[int, Field(ge=1)] = 2

    def cells_an_axis(self) -> int:
        """Cells along each axis of the frame."""
        assert self.hidden_features is not None, "call sized() first"
        return self.hidden_features if self.cells is None else self.cells

    def encoded_features(self, in_features: int) -> int:
        """The learned coordinates."""
        return self.coordinates

    def init_encoding(self, networks: int, in_features: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        """``table [N, cells^d, coordinates]``, row-major."""
        table = torch.empty(networks, self.cells_an_axis() ** in_features, self.coordinates)
        return {"table": table.uniform_(-1e-4, 1e-4, generator=generator)}

    def encode(self, params: Mapping[str, Tensor], x: Tensor, linear: Linear) -> Tensor:
        """The entries of the cells in which coordinates lie; those beyond the frame get the nearest cell's."""
        table, cells = params["table"], self.cells_an_axis()
        at = ((x + 1) / 2 * cells).long().clamp(0, cells - 1)
        number = at[..., 0]
        for axis in range(1, x.shape[-1]):
            number = number * cells + at[..., axis]
        # The tables of all networks as one, [k · entries, coordinates].
        flat = table.reshape(-1, self.coordinates)
        own = torch.arange(0, flat.shape[0], table.shape[-2], device=x.device).reshape(*table.shape[:-2], 1)
        return F.embedding(own + number, flat)
