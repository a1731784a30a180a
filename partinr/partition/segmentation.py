"""Base classes of the rules that follow the signal."""

from __future__ import annotations

import hashlib
import math
import sys
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.spec import spec
from partinr.base.version import __version__
from partinr.coords import nearest_samples
from partinr.partition.base import DEFAULT_REGIONS, Partition, PartitionRule, Regions, settled, suited
from partinr.partition.merge import Merging, components, merge, renumber, without_small

if TYPE_CHECKING:
    import cv2
else:
    cv2 = Later("cv2")

_FEWEST = 4
"""A region of fewer pixels is not worth a network, unless so many regions are requested that all are small."""


@spec
class Segmentation(PartitionRule):
    """Segments, split into connected ones and merged until ``regions`` are left.

    Attributes:
        regions: requested number; None for the number of segments; ``auto``: as many as suit the number of parameters.
        merge: order of merging, see :mod:`partinr.partition.merge`.
        connected: whether a region must be connected (at sides or corners): other segments are split first.
        fewer: what to do with fewer segments than ``regions``: ``continue`` with a notice, or ``stop``.
    """

    regions: Regions | None = DEFAULT_REGIONS
    merge: Merging = "smallest"
    connected: bool = True
    fewer: Literal["continue", "stop"] = "continue"

    def merged(self, segments: NDArray[np.integer[Any]], values: NDArray[np.float32]) -> NDArray[np.int64]:
        """The regions ``[*grid]`` made of segments ``[*grid]`` of values ``[*grid, C]``."""
        found = components(segments) if self.connected else renumber(segments)
        return found if self.regions is None else merge(found, settled(self.regions), self.merge, values)

    def check(self, partition: Partition) -> Partition:
        """The partition, with a notice if it has fewer regions than requested.

        Raises:
            PartinrError: it has fewer, and ``fewer`` is ``stop``.
        """
        if self.regions is None or partition.regions >= settled(self.regions):
            return partition
        found = f"{partition.regions} region{'s' if partition.regions != 1 else ''}"
        notice = f"partition={self.title} found {found} in this signal, fewer than the {self.regions} asked for"
        if self.fewer == "stop":
            raise PartinrError(
                f"{notice}; ask for fewer with partition.regions, or let it be with partition.fewer=continue"
            )
        return replace(partition, notice=notice)


@spec
class SignalSegmentation(Segmentation):
    """Segments that an algorithm finds in a signal of any number of axes and channels.

    A subclass is a spec and writes :meth:`segments`. A larger signal is shrunk to ``max_pixels`` first, and every
    sample gets the label at its place: a finer border would not be worth the time and the memory.

    Attributes:
        max_pixels: most samples for the algorithm.
        held: of a signal of three axes, such as a film: segments one image, and holds its regions through the first
            axis. ``mean`` is the mean along that axis, a number one frame, from 0. None for regions in three axes.
    """

    cached: ClassVar[bool] = True
    max_pixels: Annotated[int, Field(ge=4096, le=4_000_000)] = 1_000_000
    held: Literal["mean"] | Annotated[int, Field(ge=0)] | None = None

    @abstractmethod
    def segments(self, image: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """The segment of each sample.

        Args:
            image: ``[*grid, C]`` in [0, 1]; an image with one channel has become RGB.

        Returns:
            any whole numbers ``[*grid]``; gaps are allowed, and so are segments that are not connected.
        """

    def seen(self, signal: Tensor) -> NDArray[np.float32]:
        """What the algorithm sees of a signal.

        Raises:
            PartinrError: the rule does not work on this signal.
        """
        if is_image(signal):
            return resized(as_rgb(signal), max_pixels=self.max_pixels)
        return pooled(signal.detach().cpu().float(), self.max_pixels).numpy()

    def merged(self, segments: NDArray[np.integer[Any]], values: NDArray[np.float32]) -> NDArray[np.int64]:
        """The regions made of segments; those of a few samples are merged with their neighbours."""
        found = super().merged(segments, values)
        requested = 16 if self.regions is None else settled(self.regions)
        return without_small(found, min(_FEWEST, found.size // (4 * requested)), values)

    def labels(self, signal: Tensor) -> Tensor:
        """The segments, split and merged.

        Raises:
            PartinrError: the rule does not work on this signal, or there is no frame to hold.
        """
        shape = signal.shape[:-1]
        if self.held is not None:
            signal = self._frame(signal)
        image = self.seen(signal)
        regions = torch.from_numpy(self.merged(self.segments(image), image))
        seen = signal.shape[:-1]
        return regions.reshape(-1)[nearest_samples(regions.shape, seen)].reshape(seen).expand(shape)

    def _frame(self, signal: Tensor) -> Tensor:
        """The image whose regions are held."""
        if signal.ndim != 4:
            raise PartinrError(
                f"partition.held={self.held} holds the regions of an image through a signal of three axes, and this "
                f"one has {signal.ndim - 1}; leave it out"
            )
        if self.held == "mean":
            return signal.float().mean(0)
        assert self.held is not None
        if self.held >= len(signal):
            raise PartinrError(
                f"partition.held={self.held} is behind the last of {len(signal)} frames; give 0 … {len(signal) - 1}"
            )
        return signal[self.held]

    def fingerprint(self) -> dict[str, Any]:
        """The options, the code of the rule's module, and the versions of partinr and OpenCV."""
        # While a rule is being written, its code changes but its name and options stay.
        file = getattr(sys.modules.get(type(self).__module__), "__file__", None)
        code = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else None
        return {**super().fingerprint(), "code": code, "partinr": __version__, "cv2": cv2.__version__}


@spec
class ImageSegmentation(SignalSegmentation):
    """Segments that an algorithm for images finds. A subclass is a spec and writes :meth:`segments`.

    Its ``image`` is RGB ``[H, W, 3]``; a grey image has three equal channels.
    """

    def refuses(self, signal: Tensor) -> str | None:
        """Why a signal is neither an image nor a film of which a frame is held; None if it is."""
        if is_image(signal if self.held is None or signal.ndim != 4 else signal[0]):
            return super().refuses(signal)
        reason = (
            f"partition={self.title} needs an image [H, W, C] with C = 1 or 3, not a signal of shape "
            f"{list(signal.shape)}; choose {suited(signal.ndim - 1)} or partition=superpixel"
        )
        films = signal.ndim == 4 and self.held is None and is_image(signal[0])
        return reason + (", or hold the regions of one frame with partition.held=0 or mean" if films else "")


def is_image(signal: Tensor) -> bool:
    """Whether a signal ``[*grid, C]`` is a grey or RGB image."""
    return signal.ndim == 3 and signal.shape[-1] in (1, 3)


def as_rgb(signal: Tensor) -> NDArray[np.float32]:
    """An image as RGB ``[H, W, 3]``."""
    image = signal.detach().cpu().float().numpy()
    return np.array(np.broadcast_to(image, (*image.shape[:2], 3)), order="C")


def resized(image: NDArray[np.float32], *, min_pixels: int = 1, max_pixels: int | None = None) -> NDArray[np.float32]:
    """An image with at least ``min_pixels`` and at most ``max_pixels``, of about the same aspect ratio.

    Args:
        image: ``[H, W, C]`` in [0, 1].
        min_pixels: a smaller image is enlarged bicubically, each side rounded up.
        max_pixels: a larger image is shrunk; each new pixel is the mean of those it covers.
    """
    height, width = image.shape[:2]
    pixels = height * width
    if max_pixels is not None and pixels > max_pixels:
        scale, method = (max_pixels / pixels) ** 0.5, cv2.INTER_AREA
        # Rounded down, to stay below max_pixels. A line of pixels cannot get thinner.
        shape = [max(1, int(side * scale)) for side in (height, width)]
        shape = [min(side, max_pixels) for side in shape]
    elif pixels < min_pixels:
        scale, method = (min_pixels / pixels) ** 0.5, cv2.INTER_CUBIC
        shape = [int(side * scale + 0.999) for side in (height, width)]
    else:
        return image
    made = cv2.resize(image, (shape[1], shape[0]), interpolation=method).reshape(*shape, image.shape[2])
    return np.clip(made, 0, 1).astype(np.float32)


def pooled(values: Tensor, most: int) -> Tensor:
    """Values ``[*grid, C]`` with at most ``most`` samples; each new one is the mean of those it covers.

    Args:
        values: float32, one to three axes.
        most: 1 or more.
    """
    shape = list(values.shape[:-1])
    while (samples := math.prod(shape)) > most:
        # Rounded down, so that it ends. An axis of one sample cannot get thinner.
        scale = (most / samples) ** (1 / sum(side > 1 for side in shape))
        shape = [max(1, int(side * scale)) for side in shape]
    if shape == list(values.shape[:-1]):
        return values
    pools: Sequence[Callable[..., Tensor]]
    pools = functional.adaptive_avg_pool1d, functional.adaptive_avg_pool2d, functional.adaptive_avg_pool3d
    return pools[len(shape) - 1](values.movedim(-1, 0), shape).movedim(0, -1).contiguous()
