"""The contract of live partitions: their labels change while the networks are trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.partition.base import Partition


@dataclass(frozen=True, eq=False)
class Change:
    """New labels of a signal, and the region whose network each new region begins with.

    Attributes:
        labels: as of :class:`~partinr.partition.Partition`, R' regions.
        parents: int64 ``[R']``, the parent of each: a region before the change. Several may have the same parent, which
            is then divided, and a region that is nobody's parent is given up.
    """

    labels: Tensor
    parents: Tensor

    def of(self, before: Partition, limit: int) -> Partition:
        """The new partition.

        Args:
            before: the partition until now.
            limit: the largest number of regions.

        Raises:
            PartinrError: the labels are no partition of the same grid, are too many, or have other parents.
        """
        after = Partition(self.labels, seconds=before.seconds)
        if after.shape != before.shape or after.regions > limit:
            raise PartinrError(
                f"a live partition gave {after.regions} regions on a grid of {list(after.shape)}; "
                f"give at most {limit} on the signal's, {list(before.shape)}"
            )
        parents = self.parents
        if len(parents) != after.regions or not bool(((parents >= 0) & (parents < before.regions)).all()):
            raise PartinrError(
                f"a live partition gave parents of {len(parents)} regions for {after.regions}; "
                f"give one for each, 0 to {before.regions - 1}"
            )
        return after

    def same(self, before: Partition) -> Tensor:
        """Which regions have the samples of their parents, no more and no fewer: bool ``[R']``."""
        flat, old = self.labels.reshape(-1), before.labels.reshape(-1)
        sizes = torch.bincount(flat, minlength=len(self.parents))
        kept = torch.bincount(flat[self.parents[flat] == old], minlength=len(self.parents))
        return (kept == sizes) & (sizes == before.sizes[self.parents])


class Live(Protocol):
    """How a partition changes during training; a rule gives it as its ``live``.

    After each evaluation the loop asks for a :class:`Change`. It then makes the stack anew: a network begins with the
    weights and the state of the optimiser of its parent. In a local frame the change of coordinates is folded into the
    first layer, so that a divided region keeps its values. A region that keeps its samples stays finished. The answer
    must follow from the arguments alone, since a resumed run and each of several processes ask the same.

    Attributes:
        limit: the largest number of regions. All networks have the width for which so many have the parameters of
            ``backbone.match_params``.
    """

    @property
    def limit(self) -> int:
        """The largest number of regions."""

    def change(self, partition: Partition, error: Tensor, done: float) -> Change | None:
        """New labels, or None to keep these.

        Args:
            partition: the present one.
            error: float64 ``[*grid]`` on the CPU, squared error of each sample, mean over channels.
            done: how much of the run is over, 0 … 1.
        """
