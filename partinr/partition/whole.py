"""No partition: the whole signal is one region."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from partinr.base.spec import spec
from partinr.partition.base import PartitionRule


@spec
class Whole(PartitionRule):
    """One region, one network: the baseline.

    Attributes:
        regions: 1, also as ``auto``.
    """

    title: ClassVar[str] = "none"
    free: ClassVar[bool] = True
    regions: Literal[1, "auto"] = 1

    def about(self, regions: int) -> PartitionRule:
        """One region, whatever would suit."""
        return Whole()

    def labels(self, signal: Tensor) -> Tensor:
        """All 0."""
        return torch.zeros(signal.shape[:-1], dtype=torch.int64)
