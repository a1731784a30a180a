"""Surfaces by marching cubes, their files, and shaded views of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from partinr.pictures.shaded import SIDE, both, view
from partinr.pictures.surfaces import Surface, surface_of, write_ply

AXES = np.meshgrid(*((2 * np.arange(n) + 1) / n - 1 for n in (24, 30, 36)), indexing="ij")
BALL = (np.sqrt(sum(axis**2 for axis in AXES)) - 0.6).clip(-0.2, 0.2).astype(np.float32)


def test_a_ball_is_found_where_it_is_and_faces_outwards() -> None:
    surface = surface_of(BALL, 0.0)
    assert np.linalg.norm(surface.vertices, axis=1) == pytest.approx(0.6, abs=0.01)
    write_ply(Path("ball.ply"), surface)
    mesh = trimesh.load_mesh("ball.ply")
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.02)


def test_a_surface_at_the_end_of_the_grid_is_closed() -> None:
    full = np.zeros((3, 4, 5), np.float32)
    full[1, 1, 1] = np.nan
    mesh = trimesh.Trimesh(*surface_of(full))
    assert mesh.is_watertight


def test_a_field_without_a_surface_has_none() -> None:
    surface = surface_of(np.ones((3, 3, 3)))
    assert [len(part) for part in surface] == [0, 0]
    write_ply(Path("empty.ply"), surface)
    assert b"element face 0" in Path("empty.ply").read_bytes()
    assert isinstance(surface, Surface)


def test_a_view_shows_a_ball_in_the_light() -> None:
    seen = view(BALL, 64)
    assert np.linalg.norm(seen.points, axis=1) == pytest.approx(0.6, abs=0.02)
    rows, columns = np.nonzero(seen.hit)
    assert rows.mean() == pytest.approx(31.5, abs=1)
    assert columns.mean() == pytest.approx(31.5, abs=1)
    bright = np.zeros((64, 64))
    bright[seen.hit] = seen.light[:, 0]
    assert bright[rows.min() : 32].sum() > 1.3 * bright[32:].sum()  # the light is above


@pytest.mark.parametrize("field", [np.ones((4, 5, 6), np.float32), -np.ones((4, 4, 4), np.float32)])
def test_a_field_without_a_surface_has_a_picture(field: np.ndarray) -> None:
    picture = both(field, 0.2)
    assert picture.shape == (SIDE, 2 * SIDE, 3)
    assert np.isfinite(picture).all()
