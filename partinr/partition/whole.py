"""No partition: the whole signal is one region."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from partinr.base.spec import spec
from partinr.partition.base import PartitionRule


@spec
class Whole(PartitionRule):
    """One region, one network: the baseline."""

    title: ClassVar[str] = "none"
    free: ClassVar[bool] = True

    def labels(self, signal: Tensor) -> Tensor:
        """All 0."""
        return torch.zeros(signal.shape[:-1], dtype=torch.int64)
