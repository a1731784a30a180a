"""Parallel-beam projections, as a tomograph takes them."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.base.spec import spec
from partinr.signals.observations.base import Mapped, Observation
from partinr.signals.userfile import warnings_as

if TYPE_CHECKING:
    from scipy import sparse
    from skimage import transform
else:
    sparse, transform = Later("scipy.sparse"), Later("skimage.transform")


@spec
class Radon(Observation):
    """The projections of an image along parallel rays.

    A value is the mean along its ray over the longer side of the image, so that it is about as large as the image's.
    Rays lie a pixel apart and reach around the image, as in :func:`skimage.transform.radon` with ``circle=False``.

    Attributes:
        angles: the number of angles, evenly from 0 to 180 degrees, 180 left out; or the angles in degrees.
    """

    angles: Annotated[int, Field(ge=1)] | Annotated[list[float], Field(min_length=1)] = 100

    @property
    def degrees(self) -> tuple[float, ...]:
        """The angles."""
        if isinstance(self.angles, int):
            return tuple(180 * number / self.angles for number in range(self.angles))
        return tuple(self.angles)

    def observe(self, signal: Tensor, number: int) -> Mapped:
        """The projections ``[angles, rays, C]``; the estimate is their filtered back-projection.

        Raises:
            PartinrError: the signal is no image.
        """
        if signal.ndim != 3:
            raise PartinrError(
                f"observe=radon projects images, and the signal has {signal.ndim - 1} axes; give an image to data"
            )
        project = projector(tuple(signal.shape[:2]), self.degrees)
        data = project(signal)
        return Mapped(project, data, back_projected(data, self.degrees, signal.shape[:2]), data / data.max().clamp(1))


def rays(shape: Sequence[int]) -> int:
    """The number of rays of a projection: the diagonal of a square around an image, in pixels."""
    return math.ceil(math.sqrt(2) * max(shape))


@functools.lru_cache(maxsize=4)
def projector(shape: tuple[int, int], degrees: tuple[float, ...]) -> Projector:
    """The projections of images of a shape ``[H, W]``, kept for the next signal of that shape."""
    return Projector(shape, degrees)


class Projector:
    """Projections as a sparse matrix: each ray is a sum over samples, a pixel apart and linear between four pixels.

    Args:
        shape: ``[H, W]`` of the images.
        degrees: the angles.
    """

    def __init__(self, shape: tuple[int, int], degrees: tuple[float, ...]) -> None:
        self._shape = shape
        self._lengths = len(degrees), rays(shape)
        self._matrix = sparse.vstack([_matrix(shape, math.radians(each)) for each in degrees]).tocsr()
        self._on: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def __call__(self, values: Tensor) -> Tensor:
        """The projections ``[angles, rays, C]`` of values ``[H, W, C]``; differentiable."""
        key = values.device, values.dtype
        if key not in self._on:
            self._on[key] = _tensor(self._matrix, *key), _tensor(self._matrix.T.tocsr(), *key)
        found: Tensor = _Product.apply(*self._on[key], values.reshape(-1, values.shape[-1]))
        return found.view(*self._lengths, -1)


class _Product(torch.autograd.Function):
    """A sparse matrix times ``[n, C]``; torch has no gradient of it by the transposed matrix on every device."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, values: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ values

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradients[0].contiguous()


def _tensor(matrix: Any, device: torch.device, dtype: torch.dtype) -> Tensor:
    rows, columns = (torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices))
    values, shape = torch.from_numpy(matrix.data).to(dtype), torch.Size(matrix.shape)
    with warnings_as("ignore", UserWarning):  # that torch's support of such matrices is young
        return torch.sparse_csr_tensor(rows, columns, values, size=shape, check_invariants=False).to(device)


def _matrix(shape: tuple[int, int], angle: float) -> Any:
    """The rays of one angle as a sparse matrix ``[rays, H·W]``."""
    count, (height, width) = rays(shape), shape
    # Pixel n // 2 of an axis stays where it is, as in skimage.transform.radon.
    step, ray = (np.arange(count) - count // 2).astype(float)[:, None], (np.arange(count) - count // 2).astype(float)
    column = math.cos(angle) * ray + math.sin(angle) * step + width // 2
    row = -math.sin(angle) * ray + math.cos(angle) * step + height // 2
    number = np.broadcast_to(np.arange(count), row.shape)
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    parts = []
    for down in (0, 1):
        for right in (0, 1):
            at_row, at_column = top + down, left + right
            weight = (1 - np.abs(row - at_row)) * (1 - np.abs(column - at_column))
            inside = (at_row >= 0) & (at_row < height) & (at_column >= 0) & (at_column < width) & (weight > 0)
            parts.append((weight[inside], number[inside], (at_row * width + at_column)[inside]))
    weight, number, pixel = (np.concatenate(each) for each in zip(*parts, strict=True))
    entries = weight / max(shape), (number, pixel)
    return sparse.csr_matrix(entries, shape=(count, height * width), dtype=np.float32)


def back_projected(data: Tensor, degrees: Sequence[float], shape: Sequence[int]) -> Tensor:
    """Filtered back-projection with a ramp filter: float32 ``[H, W, C]`` in [0, 1].

    Args:
        data: projections ``[angles, rays, C]``.
        degrees: the angles.
        shape: ``[H, W]`` of the image.
    """
    side = max(shape)
    top, left = (side // 2 - each // 2 for each in shape)
    channels = [
        transform.iradon(channel.double().numpy().T * side, degrees, output_size=side, circle=False)
        for channel in data.unbind(-1)
    ]
    image = torch.from_numpy(np.stack(channels, axis=-1)).float().clamp(0, 1)
    return image[top : top + shape[0], left : left + shape[1]]
