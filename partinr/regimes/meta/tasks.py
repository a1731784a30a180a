"""A meta-batch: B tasks, each a signal with its partition, as one ragged batch for a stack of B·R networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.coords import Frame
from partinr.model.batch import region_batch
from partinr.model.frames import Frames
from partinr.partition import Partition

InnerLoss = Literal["region", "image"]


@dataclass(frozen=True)
class Context:
    """The samples that the inner steps see.

    Attributes:
        coords: float32 ``[K, d]``, sorted by network.
        targets: float32 ``[K, C]``.
        sizes: how many each of the N networks has.
        weights: float32 ``[K, 1]``, of each squared error in the inner objective.
    """

    coords: Tensor
    targets: Tensor
    sizes: tuple[int, ...]
    weights: Tensor


@door
@dataclass(eq=False)
class TaskBatch:
    """B tasks as one batch, sorted by task, then by region; not to be changed.

    Not frozen: with ``trainer.precision=64-true`` Lightning copies it and sets the fields of the copy.

    Attributes:
        coords: float32 ``[M, d]``.
        targets: float32 ``[M, C]`` in [0, 1].
        sizes: samples of each of the N networks, N = Σ R over the tasks.
        cell: int64 ``[N]``, the region of each network within its task; it selects the row of the initialisation.
        samples: of each task; B whole numbers that sum to M.
        regions: of each task; B whole numbers that sum to N.
        shapes: the grid of each task.
        order: int64 ``[M]``: sample ``i`` is sample ``order[i]`` of the tasks one after the other, each row-major.
        names: of the tasks.
        indices: of the tasks in their set.
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
        """Put tasks together.

        Args:
            signals: float32 ``[*grid, C]`` each, one a task.
            partitions: of each signal.
            frame: of the coordinates.
            names: of the tasks, for pictures.
            indices: of the tasks in their set.
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

        The objective is the mean over tasks of each task's own mean squared error over samples and channels, so a task
        weighs the same whatever is in the batch beside it, and however many regions or pixels the others have.

        Args:
            tasks: of the whole meta-batch; None where this is all of it. A process that has a part of the batch gives
                the number of all, so that its part and the others' sum to the objective.
        """
        channels, among = self.targets.shape[1], tasks or self.tasks
        return self._spread([1 / (among * each * channels) for each in self.samples], self.samples)

    def context(self, loss: InnerLoss, fraction: float = 1.0, seeds: Sequence[int] = ()) -> Context:
        """The samples that each task is adapted to, and what they count.

        Args:
            loss: ``region``: each network descends on the mean over its own samples, as a lone network does on its
                image, whatever the other regions are. ``image``: on its part of the mean over the whole image, so that
                the gradient of a region is the smaller, the smaller the region.
            fraction: of each task's samples, in (0, 1].
            seeds: of the choice, one a task; not needed where all are taken.
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
            # A region without a sample has nothing to divide, and stays as it is.
            weights = self._spread([1 / (max(1, each) * channels) for each in sizes], sizes)
        else:
            weights = self._spread([1 / (each * channels) for each in samples], samples)
        return Context(coords, targets, sizes, weights)

    def squared_errors(self, values: Tensor) -> Tensor:
        """Mean squared error of each task, values clamped to [0, 1]: float64 ``[B]``, on the CPU."""
        # There: not every device has double precision.
        error = (values.float().clamp(0, 1) - self.targets.float()).square().mean(1).cpu().double()
        return torch.stack([part.mean() for part in error.split(self.samples)])

    def images(self, values: Tensor) -> list[Tensor]:
        """Values ``[M, C]`` as signals ``[*grid, C]``, one a task."""
        unsorted = torch.empty_like(values)
        unsorted[self.order] = values
        parts = unsorted.split(self.samples)
        return [part.reshape(*shape, -1) for part, shape in zip(parts, self.shapes, strict=True)]

    def _spread(self, values: Sequence[float], counts: Sequence[int]) -> Tensor:
        like = self.coords
        spread = torch.repeat_interleave(torch.tensor(values, dtype=torch.float64), torch.tensor(counts))
        return spread.to(like.device, like.dtype).unsqueeze(1)
