"""The stack of the networks that represent signals. One signal is a set of one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.model.batch import RegionBatch, region_batch
from partinr.model.frames import Frames
from partinr.model.stack import NetworkStack
from partinr.partition import Partition
from partinr.pictures.draw import to_uint8
from partinr.pictures.notebook import MOST, SIDE, Shown, card, draw_picture, label_picture, mosaic, shown
from partinr.signals.kind import SignalKind
from partinr.signals.kinds import kind_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        kinds: kind of each signal (:meth:`partinr.signals.kind.SignalKind.plain`); None for the kind that follows from
            the number of axes.
    """

    names: tuple[str, ...]
    partitions: tuple[Partition, ...]
    frames: tuple[Frames, ...]
    parameter_counts: list[int]
    kinds: tuple[Mapping[str, Any] | None, ...]

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

    @property
    def together(self) -> bool:
        """Whether networks share samples or parameters, so that none can be trained without the others."""
        return self.blended or self.coupled

    @property
    def coupled(self) -> bool:
        """Whether networks of a signal have more in common than their architecture."""
        return any(team.coupling.said for team in self.teams)

    @abstractmethod
    def architecture(self) -> dict[str, Any]:
        """What must be equal for one model to load the weights of another: plain containers."""

    @abstractmethod
    def member(self, number: int) -> PiecewiseINR:
        """The model of one signal, to render or save."""

    def kind(self, number: int) -> SignalKind:
        """The kind of a signal.

        Raises:
            PartinrError: it is of a package that is missing or not trusted.
        """
        return kind_of(self.kinds[number], len(self.partitions[number].shape))

    # -- for notebooks ------------------------------------------------------------------------------------------

    def pictures(self) -> list[Shown]:
        """Small pictures of the first fitted signals, for a notebook."""
        found = []
        for number, (name, partition) in enumerate(zip(self.names[:MOST], self.partitions, strict=False)):
            # Small, whatever the signal is.
            shrink = min(1.0, (SIDE**2 / partition.labels.numel()) ** (1 / len(partition.shape)))
            values = self.member(number).render(shape=[max(1, round(shrink * n)) for n in partition.shape])
            found.append(shown(name or "reconstruction", self.kind(number).picture(values)))
        return found

    @door
    def _repr_html_(self) -> str:
        narrowest, widest = (self.groups[end].backbone.hidden_features for end in (0, -1))
        facts = {
            "signals": None if self.names == ("",) else len(self.names),
            "grid": "×".join(map(str, self.partitions[0].shape)),
            "channels": self.channels,
            "regions": f"{self.regions:,}",
            "backbone": self.backbone.title,
            "width": widest if len(self.groups) == 1 else f"{narrowest} to {widest}",
            "parameters": f"{self.parameter_count:,}",
            "MACs a sample": f"{self.macs_per_sample:,}",
        }
        regions = shown("regions", label_picture(self.partitions[0].labels))
        return card(type(self).__name__, facts, [regions, *self.pictures()])

    def plot(self, scale: float = 1, ax: Axes | None = None, title: str = "") -> Axes:
        """Draw the fitted signals: an image, the middle slice of a volume, or several side by side.

        Args:
            scale: factor on the resolution.
            ax: axes of matplotlib to draw on; None for a new figure.
            title: title of the axes.

        Raises:
            PartinrError: the scale is out of range.
        """
        members = range(len(self.names))
        drawn = [to_uint8(self.kind(number).picture(self.member(number).render(scale))) for number in members]
        return draw_picture(mosaic([np.broadcast_to(each, (*each.shape[:2], 3)) for each in drawn]), ax, title)

    # -- batches ------------------------------------------------------------------------------------------------

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
