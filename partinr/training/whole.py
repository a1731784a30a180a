"""All samples at once, for a loss that is no sum over samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from partinr.model.batch import RegionBatch
from partinr.model.computed import every
from partinr.model.stack import NetworkStack
from partinr.training.ranks import Ranks
from partinr.training.samples import Samples
from partinr.training.sampling import FullBatch
from partinr.training.shards import Shard

Error = Callable[[Tensor], Tensor]
"""Gives a loss from the values ``[M, C]`` of all samples, sorted by signal, each row-major."""


class Joint(FullBatch):
    """All samples in every step, and a loss by all of their values.

    Several processes divide the samples. Each evaluates its own and gets the values of the others, without their
    gradients; the sum of the gradients over the processes is that of the loss.

    Args:
        sizes: number of samples of each of the N networks.
        points: number of samples.
        error: the loss.
    """

    period = None

    def __init__(self, sizes: Sequence[int], points: int, error: Error) -> None:
        super().__init__(sizes, points)
        self._error = error
        self._of: tuple[Shard, list[Samples]] | None = None

    def samples(self, shard: Shard, step: int) -> list[Samples]:
        """All samples, as one piece."""
        if self._of is None or self._of[0] is not shard:
            ranks = Ranks(*shard.portion)
            rows = None if ranks.size == 1 else torch.arange(ranks.rank, len(shard.batch.order), ranks.size)
            piece = WholeSamples(
                coords=every(shard.coords) if rows is None else shard.coords[rows],
                sizes=shard.sizes if rows is None else shard.batch.count(rows),
                targets=shard.targets,
                weights=None,
                batch=shard.batch,
                rows=rows,
                ranks=ranks,
                error=self._error,
            )
            self._of = shard, [piece]
        return self._of[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class WholeSamples(Samples):
    """The rows of a batch that this process evaluates, with a loss by the values of all rows.

    Attributes:
        batch: the batch.
        rows: int64 ``[p]``, the rows of this process; None for all of them.
        ranks: the processes that evaluate the batch.
        error: see :class:`Joint`.
    """

    batch: RegionBatch
    rows: Tensor | None
    ranks: Ranks
    error: Error

    def squared_error(self, model: NetworkStack, params: Mapping[str, Tensor]) -> Tensor:
        """The loss times the number of samples and channels; with several processes this one's part of it."""
        values = model(self.coords, self.sizes, params).to(self.targets)
        if self.rows is not None:
            shape = len(self.batch.order), values.shape[1]
            own = values.new_zeros(shape).index_copy(0, self.rows.to(values.device), values)
            values = own + (self.ranks.whole(own.detach().clone()) - own.detach())
        error = self.error(self.batch.unsort(values)) * len(self.targets) * values.shape[1]
        # Every process has the gradient of its values by the whole loss, and a part of the loss that they sum up.
        return error - error.detach() * (1 - 1 / self.ranks.size)
