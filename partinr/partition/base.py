"""What a partition is, and what a rule that makes one is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from partinr.coords import nearest_samples
from partinr.errors import PartinrError
from partinr.spec import spec


@dataclass(frozen=True, eq=False)
class Partition:
    """A region for every sample of a signal's grid.

    Attributes:
        labels: int64 ``[*grid]`` (``[H, W]`` for an image), 0 … R-1, every number at least once. Given as any integer
            tensor; a copy is kept.

    Raises:
        PartinrError: no samples, not whole numbers, negative, or a number between 0 and the largest is missing.
    """

    labels: Tensor

    def __post_init__(self) -> None:
        labels = torch.as_tensor(self.labels)
        if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
            raise PartinrError(f"labels are {labels.dtype}; give whole numbers, one region number a sample")
        if labels.ndim == 0 or labels.numel() == 0:
            raise PartinrError(
                f"labels have the shape {list(labels.shape)}; give one label for each sample of the grid"
            )
        labels = labels.detach().to("cpu", torch.int64, copy=True).contiguous()
        if int(labels.min()) < 0:
            raise PartinrError(f"labels go down to {int(labels.min())}; number the regions from 0")
        # Among M samples a label of M or more means a gap below it, whatever it is: nothing larger need be counted.
        used = torch.bincount(labels.reshape(-1).clamp(max=labels.numel()))
        if int(used.min()) == 0:
            missing = int((used == 0).nonzero()[0, 0])
            raise PartinrError(
                f"labels go up to {int(labels.max())} but no sample has label {missing}; "
                "number the regions 0 … R-1 without a gap"
            )
        object.__setattr__(self, "labels", labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the grid, ``(H, W)`` for an image."""
        return tuple(self.labels.shape)

    @property
    def regions(self) -> int:
        """R, how many regions there are."""
        return int(self.labels.max()) + 1

    @property
    def sizes(self) -> Tensor:
        """int64 ``[R]``: samples in each region."""
        return torch.bincount(self.labels.reshape(-1))

    def labels_at(self, shape: Sequence[int]) -> Tensor:
        """The label map at another resolution: every new sample has the label of the sample whose cell holds it.

        Args:
            shape: the other grid's, as many axes as this one's.

        Returns:
            int64 ``[*shape]``; it may lack regions that no new sample falls into.
        """
        return self.labels.reshape(-1)[nearest_samples(self.shape, shape)].reshape(tuple(shape))


@spec
class PartitionRule(ABC):
    """A rule from a signal to a :class:`Partition`. A subclass is a spec and writes :meth:`labels`.

    Attributes:
        title: what a table calls the rule; the class's name in lower case if a subclass says nothing.
    """

    title: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "title" not in vars(cls):
            cls.title = cls.__name__.lower()

    @abstractmethod
    def labels(self, signal: Tensor) -> Tensor:
        """The region of each sample.

        Args:
            signal: float32 ``[*grid, C]`` in [0, 1].

        Returns:
            whole numbers ``[*grid]``, 0 … R-1 without a gap.

        Raises:
            PartinrError: the rule cannot be carried out on this signal.
        """

    def __call__(self, signal: Tensor) -> Partition:
        """Carry out the rule.

        Raises:
            PartinrError: it cannot be carried out, or what it gives is no partition of this signal.
        """
        labels = self.labels(signal)
        if tuple(labels.shape) != tuple(signal.shape[:-1]):
            raise PartinrError(
                f"{type(self).__name__} gave labels of shape {list(labels.shape)} for a grid of "
                f"{list(signal.shape[:-1])}; a rule gives one label a sample"
            )
        return Partition(labels)
