"""Signed distances on a grid: of a mesh, or of a built-in shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from partinr.base.errors import PartinrError, check_choice
from partinr.base.later import Later
from partinr.base.spec import READS, Unused, spec
from partinr.coords import grid_coords
from partinr.signals.identity import Reading, SignalIdentity, block_means, file_sha256, samples_sha256
from partinr.signals.kinds.field import FieldKind
from partinr.signals.mesh import Mesh, Triangles, read_mesh
from partinr.signals.sets import SingleSignal
from partinr.signals.shapes import SHAPES, Distances, Points
from partinr.signals.userfile import quoted

if TYPE_CHECKING:
    from scipy import ndimage
else:
    ndimage = Later("scipy.ndimage")

MARGIN = 0.1
"""Space between a mesh and the faces of the box [-1, 1]³."""


class Box(NamedTuple):
    """Where the box [-1, 1]³ of a signal lies in the space of its mesh.

    Attributes:
        centre: its middle.
        half: half of its side.
    """

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    half: float = 1.0


def placed(triangles: Triangles) -> tuple[Triangles, Box]:
    """The triangles in the middle of [-1, 1]³, with :data:`MARGIN` around the longest extent; and the box's place."""
    low, high = triangles.vertices.min(axis=0), triangles.vertices.max(axis=0)
    x, y, z = ((low + high) / 2).tolist()
    box = Box((x, y, z), float((high - low).max() / 2 / (1 - MARGIN)))
    return Triangles((triangles.vertices - box.centre) / box.half, triangles.faces), box


class MeshDistances:
    """Signed distances to a closed surface, truncated.

    Args:
        triangles: within [-1, 1]³.
        resolution: samples along an axis, n.
        truncation: the largest distance, at least that of two samples.
        name: of the mesh, for messages.

    Attributes:
        grid: those of the samples, ``[n, n, n]``.

    Raises:
        PartinrError: the surface cuts through itself, so that there is no inside.
    """

    def __init__(self, triangles: Triangles, resolution: int, truncation: float, name: str) -> None:
        self._mesh, self._truncation = Mesh(*triangles), truncation
        grid = (resolution,) * 3
        found = self._mesh.distances(grid_coords(grid).numpy(), truncation).reshape(grid)
        far = np.isnan(found)
        # No surface is between a sample that is too far away and the nearest one that is not.
        nearest = ndimage.distance_transform_edt(far, return_distances=False, return_indices=True)
        found[far] = np.copysign(truncation, found[tuple(nearest)][far])
        step = max(float(np.abs(np.diff(found, axis=axis)).max()) for axis in range(3))
        # The distances of two places differ by no more than these are apart; a wrong side breaks this.
        if step > 2 / resolution * (1 + 1e-6):
            raise PartinrError(
                f"{name} cuts through itself or faces inwards in places, so that its inside is undefined; unite its "
                "parts, for example with Blender's Boolean modifier or trimesh.boolean.union"
            )
        self.grid = found

    def __call__(self, points: Points) -> Distances:
        """Distances of points in [-1, 1]³: ``[M, 3]`` to ``[M]``."""
        found, n = self._mesh.distances(points, self._truncation), len(self.grid)
        far = np.isnan(found)
        # Nor is one between a place that is too far away and the sample of its cell.
        cells = ((points[far] + 1) / 2 * n).astype(np.int64).clip(0, n - 1)
        found[far] = np.copysign(self._truncation, self.grid[tuple(cells.T)])
        return found


@dataclass(frozen=True, eq=False)
class Scaled:
    """Truncated distances as values, at any places (:data:`~partinr.signals.identity.Everywhere`).

    Attributes:
        distances: of points in [-1, 1]³, ``[M, 3]`` to ``[M]``.
        truncation: the distance whose value is 1.
    """

    distances: Callable[[Points], Distances]
    truncation: float

    def __call__(self, coords: Tensor) -> Tensor:
        """The values at coordinates: float64 ``[M, 3]`` to float32 ``[M, 1]``."""
        return self.values(self.distances(coords.cpu().numpy()))[:, None]

    def values(self, distances: NDArray[np.float64]) -> Tensor:
        """The values of distances, of any shape."""
        inside = distances.clip(-self.truncation, self.truncation)
        return torch.from_numpy(((inside / self.truncation + 1) / 2).astype(np.float32))


@spec
class SdfData(SingleSignal):
    """The signed distance to a surface, on a grid of the box [-1, 1]³: below 0 inside, above 0 outside.

    Distances from ``-truncation`` to ``truncation`` become 0 to 1, so that the surface is where the value is 0.5. A
    mesh is moved and scaled to fill the box, with a margin of a tenth.

    Attributes:
        path: a file with a closed mesh; None for a built-in shape.
        name: of a built-in shape, :data:`~partinr.signals.shapes.SHAPES`, without a file; None for ``torus``.
        resolution: samples along each axis.
        truncation: the largest distance, in units in which the side of the box is 2.
    """

    path: Annotated[str | None, READS] = None
    name: Annotated[str | None, Unused(beside="path")] = None
    resolution: Annotated[int, Field(ge=4, le=1024)] = 64
    truncation: Annotated[float, Field(gt=0, le=4, allow_inf_nan=False)] = 0.2

    def __post_init__(self) -> None:
        """Check that there is a shape, and that the truncation leaves something of it.

        Raises:
            PartinrError: there is no shape, or the truncation is below the distance of two samples.
        """
        if self.path is None:
            check_choice("data.name", self.title, tuple(SHAPES))
        least = 4 / self.resolution
        if self.truncation < least:
            raise PartinrError(
                f"data.truncation={self.truncation:g} is less than two samples of data.resolution={self.resolution} "
                f"({least:g}), so nothing but inside and outside would be left; "
                f"give data.truncation={least:g} or more, or a higher data.resolution"
            )

    @property
    def title(self) -> str:
        """A short name for tables and legends."""
        return Path(self.path).stem if self.path is not None else self.name or "torus"

    def load(self) -> Tensor:
        """The truncated distances, scaled: float32 ``[n, n, n, 1]`` in [0, 1].

        Raises:
            PartinrError: the file cannot be read, or its mesh has no inside.
        """
        return SdfData.read(self).values  # not of self: a subclass may read what it loads

    def read(self) -> Reading:
        """The distances and their identity: the file and the triangles in it.

        Raises:
            PartinrError: as for :meth:`load`.
        """
        if self.path is None:
            shape = Scaled(SHAPES[self.title], self.truncation)
            grid = (self.resolution,) * 3
            values = shape(grid_coords(grid)).reshape(*grid, 1)
            return Reading(values, SignalIdentity.of(self.title, values), self._kind(Box()), shape)
        found, box = placed(triangles := read_mesh(self.path))
        mesh = MeshDistances(found, self.resolution, self.truncation, quoted(Path(self.path)))
        shape = Scaled(mesh, self.truncation)
        values = shape.values(mesh.grid)[..., None]
        cut = f"distances on {self.resolution}³, truncated at {self.truncation:g}"
        identity = SignalIdentity(
            Path(self.path).name,
            samples_sha256(triangles.vertices[triangles.faces], cut),
            block_means(values),
            file_sha256(Path(self.path)),
            cut,
        )
        return Reading(values, identity, self._kind(box), shape)

    def _kind(self, box: Box) -> FieldKind:
        most = self.truncation * box.half
        return FieldKind(
            low=-most,
            high=most,
            spacing=[2 * box.half / self.resolution] * 3,
            origin=[middle - box.half for middle in box.centre],
        )
