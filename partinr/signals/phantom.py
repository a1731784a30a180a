"""The head phantom of Shepp and Logan (1974), in the plane and in space, at any resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from partinr.base.environment import door
from partinr.base.spec import spec
from partinr.coords import axis_coords
from partinr.signals.identity import Reading
from partinr.signals.image_data import Size
from partinr.signals.kinds.volume import VolumeKind
from partinr.signals.sets import SingleSignal

_ELLIPSOIDS = (
    # value, half axes along x, y and z, centre, and the angle of the first about z [degrees]
    (1.0, (0.69, 0.92, 0.81), (0, 0, 0), 0),
    (-0.8, (0.6624, 0.874, 0.78), (0, -0.0184, 0), 0),
    (-0.2, (0.11, 0.31, 0.22), (0.22, 0, 0), -18),
    (-0.2, (0.16, 0.41, 0.28), (-0.22, 0, 0), 18),
    (0.1, (0.21, 0.25, 0.41), (0, 0.35, -0.15), 0),
    (0.1, (0.046, 0.046, 0.05), (0, 0.1, 0.25), 0),
    (0.1, (0.046, 0.046, 0.05), (0, -0.1, 0.25), 0),
    (0.1, (0.046, 0.023, 0.05), (-0.08, -0.605, 0), 0),
    (0.1, (0.023, 0.023, 0.02), (0, -0.606, 0), 0),
    (0.1, (0.023, 0.046, 0.02), (0.06, -0.605, 0), 0),
)
"""The ten ellipsoids with Toft's (1996) contrast, which the eye can see; their x and y alone are the plane's ellipses.

Extents along z are those of Schabel's program, which others have taken over.
"""


@door
def shepp_logan(shape: Sequence[int]) -> Tensor:
    """The Shepp-Logan phantom: a skull of 1, a brain of 0.2, and eight ellipses or ellipsoids in it.

    A sample has the value at its centre. The first axes run from above to below and from front to back, as in pictures:
    rows are -y, and slices of a volume -z.

    Args:
        shape: of the grid, two numbers for an image, three for a volume.

    Returns:
        float32 ``[*shape, 1]`` in [0, 1].
    """
    *depth, y, x = torch.meshgrid(
        *(sign * axis_coords(n) for sign, n in zip((-1, -1, 1)[-len(shape) :], shape, strict=True)), indexing="ij"
    )
    values = torch.zeros(tuple(shape), dtype=torch.float64)
    for value, (a, b, c), (x0, y0, z0), degrees in _ELLIPSOIDS:
        turn = math.radians(degrees)
        along = (x - x0) * math.cos(turn) + (y - y0) * math.sin(turn)
        across = (y - y0) * math.cos(turn) - (x - x0) * math.sin(turn)
        radius = (along / a).square_().add_((across / b).square_())
        for z in depth:
            radius.add_(((z - z0) / c).square_())
        values.add_(radius <= 1, alpha=value)
    return values.clamp_(0, 1).float().unsqueeze(-1)


@spec
class PhantomData(SingleSignal):
    """The Shepp-Logan phantom (:func:`~partinr.signals.phantom.shepp_logan`).

    Attributes:
        shape: of the grid; two numbers make an image, three a volume.
    """

    shape: Annotated[list[Size], Field(min_length=2, max_length=3)] = Field(default_factory=lambda: [64, 64, 64])

    @property
    def title(self) -> str:
        """``shepp_logan``."""
        return "shepp_logan"

    def load(self) -> Tensor:
        """The phantom: float32 ``[*shape, 1]`` in [0, 1]."""
        return shepp_logan(self.shape)

    def read(self) -> Reading:
        """The phantom and its identity; it is an image or a volume."""
        found = super().read()
        return found._replace(kind=VolumeKind()) if len(self.shape) == 3 else found
