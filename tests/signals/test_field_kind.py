"""The kind of signed distances: its place in space, its numbers, its pictures and its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from partinr.base.errors import PartinrError
from partinr.partition import Grid
from partinr.signals import SdfData
from partinr.signals.identity import Reading
from partinr.signals.kind import Asked
from partinr.signals.kinds import FieldKind, field, kind_of


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    """A block far from the origin, in millimetres."""
    file = tmp_path_factory.mktemp("mesh") / "block.stl"
    trimesh.creation.box((90, 60, 45)).apply_translation((500, 0, -20)).export(file)
    return SdfData(path=str(file), resolution=20).read()


def test_the_place_and_unit_of_a_mesh_are_kept(reading: Reading) -> None:
    kind, values = reading.kind, reading.values
    assert isinstance(kind, FieldKind)
    assert kind_of(kind.plain(), 3) == kind
    assert kind.spacing == pytest.approx([5, 5, 5])  # the box is 100 wide
    assert kind.origin == pytest.approx([450, -50, -70])
    assert (kind.low, kind.high) == pytest.approx((-10, 10))
    assert kind.physical(np.array([0.0, 0.5])) == pytest.approx([-10, 0])
    kind.write(Path("block.ply"), [values[:8].numpy(), values[8:].numpy()], values.shape, "float")
    mesh = trimesh.load_mesh("block.ply")
    assert mesh.bounds == pytest.approx(np.array([[455, -30, -42.5], [545, 30, 2.5]]), abs=1)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(90 * 60 * 45, rel=0.05)


def test_a_spacing_is_a_resolution(reading: Reading) -> None:
    kind = reading.kind
    assert kind is not None
    assert kind.shape_for((20, 20, 20), Asked(spacing=2.5)) == [40, 40, 40]
    assert kind.shape_for((20, 20, 20), Asked(scale=0.5)) == [10, 10, 10]
    finer = kind.resampled((20, 20, 20), (40, 40, 40), Asked())
    assert isinstance(finer, FieldKind)
    assert finer.spacing == pytest.approx([2.5] * 3)
    for asked in (Asked(spacing=0.0), Asked(spacing=1.0, scale=2.0)):
        with pytest.raises(PartinrError, match=r"--spacing .* a distance above 0, without --scale and --size"):
            kind.shape_for((20, 20, 20), asked)


def test_surfaces_of_a_large_grid_are_compared_coarsely_until_the_end(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, values = reading.kind, reading.values
    assert kind is not None
    moved = values.roll(1, 0)
    whole = kind.measure(moved, values)["chamfer"]
    assert kind.final(moved, values) == {}
    monkeypatch.setattr(field, "MOST_WATCHED", 10**3)
    assert kind.final(moved, values) == {"chamfer": whole}
    watched = kind.measure(moved, values)["chamfer"]
    assert 0 < watched < 0.1
    assert watched != whole


def test_numbers_and_pictures_of_a_fit(reading: Reading) -> None:
    kind, values = reading.kind, reading.values
    assert kind is not None
    perfect, empty = kind.measure(values, values), kind.measure(torch.ones_like(values), values)
    assert list(perfect) == [each["key"] for each in kind.metrics]
    assert (perfect["iou"], perfect["chamfer"]) == (1, 0)
    assert perfect["eikonal"] < 0.1
    assert (empty["iou"], empty["chamfer"], empty["eikonal"]) == (0, float("inf"), 1)
    picture = kind.picture(values)
    height, width, _ = picture.shape
    labels = Grid(regions=8)(values).labels
    assert kind.label_plane(labels).shape == (height, width)
    drawn = kind.partition_picture(labels, values)
    factor = len(drawn) // height
    assert drawn.shape == (factor * height, factor * width, 3)
    # The ground beside the surface has no region.
    assert (drawn[0, 0] == picture[0, 0]).all()
    wrong = values.clone()
    wrong[:10] += 0.2
    error = kind.error_picture(values, wrong)
    assert error.shape == picture.shape
    assert error[:, width // 2 : 3 * width // 4].mean() > 2 * error[:, 3 * width // 4 :].mean()
