"""A live partition that every loop can follow, whatever the labels are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from partinr.partition import Change, Partition


@dataclass(frozen=True)
class Halving:
    """One more region after each evaluation: half of the samples of the one with the largest error."""

    limit: int

    def change(self, partition: Partition, error: Tensor, done: float) -> Change | None:
        if partition.regions == self.limit:
            return None
        labels = partition.labels.clone()
        totals = torch.zeros(partition.regions, dtype=torch.float64).index_add_(
            0, labels.reshape(-1), error.reshape(-1)
        )
        worst = int(totals.argmax())
        own = torch.nonzero(labels.reshape(-1) == worst).squeeze(1)
        labels.view(-1)[own[len(own) // 2 :]] = partition.regions
        return Change(labels, torch.tensor([*range(partition.regions), worst]))
