"""Trials of a study of steps, and the points that they learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.coords import region_frames
from partinr.partition import Partition
from partinr.signals import EdgedImage, StepSignal

_INIT, _POINTS = 1, 2
"""What a trial draws: the last of the numbers that seed a draw."""


@door
@dataclass(frozen=True, eq=False)
class Trial:
    """One fit of a signal.

    Attributes:
        signal_name: name of the signal, unique in a run.
        signal: the signal to fit; a run has either step functions or images.
        draw: number of a step function among those with the same number of borders.
        network: number of the trial among those of its signal.
        seed: differs between signals and runs; all random numbers of the trial follow from it and ``network``.
    """

    signal_name: str
    signal: StepSignal | EdgedImage
    draw: int
    network: int
    seed: tuple[int, ...]

    @property
    def name(self) -> str:
        """The name of the trial, unique in a run."""
        return f"{self.signal_name}-{self.network}"

    @property
    def init_seed(self) -> int:
        """Seed of the networks' initialisation."""
        return int(self._words(_INIT)[0] >> 1)  # below 2^63

    @property
    def key(self) -> NDArray[np.uint64]:
        """Key of the generator of its points: ``[2]``."""
        return self._words(_POINTS)

    def _words(self, purpose: int) -> NDArray[np.uint64]:
        words = np.random.SeedSequence([*self.seed, self.network, purpose]).generate_state(2, np.uint64)
        return np.asarray(words, dtype=np.uint64)


@door
class Points:
    """Draws the points of each step, which follow from the trial and the step alone.

    Args:
        trials: all trials.
        partition: the partition of every trial, into rectangles: equal parts along each axis, or one region.
        count: points per trial.

    Raises:
        PartinrError: a region is not a rectangle or gets no point, or the trials are images.
    """

    def __init__(self, trials: Sequence[Trial], partition: Partition, count: int) -> None:
        signals = [trial.signal for trial in trials if isinstance(trial.signal, StepSignal)]
        if len(signals) < len(trials):
            raise PartinrError(
                f"regime.points_per_step={count} are drawn anywhere in a step function, and images have no values "
                "between their pixels; give regime.points_per_step=null"
            )
        axes = partition.labels.ndim
        centre, half = region_frames(partition.labels, partition.regions)
        share = half.prod(1)  # fraction of the domain, if all regions are rectangles
        if abs(float(share.sum()) - 1) > 1e-9:
            raise PartinrError("points are drawn in rectangles; choose partition=none or partition=grid")
        ends = (share.cumsum(0) * count).round().long()
        self.sizes = torch.diff(ends, prepend=torch.zeros(1, dtype=torch.int64))
        if int(self.sizes.min()) < 1:
            raise PartinrError(
                f"regime.points_per_step={count} are too few for {partition.regions} regions; give more of them, "
                "or fewer regions"
            )
        self.count = count
        self._keys = [trial.key for trial in trials]
        self._centre = centre.float().repeat_interleave(self.sizes, 0)  # [count, d]
        self._half = half.float().repeat_interleave(self.sizes, 0)
        # For each axis the borders of all trials, padded with infinity: float32 [trials, largest number of borders].
        self._borders = [
            torch.nn.utils.rnn.pad_sequence(
                [signal.borders[axis] for signal in signals], batch_first=True, padding_value=float("inf")
            )
            for axis in range(axes)
        ]
        self._first = torch.tensor([signal.first for signal in signals])
        self._bits = np.random.Philox(key=0)
        self._generator = np.random.Generator(self._bits)

    def draw(self, trials: Sequence[int], step: int) -> tuple[Tensor, Tensor, Tensor]:
        """The points of the given trials at one step.

        Args:
            trials: numbers of n trials.
            step: from 0 on.

        Returns:
            local coordinates and global coordinates, float32 ``[n, count, d]`` each, sorted by region; and the values
            there, ``[n, count, 1]``.
        """
        drawn = np.empty((len(trials), *self._centre.shape), dtype=np.float32)
        for row, trial in zip(drawn, trials, strict=True):
            # A counter-based generator can jump to any position of any trial's sequence.
            self._bits.state = {
                "bit_generator": "Philox",
                "state": {"counter": np.array([0, 0, step, 0], dtype=np.uint64), "key": self._keys[trial]},
                "buffer": np.zeros(4, dtype=np.uint64),
                "buffer_pos": 4,
                "has_uint32": 0,
                "uinteger": 0,
            }
            self._generator.random(out=row, dtype=np.float32)
        local = torch.from_numpy(drawn).mul_(2).sub_(1)
        whole = torch.addcmul(self._centre, self._half, local)
        at = torch.as_tensor(trials)
        passed = torch.zeros(whole.shape[:2], dtype=torch.int64)
        for axis, borders in enumerate(self._borders):
            passed += torch.searchsorted(borders[at], whole[..., axis].contiguous(), right=True)
        values = self._first[at, None] * (1 - 2 * (passed & 1))
        return local, whole, values.float().unsqueeze(-1)
