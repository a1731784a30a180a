"""Base class of the rules that cut a signal along its first axis, time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.base.rectangles import divided, samples
from partinr.base.spec import spec
from partinr.partition.base import Partition, PartitionRule, Regions, fitting


@spec
class Cuts(PartitionRule):
    """Regions between cuts along the first axis. A subclass is a spec and writes :meth:`cuts`.

    Attributes:
        regions: the exact number: of more cuts the strongest are used, and with fewer the parts between them are
            divided further into intervals or boxes of about equal size. None for a region between any two cuts;
            ``auto``: as many as suit the number of parameters.
    """

    regions: Regions | None = None

    @abstractmethod
    def cuts(self, values: NDArray[np.float32]) -> Sequence[tuple[float, int]]:
        """The strength of each cut, and the first sample behind it.

        Args:
            values: ``[*grid, C]`` in [0, 1].
        """

    def labels(self, signal: Tensor) -> Tensor:
        """The parts between the cuts.

        Raises:
            PartinrError: more regions than samples.
        """
        shape = signal.shape[:-1]
        number = None if self.regions is None else fitting(self.regions, shape)
        found = sorted(self.cuts(signal.detach().cpu().float().numpy()), key=lambda cut: (-cut[0], cut[1]))
        places = sorted({place for _, place in found[: None if number is None else number - 1]})
        parts = [(each, *((0, n) for n in shape[1:])) for each in pairwise([0, *places, shape[0]])]
        labels = torch.empty(shape, dtype=torch.int64)
        for region, box in enumerate(divided(parts, len(parts) if number is None else number)):
            labels[samples(box)] = region
        return labels

    def check(self, partition: Partition) -> Partition:
        """The partition, with a notice if there is no cut."""
        if partition.regions > 1 or self.regions is not None:
            return partition
        said = (
            f"partition={self.title} finds no cut in this signal, so there is one region; give a lower "
            "partition.threshold, or partition.regions"
        )
        return replace(partition, notice=said)
