"""A meta-batch: B tasks, each a signal with its partition, as one ragged batch for a stack of B·R networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.coords import Frame
from partinr.engines.base import Observations
from partinr.model.batch import region_batch
from partinr.model.frames import Frames
from partinr.partition import Partition

InnerLoss = Literal["region", "image"]


Context = Observations
"""The samples that the inner steps see; the weights are those of the inner objective."""


@door
@dataclass(eq=False)
class TaskBatch:
    """B tasks as one batch, sorted by task, then by region. Do not change it.

    The class is not frozen, because with ``trainer.precision=64-true`` Lightning copies it and sets fields of the copy.

    Attributes:
        coords: float32 ``[M, d]``.
        targets: float32 ``[M, C]`` in [0, 1].
        sizes: samples of each of the N networks, N = Σ R over the tasks.
        cell: int64 ``[N]``, the region of each network within its task; it selects the row of the initialisation.
        samples: number of samples of each task; B whole numbers that sum to M.
        regions: number of regions of each task; B whole numbers that sum to N.
        shapes: the grid of each task.
        order: int64 ``[M]``: sample ``i`` is sample ``order[i]`` of the concatenated tasks, each row-major.
        names: names of the tasks.
        indices: numbers of the tasks in their set.
    """

    coords: Tensor
    targets: Tensor
    sizes: tuple[int, ...]
    cell: Tensor
    samples: tuple[int, ...]
    regions: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    order: Tensor
    names: tuple[str, ...] = ()
    indices: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        signals: Sequence[Tensor],
        partitions: Sequence[Partition],
        frame: Frame,
        names: Sequence[str] = (),
        indices: Sequence[int] = (),
    ) -> TaskBatch:
        """The batch of some signals and their partitions.

        Args:
            signals: float32 ``[*grid, C]``, one per task.
            partitions: partition of each signal.
            frame: frame of the coordinates.
            names: names of the tasks, for pictures.
            indices: numbers of the tasks in their set.
        """
        batch = region_batch(signals, partitions, [Frames.of(each, frame) for each in partitions])
        return cls(
            batch.coords,
            batch.targets,
            batch.sizes,
            torch.cat([torch.arange(each.regions) for each in partitions]),
            tuple(signal.shape[:-1].numel() for signal in signals),
            tuple(each.regions for each in partitions),
            tuple(tuple(signal.shape[:-1]) for signal in signals),
            batch.order,
            tuple(names),
            tuple(indices),
        )

    @property
    def tasks(self) -> int:
        """Number of tasks, B."""
        return len(self.samples)

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> TaskBatch:
        """The batch on another device, or in another precision."""
        return replace(
            self,
            coords=self.coords.to(device, dtype),
            targets=self.targets.to(device, dtype),
            cell=self.cell.to(device),
            order=self.order.to(device),
        )

    def weights(self, tasks: int | None = None) -> Tensor:
        """The weight of each sample in the outer objective, float ``[M, 1]``.

        The objective is the mean over tasks of each task's mean squared error over samples and channels. A task's
        weight therefore does not depend on the regions or pixels of other tasks in the batch.

        Args:
            tasks: number of tasks of the whole meta-batch; None if this batch is the whole. A process with a part of
                the batch gives the number of all tasks, so that the parts sum to the objective.
        """
        channels, among = self.targets.shape[1], tasks or self.tasks
        return self._spread([1 / (among * each * channels) for each in self.samples], self.samples)

    def context(self, loss: InnerLoss, fraction: float = 1.0, seeds: Sequence[int] = ()) -> Context:
        """The samples that each task is adapted to, and their weights.

        Args:
            loss: ``region``: each network minimises the mean over its own samples, like a single network on its image,
                whatever the other regions are. ``image``: its part of the mean over the whole image, so that a smaller
                region has a smaller gradient.
            fraction: fraction of each task's samples, in (0, 1].
            seeds: seeds for drawing samples, one per task; not needed if all samples are used.
        """
        if fraction == 1.0:
            coords, targets, sizes, samples = self.coords, self.targets, self.sizes, self.samples
        else:
            chosen, start = [], 0
            for count, seed in zip(self.samples, seeds, strict=True):
                generator = torch.Generator().manual_seed(seed)
                kept = torch.randperm(count, generator=generator)[: max(1, round(fraction * count))]
                chosen.append(start + kept.sort().values)
                start += count
            at = torch.cat(chosen)
            network = torch.repeat_interleave(torch.arange(len(self.sizes)), torch.tensor(self.sizes))
            sizes = tuple(torch.bincount(network[at], minlength=len(self.sizes)).tolist())
            samples = tuple(len(each) for each in chosen)
            at = at.to(self.coords.device)
            coords, targets = self.coords[at], self.targets[at]
        channels = targets.shape[1]
        if loss == "region":
            # A region without samples stays unchanged; clamping avoids a division by 0.
            weights = self._spread([1 / (max(1, each) * channels) for each in sizes], sizes)
        else:
            weights = self._spread([1 / (each * channels) for each in samples], samples)
        return Context(coords, targets, sizes, weights)

    def squared_errors(self, values: Tensor) -> Tensor:
        """Mean squared error of each task, values clamped to [0, 1]: float64 ``[B]``, on the CPU."""
        # On the CPU, since not every device has double precision.
        error = (values.float().clamp(0, 1) - self.targets.float()).square().mean(1).cpu().double()
        return torch.stack([part.mean() for part in error.split(self.samples)])

    def images(self, values: Tensor) -> list[Tensor]:
        """Values ``[M, C]`` as signals ``[*grid, C]``, one per task."""
        unsorted = torch.empty_like(values)
        unsorted[self.order] = values
        parts = unsorted.split(self.samples)
        return [part.reshape(*shape, -1) for part, shape in zip(parts, self.shapes, strict=True)]

    def _spread(self, values: Sequence[float], counts: Sequence[int]) -> Tensor:
        like = self.coords
        spread = torch.repeat_interleave(torch.tensor(values, dtype=torch.float64), torch.tensor(counts))
        return spread.to(like.device, like.dtype).unsqueeze(1)
