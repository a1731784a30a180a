"""Random regions, as a control: they follow neither the image nor space."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from partinr.base.spec import spec
from partinr.partition.base import DEFAULT_REGIONS, PartitionRule, Regions, fitting


@spec
class Random(PartitionRule):
    """Each sample in a random region; region sizes differ by at most one sample.

    Attributes:
        regions: the number of regions.
        seed: seed of the draw.
    """

    free: ClassVar[bool] = True
    regions: Regions = DEFAULT_REGIONS
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    def labels(self, signal: Tensor) -> Tensor:
        """A shuffled deck of labels.

        Raises:
            PartinrError: more regions than samples.
        """
        shape = signal.shape[:-1]
        regions = fitting(self.regions, shape)
        order = torch.randperm(math.prod(shape), generator=torch.Generator().manual_seed(self.seed))
        return (order % regions).reshape(shape)
