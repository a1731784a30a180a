"""The control: regions that know nothing of the image, nor of each other's place."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import spec
from partinr.partition.base import DEFAULT_REGIONS, PartitionRule


@spec
class Random(PartitionRule):
    """Every sample in a region drawn by lot, all regions of the same size (they differ by one sample at most).

    Attributes:
        regions: how many.
        seed: of the lot.
    """

    free: ClassVar[bool] = True
    regions: Annotated[int, Field(ge=1)] = DEFAULT_REGIONS
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0

    def labels(self, signal: Tensor) -> Tensor:
        """A shuffled deck of labels.

        Raises:
            PartinrError: more regions than samples.
        """
        shape = signal.shape[:-1]
        samples = math.prod(shape)
        if self.regions > samples:
            raise PartinrError(
                f"partition.regions={self.regions} is more than the {samples} samples of the signal; give fewer"
            )
        order = torch.randperm(samples, generator=torch.Generator().manual_seed(self.seed))
        return (order % self.regions).reshape(shape)
