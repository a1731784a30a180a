"""Chooses the frequency of a backbone by spectra, before training.

Kania et al., "FreSh: Frequency Shifting for Accelerated Neural Representation Learning" (ICLR 2025): of some values of
the hyperparameter that sets a network's first frequencies, take the one for which the spectrum of untrained networks is
nearest to that of the signal. Nothing is trained, so this takes seconds where a search takes hours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from partinr.backbones import Backbone
from partinr.base.environment import door
from partinr.coords import Frame, axis_coords, grid_coords, region_frames
from partinr.model.stack import NetworkStack
from partinr.partition import Partition

SIDE = {1: 2**14, 2: 128, 3: 32}
"""Most samples of a window along an axis, by the number of axes. The paper looks at the first 64 frequencies of images,
and at 32 in three axes. A longer sound is cut, since shrinking it would remove its tones."""

WINDOWS = 8
"""Most windows of a signal in local frames: the largest regions."""

DRAWS = 3
"""Untrained networks whose distances are averaged. Their seeds are fixed: a value holds for all seeds of a run."""

WIDEST = 64
"""Most features of these networks. Wider ones have nearly the same spectrum and take longer."""

STEPS_TO_DOUBLE = 4
"""Steps of the ladder of values in which the frequency doubles."""

FAR = 8
"""A fit hardly reaches a signal whose mean frequency is this many times that of the untrained networks."""


class Window(NamedTuple):
    """A part of a signal that a network sees as [-1, 1] along each axis, shrunk, or a piece from its middle.

    Attributes:
        values: float32 ``[*grid, C]``.
        coords: float32 ``[M, d]``, of its samples.
        samples: most samples along an axis from -1 to 1.
    """

    values: Tensor
    coords: Tensor
    samples: int

    @classmethod
    def of(cls, values: Tensor) -> Window:
        """The window for a part of a signal, ``[*grid, C]``."""
        axes, side = values.ndim - 1, SIDE[values.ndim - 1]
        if axes == 1:
            start = max(0, len(values) - side) // 2
            piece = slice(start, start + side)
            return cls(values[piece], axis_coords(len(values))[piece, None].float(), len(values))
        # Of a long film only a part is copied.
        values = values[tuple(slice(None, None, max(1, n // (4 * side))) for n in values.shape[:-1])]
        pool = (nn.functional.adaptive_avg_pool2d, nn.functional.adaptive_avg_pool3d)[axes - 2]
        shape = [min(side, n) for n in values.shape[:-1]]
        shrunk: Tensor = pool(values.movedim(-1, 0), shape).movedim(0, -1)  # type: ignore[arg-type]
        return cls(shrunk, grid_coords(shape).float(), max(shape))


def spectrum(values: Tensor) -> Tensor:
    """The part of each frequency in a signal, without the mean (section 3 of the paper, and its code).

    Args:
        values: ``[*grid, C]``.

    Returns:
        ``[K]``, summing to 1: the magnitudes of the discrete Fourier transform, summed over channels and over all
        frequencies of k periods, k = 1 … K; periods along several axes are added up. Only the k count for which no axis
        exceeds half of its samples. Of a constant all are 0.
    """
    axes = values.ndim - 1
    magnitude = torch.fft.fftn(values.double(), dim=tuple(range(axes))).abs().sum(dim=-1)
    periods = torch.zeros(1, dtype=torch.int64)
    for axis, n in enumerate(values.shape[:-1]):
        along = torch.minimum(torch.arange(n), n - torch.arange(n))
        periods = periods + along.reshape([-1 if k == axis else 1 for k in range(axes)])
    count = max(1, max(values.shape[:-1]) // 2)
    total = torch.zeros(int(periods.max()) + 1, dtype=torch.float64)
    total.index_add_(0, periods.reshape(-1), magnitude.reshape(-1))
    found = total[1 : count + 1]
    # What is left of a constant by rounding is no spectrum.
    sound = found.sum() > 1e-9 * total[0]
    return found / found.sum() if sound else torch.zeros_like(found)


def distance(one: Tensor, other: Tensor) -> float:
    """The Wasserstein distance of two spectra of equal length, in periods."""
    return float((one.cumsum(0) - other.cumsum(0)).abs().sum())


@door
def settle_frequency(
    backbone: Backbone, signals: Sequence[Tensor], partitions: Sequence[Partition], frame: Frame = "global"
) -> Backbone:
    """A backbone whose frequency ``auto`` is replaced by a number; any other backbone unchanged.

    All signals share the number. In the global frame each signal is compared as a whole, in local frames by the
    bounding boxes of its largest regions.

    Args:
        backbone: the architecture.
        signals: float32 ``[*grid, C]`` each, of equally many axes and channels.
        partitions: partition of each.
        frame: frame of the coordinates.
    """
    if not backbone.unsettled:
        return backbone
    windows = _windows(signals, partitions, frame)
    wanted = [spectrum(window.values) for window in windows]
    highest = max(window.samples for window in windows) * (signals[0].ndim - 1) / 2
    steps = range(math.ceil(STEPS_TO_DOUBLE * math.log2(max(2.0, highest))) + 1)
    regions = max(partition.regions for partition in partitions)

    @cache
    def far(value: float) -> float:
        """Mean distance over windows and untrained networks."""
        found = _untrained(backbone.at_frequency(value), windows, regions)
        pairs = ((one, each) for one, draws in zip(wanted, found, strict=True) for each in draws)
        return sum(itertools.starmap(distance, pairs))

    ladder = [_two_digits(backbone.period * 2 ** (step / STEPS_TO_DOUBLE)) for step in steps]
    # Octaves first, then the steps around the best of them.
    best = min(range(0, len(ladder), STEPS_TO_DOUBLE), key=lambda step: far(ladder[step]))
    around = range(max(0, best - STEPS_TO_DOUBLE + 1), min(len(ladder), best + STEPS_TO_DOUBLE))
    return backbone.at_frequency(min((ladder[step] for step in around), key=far))


@door
def advice_on_frequency(
    backbone: Backbone, signals: Sequence[Tensor], partitions: Sequence[Partition], frame: Frame = "global"
) -> str | None:
    """One line if a signal is far above the frequencies of a backbone, as sounds are above those for images.

    Args:
        backbone: the architecture.
        signals: as for :func:`settle_frequency`.
        partitions: likewise.
        frame: likewise.
    """
    if backbone.frequency is None or backbone.unsettled:
        return None
    windows = _windows(signals[:1], partitions[:1], frame)[:1]
    (found,) = _untrained(backbone, windows, partitions[0].regions)
    signal, networks = _mean(spectrum(windows[0].values)), sum(map(_mean, found)) / len(found)
    if not networks or signal < FAR * networks:
        return None
    value = getattr(backbone, backbone.frequency)
    return (
        f"the signal oscillates about {signal / networks:.0f} times as fast as its untrained networks, so the fit may "
        f"stay at its mean; give backbone.{backbone.frequency}=auto, or more than {value:g}"
    )


def _mean(spectrum: Tensor) -> float:
    """Mean frequency by energy, in periods. By magnitude, the ends of a window that do not meet would outweigh it."""
    energy = spectrum.square()
    return float((energy * torch.arange(1, len(spectrum) + 1)).sum() / energy.sum().clamp(min=1e-30))


def _untrained(backbone: Backbone, windows: Sequence[Window], regions: int) -> list[list[Tensor]]:
    """Spectra of untrained networks in each window, :data:`DRAWS` each."""
    axes, channels = windows[0].coords.shape[1], windows[0].values.shape[-1]
    own = backbone.sized(regions, axes, channels)
    assert own.hidden_features is not None  # set by sized()
    networks = NetworkStack(
        own.with_width(min(WIDEST, own.hidden_features)), DRAWS, in_features=axes, channels=channels
    )
    found = []
    for values, coords, _ in windows:
        with torch.no_grad():
            drawn = networks(coords.repeat(DRAWS, 1), [len(coords)] * DRAWS, plain=True)
        found.append([spectrum(each.reshape(values.shape)) for each in drawn.chunk(DRAWS)])
    return found


def _windows(signals: Sequence[Tensor], partitions: Sequence[Partition], frame: Frame) -> list[Window]:
    """What one network sees of each signal: all of it, or the boxes of its largest regions."""
    found = []
    for signal, partition in zip(signals, partitions, strict=True):
        values, grid = signal.detach().cpu().float(), partition.shape
        if frame == "global":
            found.append(Window.of(values))
            continue
        centre, half = region_frames(partition.labels, partition.regions)
        largest = partition.sizes.argsort(descending=True, stable=True)[:WINDOWS]
        for middle, reach in zip(centre[largest].tolist(), half[largest].tolist(), strict=True):
            box = tuple(
                slice(round((m - h + 1) / 2 * n), round((m + h + 1) / 2 * n))
                for m, h, n in zip(middle, reach, grid, strict=True)
            )
            found.append(Window.of(values[box]))
    return found


def _two_digits(value: float) -> float:
    """A value rounded to two digits."""
    return float(f"{value:.1e}")
