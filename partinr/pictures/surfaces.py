"""The surface at a level of a field, by marching cubes, and its PLY file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from partinr.base.files import replacing

_APART = 1e-5
"""The least difference of a value from the level."""


class Surface(NamedTuple):
    """A surface of triangles.

    Attributes:
        vertices: float32 ``[V, 3]``, along the axes of the grid; [-1, 1] is the grid.
        faces: int32 ``[F, 3]``, counter-clockwise as seen from where values are higher.
    """

    vertices: NDArray[np.float32]
    faces: NDArray[np.int32]


def surface_of(values: NDArray[np.floating], level: float = 0.5) -> Surface:
    """The surface where a field has a level; without triangles if there is none.

    It is closed: beyond the grid, values count as above the level. Values that are not finite do, too.

    Args:
        values: ``[n_0, n_1, n_2]`` on a grid.
        level: value on the surface.
    """
    from skimage.measure import marching_cubes

    high = level + 1
    field = np.pad(np.nan_to_num(values.astype(np.float32), nan=high, posinf=high), 1, constant_values=high)
    # Corners of several triangles would be one place where a sample lies on the surface.
    field[np.abs(field - level) < _APART] = level + _APART
    if not (field < level).any():
        return Surface(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    vertices, faces, *_ = marching_cubes(field, level, gradient_direction="descent")
    # Sample i of n is at (2 i + 1) / n - 1, and the pad comes before it.
    places = (2 * vertices - 1) / np.array(values.shape, np.float32) - 1
    return Surface(places.astype(np.float32), faces.astype(np.int32))


def write_ply(path: Path, surface: Surface) -> None:
    """Write a surface as binary PLY; an existing file stays until the new one is complete.

    Raises:
        OSError: the file cannot be written.
    """
    header = (
        "ply\nformat binary_little_endian 1.0\ncomment partinr\n"
        f"element vertex {len(surface.vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(surface.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(surface.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, surface.faces
    with replacing(path) as file:
        file.write(header.encode("ascii"))
        file.write(np.ascontiguousarray(surface.vertices, "<f4").data)
        file.write(faces.data)
