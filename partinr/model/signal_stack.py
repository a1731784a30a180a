"""The stack of the networks that represent signals. One signal is a set of one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.model.batch import RegionBatch, region_batch
from partinr.model.frames import Frames
from partinr.model.stack import NetworkStack
from partinr.partition import Partition

if TYPE_CHECKING:
    from partinr.model.inr import PiecewiseINR


@door
class SignalStack(NetworkStack):
    """Networks that represent the regions of one or more signals.

    Networks are numbered by signal, then by region.

    Attributes:
        names: name of each signal; a single signal has the empty name.
        partitions: partition of each signal.
        frames: frames of each signal's networks.
        parameter_counts: number of trained parameters of each signal.
    """

    names: tuple[str, ...]
    partitions: tuple[Partition, ...]
    frames: tuple[Frames, ...]
    parameter_counts: list[int]

    @property
    def regions(self) -> int:
        """Number of regions over all signals."""
        return sum(partition.regions for partition in self.partitions)

    @property
    def title(self) -> str:
        """What the networks represent, in a few words."""
        return "1 region" if self.regions == 1 else f"{self.regions:,} regions"

    @cached_property
    def macs_per_sample(self) -> int:
        """Multiply-accumulates per sample of all contributing networks, forward; mean over samples."""
        sizes = (own.sizes(partition) for own, partition in zip(self.frames, self.partitions, strict=True))
        return self.mean_macs(list(chain(*sizes)), sum(partition.labels.numel() for partition in self.partitions))

    @property
    def blended(self) -> bool:
        """Whether several networks contribute to a sample."""
        return not all(own.plain for own in self.frames)

    @abstractmethod
    def architecture(self) -> dict[str, Any]:
        """What must be equal for one model to load the weights of another: plain containers."""

    @abstractmethod
    def member(self, number: int) -> PiecewiseINR:
        """The model of one signal, to render or save."""

    def batch_of(self, signals: Sequence[Tensor]) -> RegionBatch:
        """The signals as one ragged region batch.

        Args:
            signals: float32 ``[*grid, C]`` each, in the order of the names.

        Raises:
            PartinrError: the number of signals, a grid or the channels differ from the model's.
        """
        if len(signals) != len(self.names):
            raise PartinrError(f"{len(signals)} signals for a model of {len(self.names)}; give one for each")
        for name, signal, partition in zip(self.names, signals, self.partitions, strict=True):
            which = f"{name}: " if name else ""
            if tuple(signal.shape[:-1]) != partition.shape:
                raise PartinrError(
                    f"{which}the signal lies on a grid of {list(signal.shape[:-1])}, the partition on one of "
                    f"{list(partition.shape)}; make the partition from this signal"
                )
            if signal.shape[-1] != self.channels:
                raise PartinrError(
                    f"{which}the signal has {signal.shape[-1]} channels, the model {self.channels}; "
                    f"give PiecewiseINR(…, channels={signal.shape[-1]})"
                )
        return region_batch(signals, self.partitions, self.frames, self.position)
