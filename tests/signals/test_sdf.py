"""Signed distances: built-in shapes, and meshes in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from trimesh.creation import box as block
from trimesh.creation import icosphere

from partinr.base.errors import PartinrError
from partinr.coords import grid_coords
from partinr.signals import SdfData
from partinr.signals.mesh import Mesh
from partinr.signals.shapes import SHAPES, box, torus


def small(**settings: str | None) -> SdfData:
    return SdfData(resolution=10, truncation=0.4, **settings)


@pytest.mark.parametrize("name", SHAPES)
def test_the_distances_of_a_shape_are_those_to_its_surface(name: str) -> None:
    places = grid_coords((24,) * 3).numpy()
    distances = SHAPES[name](places)
    # A step towards the surface, by as much as the distance says, arrives at it. Where several places are nearest, the
    # slope says nothing.
    slope = np.stack([(SHAPES[name](places + step) - SHAPES[name](places - step)) / 2e-5 for step in 1e-5 * np.eye(3)])
    smooth = np.abs(np.linalg.norm(slope, axis=0) - 1) < 1e-4
    assert smooth.mean() > 0.95
    arrived = SHAPES[name](places - distances[:, None] * slope.T)[smooth]
    assert np.abs(arrived).max() < 1e-4
    assert (distances < 0).any()
    grid = distances.reshape((24,) * 3)
    assert all((grid.take(end, axis) > 0).all() for axis in range(3) for end in (0, -1))


def test_the_values_are_truncated_distances() -> None:
    values = small(name="box").load()
    assert values.shape == (10, 10, 10, 1)
    assert values.dtype == torch.float32
    distances = torch.from_numpy(box(grid_coords((10,) * 3).numpy())).reshape(values.shape)
    assert torch.equal(values, ((distances.clamp(-0.4, 0.4) / 0.4 + 1) / 2).float())


def test_a_mesh_has_the_distances_of_its_shape() -> None:
    ring = trimesh.creation.torus(0.6, 0.25, major_sections=90, minor_sections=45)
    places = grid_coords((14,) * 3).numpy()
    found, wanted = Mesh(ring.vertices, ring.faces).distances(places, 0.3), torus(places)
    near = np.abs(wanted) < 0.29
    assert np.array_equal(np.isnan(found), np.abs(wanted) > 0.3)
    assert np.abs(found - wanted)[near].max() < 2e-3  # as far as flat faces are from a round tube


@pytest.mark.parametrize("file", ["block.obj", "block.ply", "block.stl", "block.off"])
def test_a_file_is_moved_into_the_box(file: str) -> None:
    mesh = block((140, 100, 70)).apply_translation((3, -500, 40))
    if file.endswith("ply"):
        mesh.invert()  # a file that has its faces inside out
    mesh.export(file)
    half = (0.9, 0.9 / 1.4, 0.45)
    wanted = box(grid_coords((10,) * 3).numpy(), half).clip(-0.4, 0.4)
    reading = small(path=file).read()
    assert np.abs((2 * reading.values.numpy().reshape(-1) - 1) * 0.4 - wanted).max() < 1e-6
    assert reading.identity.name == file
    again = SdfData(path=file, resolution=10, truncation=0.5).read()
    assert reading.identity.differs(again.identity) is None


@pytest.mark.parametrize("path", [None, "block.ply"])
def test_a_surface_is_known_everywhere(path: str | None) -> None:
    block((140, 100, 70)).export("block.ply")
    half = (0.7, 0.5, 0.35) if path is None else (0.9, 0.9 / 1.4, 0.45)
    reading = small(path=path, name=None if path else "box").read()
    assert reading.everywhere is not None
    torch.testing.assert_close(reading.everywhere(grid_coords((10,) * 3)).reshape(reading.values.shape), reading.values)
    places = 2 * torch.rand(500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1
    wanted = torch.from_numpy(box(places.numpy(), half).clip(-0.4, 0.4)).float()
    torch.testing.assert_close(0.4 * (2 * reading.everywhere(places)[:, 0] - 1), wanted, atol=1e-6, rtol=0)
    assert torch.equal(reading.everywhere(places[::3]), reading.everywhere(places)[::3])


def test_a_hollow_ball_is_hollow() -> None:
    hole = icosphere(2, radius=0.5)
    hole.invert()
    trimesh.util.concatenate([icosphere(2), hole]).export("hollow.ply")
    values = small(path="hollow.ply").load()[..., 0]
    assert values[5, 5, 5] > 0.5
    assert values[1, 5, 5] < 0.5


def _holes():
    ball = icosphere(1)
    ball.update_faces(np.arange(len(ball.faces)) > 0)
    return ball


def _overlapping():
    return trimesh.util.concatenate([icosphere(2), icosphere(2).apply_translation((1, 0, 0))])


def _point_cloud():
    return trimesh.PointCloud(np.eye(3))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_holes, r"'mesh\.ply' has holes.*3 sides.*fill them"),
        (_overlapping, r"'mesh\.ply' cuts through itself.*unite its parts"),
        (_point_cloud, r"'mesh\.ply' has no triangles"),
        (lambda: b"ply\nhello", r"'mesh\.ply' cannot be read as a mesh"),
        (lambda: b"", r"'mesh\.ply' cannot be read as a mesh"),
    ],
)
def test_a_mesh_without_an_inside_is_refused(make, says: str) -> None:
    made = make()
    if isinstance(made, bytes):
        Path("mesh.ply").write_bytes(made)
    else:
        made.export("mesh.ply")
    with pytest.raises(PartinrError, match=says):
        SdfData(path="mesh.ply", resolution=16, truncation=0.25).load()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "cow"}, r"data\.name='cow' is unknown; choose from torus"),
        ({"truncation": 0.01}, r"less than two samples of data\.resolution=64 \(0\.0625\)"),
        ({"path": "photo.png"}, r"'photo\.png' is no mesh by its name; give a file that ends in \.obj"),
        ({"path": "gone.obj"}, r"no such file: 'gone\.obj'"),
    ],
)
def test_a_wrong_setting_says_what_to_give(settings: dict, says: str) -> None:
    with pytest.raises(PartinrError, match=says):
        SdfData(**settings).load()
