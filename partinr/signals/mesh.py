"""Signed distances of closed meshes: exact in a band around the surface, truncated beyond it.

Points spread over the surface and a k-d tree find the few faces that may be nearest to a place. The sign is that of the
side of the nearest face, edge or corner (Bærentzen and Aanæs, 2005), which is right where the mesh is closed and does
not cut through itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from partinr.base.errors import PartinrError
from partinr.base.later import Later, of_extra
from partinr.signals.shapes import Distances, Points
from partinr.signals.userfile import open_file, quoted, warnings_as

if TYPE_CHECKING:
    from scipy import spatial
else:
    spatial = Later("scipy.spatial")

ENDINGS = (".obj", ".ply", ".stl", ".off")
"""Files of meshes that can be read."""

_PIECE = 0.04
"""Limit of the edges of a piece. Smaller pieces take longer to cut, larger ones leave more candidates per point."""

_NEAREST = 8
"""Candidates per point at first; doubled for points where more pieces may be nearest."""

_AT_ONCE = 100_000
"""Points whose candidates are in memory at once."""

_BAR_FROM = 5
"""As many times that work has a progress bar."""

Faces = NDArray[np.int64]


class Triangles(NamedTuple):
    """The triangles of a file.

    Attributes:
        vertices: float64 ``[V, 3]``.
        faces: int64 ``[F, 3]``, counter-clockwise as seen from outside.
    """

    vertices: Points
    faces: Faces


def read_mesh(path: str) -> Triangles:
    """The closed surface in a file.

    Raises:
        PartinrError: the file cannot be read, or its surface has no inside.
    """
    file = Path(path)
    trimesh = of_extra("trimesh", "mesh", "meshes are read")
    if file.suffix.lower() not in ENDINGS:
        raise PartinrError(f"{quoted(file)} is no mesh by its name; give a file that ends in {', '.join(ENDINGS)}")
    with open_file(file, "a mesh") as stream:
        try:
            with warnings_as("ignore"):
                mesh = trimesh.load_mesh(stream, file_type=file.suffix[1:].lower(), process=True)
        except Exception as error:  # a bad file may raise anything
            raise PartinrError(
                f"{quoted(file)} cannot be read as a mesh; give another copy, or convert it to PLY"
            ) from error
    vertices, faces = np.asarray(getattr(mesh, "vertices", ())), np.asarray(getattr(mesh, "faces", ()))
    if not len(vertices) or not len(faces):
        raise PartinrError(f"{quoted(file)} has no triangles, so there is no inside; give a mesh with faces")
    if not np.isfinite(vertices).all():
        raise PartinrError(f"{quoted(file)} has corners that are not finite; export the mesh again")
    if not mesh.is_watertight:
        sides = np.sort(mesh.edges, axis=1)
        count = int((np.unique(sides, axis=0, return_counts=True)[1] != 2).sum())
        raise PartinrError(
            f"{quoted(file)} has holes, so there is no inside ({count} sides do not belong to two triangles); "
            "fill them, for example with MeshLab's Close Holes"
        )
    if not mesh.is_winding_consistent:
        trimesh.repair.fix_winding(mesh)
    if mesh.volume < 0:
        mesh.invert()
    return Triangles(np.array(mesh.vertices, np.float64), np.array(mesh.faces, np.int64))


class Mesh:
    """A closed surface of triangles.

    Args:
        vertices: float64 ``[V, 3]``.
        faces: int64 ``[F, 3]``, counter-clockwise as seen from outside.
    """

    def __init__(self, vertices: Points, faces: Faces) -> None:

        corners = vertices[faces]
        sides = np.roll(corners, -1, axis=1) - np.roll(corners, 1, axis=1)  # opposite of each corner
        normals = np.cross(sides[:, 0], sides[:, 1])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
        self._corners = corners
        edges, ends = _edge_normals(faces, normals), _corner_normals(faces, normals, sides)
        self._normals = np.stack([normals, *edges, *ends], axis=1)
        self._spread(vertices, faces)

    def _spread(self, vertices: Points, faces: Faces) -> None:
        """Cut the surface into pieces: their corners, the longest side at each, and the faces around each."""
        from trimesh.grouping import unique_rows
        from trimesh.remesh import subdivide_to_size

        corners, pieces, whole = subdivide_to_size(vertices, faces, _PIECE, max_iter=20, return_index=True)
        first, same = unique_rows(corners)
        corners, pieces = corners[first], same[pieces]
        cut = corners[pieces]
        longest = np.linalg.norm(cut - np.roll(cut, 1, axis=1), axis=2).max(axis=1)
        self._slack = np.zeros(len(corners))
        np.maximum.at(self._slack, pieces, longest[:, None])
        around = np.unique(pieces * len(faces) + whole[:, None])
        self._around = around % len(faces)
        self._start = np.searchsorted(around, np.arange(len(corners) + 1) * len(faces))
        self._tree = spatial.cKDTree(corners)

    def distances(self, points: Points, truncation: float) -> Distances:
        """Signed distances of points, below 0 inside.

        Args:
            points: ``[M, 3]``.
            truncation: of points further away, NaN is given.
        """
        found = np.full(len(points), np.nan)
        starts, console = range(0, len(points), _AT_ONCE), Console(stderr=True)
        short = len(starts) < _BAR_FROM or not console.is_terminal
        for start in track(starts, "measuring distances", console=console, transient=True, disable=short):
            some = points[start : start + _AT_ONCE]
            face, closest = self._nearest(some, truncation)
            near = face >= 0
            away = some[near] - closest[near]
            side = (away * self._outwards(face[near], closest[near])).sum(axis=1)
            found[start : start + _AT_ONCE][near] = np.copysign(np.linalg.norm(away, axis=1), side)
        return found

    def _nearest(self, points: Points, truncation: float) -> tuple[Faces, Points]:
        """Of each point the nearest face, -1 if it is too far, and the nearest place on it.

        From a point at distance d, its nearest place q is in the direction at right angles to the piece, side or corner
        that q lies on. A corner at most L away from q is therefore at most sqrt(d² + L²) away from the point.
        """
        from trimesh.triangles import closest_point

        face, closest = np.full(len(points), -1), np.zeros_like(points)
        best = np.full(len(points), truncation)
        limit = float(np.hypot(truncation, self._slack.max()))
        left, first, count = np.arange(len(points)), 0, _NEAREST
        while len(left):
            ranks = np.arange(first + 1, count + 1)
            reach, corner = self._tree.query(points[left], k=ranks, distance_upper_bound=limit)
            for far, nearby in zip(reach.T, corner.T, strict=True):
                may = far < np.inf
                may[may] = far[may] ** 2 - self._slack[nearby[may]] ** 2 < best[left[may]] ** 2
                start, stop = self._start[nearby[may]], self._start[nearby[may] + 1]
                at = left[may]
                while len(at):
                    own = self._around[start]
                    place = closest_point(self._corners[own], points[at])
                    length = np.linalg.norm(points[at] - place, axis=1)
                    nearer = length < best[at]
                    best[at[nearer]], face[at[nearer]] = length[nearer], own[nearer]
                    closest[at[nearer]] = place[nearer]
                    start = start + 1
                    at, start, stop = (each[start < stop] for each in (at, start, stop))
            left = left[reach[:, -1] ** 2 - self._slack.max() ** 2 < best[left] ** 2]
            first, count = count, 2 * count
        return face, closest

    def _outwards(self, face: Faces, place: Points) -> Points:
        """The direction outwards at places on faces: that of the face, edge or corner on which they lie."""
        a, b, c = self._corners[face].swapaxes(0, 1)
        whole = np.cross(b - a, c - a)
        square = np.maximum((whole * whole).sum(axis=1), 1e-300)
        parts = [np.cross(one - place, two - place) for one, two in ((b, c), (c, a), (a, b))]
        share = np.stack([(part * whole).sum(axis=1) / square for part in parts], axis=1)
        zero = np.abs(share) < 1e-9
        # 0 for the face, 1 to 3 for the edge opposite a corner, 4 to 6 for a corner.
        which = np.where(zero.any(axis=1), 1 + zero.argmax(axis=1), 0)
        which = np.where(zero.sum(axis=1) >= 2, 4 + share.argmax(axis=1), which)
        found: Points = self._normals[face, which]
        return found


def _edge_normals(faces: Faces, normals: Points) -> Points:
    """Of each face and corner, the sum of the normals at the opposite edge: ``[3, F, 3]``."""
    ends = np.stack([np.roll(faces, -1, axis=1), np.roll(faces, 1, axis=1)], axis=2).reshape(-1, 2)
    edge = np.unique(np.sort(ends, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
    return _summed(edge, np.repeat(normals, 3, axis=0)).reshape(-1, 3, 3).swapaxes(0, 1)


def _corner_normals(faces: Faces, normals: Points, sides: Points) -> Points:
    """Of each face and corner, the sum of the normals around it, weighted by angle: ``[3, F, 3]``."""
    one, two = np.roll(sides, -1, axis=1), -np.roll(sides, 1, axis=1)
    angle = np.arctan2(np.linalg.norm(np.cross(one, two), axis=2), (one * two).sum(axis=2))
    weighted = (angle[:, :, None] * normals[:, None]).reshape(-1, 3)
    return _summed(faces.reshape(-1), weighted).reshape(-1, 3, 3).swapaxes(0, 1)


def _summed(key: Faces, rows: Points) -> Points:
    """For each row, the sum of those with the same key."""
    found: Points = np.stack([np.bincount(key, column)[key] for column in rows.T], axis=1)
    return found
