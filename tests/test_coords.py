"""Axis order, range, frames and scales of coordinates."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
import torch

import partinr
from partinr import coords
from partinr.backbones import Siren
from partinr.base.errors import PartinrError
from partinr.coords import (
    Layout,
    axis_coords,
    axis_samples,
    grid_coords,
    layout_coords,
    nearest_samples,
    region_frames,
    scaled_shape,
    to_frame,
    vote_of_nearest,
)
from partinr.model.album import Album
from partinr.partition import Grid, Partition
from tests.covering import covering

SHAPES = [(1, 1), (1, 7), (7, 1), (3, 5), (31, 17), (9,), (1,)]


def _blobs(shape: tuple[int, ...], regions: int, seed: int = 0) -> torch.Tensor:
    """A partition without any structure: every region scattered over the grid."""
    count = math.prod(shape)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return (order % regions).reshape(shape)


def test_every_coordinate_is_the_centre_of_its_cell():
    for shape in SHAPES:
        coords = grid_coords(shape).reshape(*shape, len(shape))
        assert torch.equal(nearest_samples(shape, shape), torch.arange(math.prod(shape)))
        for index in torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape)).tolist():
            for axis, (i, n) in enumerate(zip(index, shape, strict=True)):
                # The cell of sample i covers [-1 + 2 i / n, -1 + 2 (i + 1) / n].
                low, high = -1 + Fraction(2 * i, n), -1 + Fraction(2 * (i + 1), n)
                assert float(coords[(*index, axis)]) == pytest.approx(float((low + high) / 2), abs=1e-15)


def test_the_grid_fills_minus_one_to_one_along_every_axis():
    for shape in SHAPES:
        coords = grid_coords(shape)
        assert coords.dtype == torch.float64
        assert coords.shape == (math.prod(shape), len(shape))
        half_cell = 1 / torch.tensor(shape, dtype=torch.float64)
        torch.testing.assert_close(coords.amin(0) - half_cell, torch.full((len(shape),), -1.0, dtype=torch.float64))
        torch.testing.assert_close(coords.amax(0) + half_cell, torch.full((len(shape),), 1.0, dtype=torch.float64))
        torch.testing.assert_close(coords, -coords.flip(0))


def test_the_first_coordinate_is_the_row():
    coords = grid_coords((4, 6)).reshape(4, 6, 2)
    assert (coords[:, 1:, 0] == coords[:, :1, 0]).all()
    assert (coords[1:, :, 1] == coords[:1, :, 1]).all()
    assert (coords[1:, :, 0] > coords[:-1, :, 0]).all()
    assert (coords[:, 1:, 1] > coords[:, :-1, 1]).all()


def test_neighbours_in_the_image_are_neighbours_in_coordinates():
    for shape in [(2, 3), (3, 2), (24, 36), (178, 100), (5, 101)]:
        # Laying coordinates out width-major and pixels height-major puts neighbours of a 3:2 image 0.6 apart.
        flat = torch.arange(math.prod(shape)).reshape(shape)
        coords = grid_coords(shape)
        for axis, n in enumerate(shape):
            step = coords[flat.narrow(axis, 1, n - 1).reshape(-1)] - coords[flat.narrow(axis, 0, n - 1).reshape(-1)]
            expected = torch.zeros(2, dtype=torch.float64)
            expected[axis] = 2 / n
            torch.testing.assert_close(step, expected.expand_as(step), rtol=0, atol=1e-12)


def test_one_axis_is_one_dimensional_coordinates():
    torch.testing.assert_close(grid_coords((5,))[:, 0], axis_coords(5))
    assert axis_coords(4).tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert axis_coords(1).tolist() == [0.0]


# ---------------------------------------------------------------------------------------------------------------------
# Other resolutions


def _cell_of(centre: Fraction, n: int) -> int:
    """The cell of an axis of n cells that holds a point in (0, 1); a point on a border belongs to the later cell."""
    return next(i for i in reversed(range(n)) if Fraction(i, n) <= centre)


@covering(10, shape=[(1, 1), (1, 5), (3, 4), (7, 5), (8, 6), (6,), (13,)], scale=[0.5, 1, 2, 3, 1.7])
def test_nearest_samples_against_brute_force(shape, scale):
    target = scaled_shape(shape, scale)
    expected = []
    for index in torch.cartesian_prod(*map(torch.arange, target)).reshape(-1, len(target)).tolist():
        number = 0
        for j, n, m in zip(index, shape, target, strict=True):
            number = number * n + _cell_of(Fraction(2 * j + 1, 2 * m), n)
        expected.append(number)
    found = nearest_samples(shape, target)
    assert found.dtype == torch.int64
    assert found.tolist() == expected


def test_nearest_samples_of_a_whole_enlargement_repeats_samples():
    for factor in [2, 3, 4]:
        flat = torch.arange(20).reshape(4, 5)
        repeated = flat.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
        assert torch.equal(nearest_samples((4, 5), (4 * factor, 5 * factor)), repeated.reshape(-1))


def test_nearest_samples_refuses_another_number_of_axes():
    with pytest.raises(ValueError, match="zip"):
        nearest_samples((4, 5), (4,))


def test_the_same_place_has_the_same_coordinates_at_every_scale():
    for shape in [(6, 4), (5, 7), (9,)]:
        coarse = grid_coords(shape).reshape(*shape, -1)
        fine = grid_coords([3 * n for n in shape]).reshape(*(3 * n for n in shape), -1)
        # The middle one of three samples sits at the centre of the old cell.
        torch.testing.assert_close(fine[tuple(slice(1, None, 3) for _ in shape)], coarse)
        double = grid_coords([2 * n for n in shape]).reshape(*(2 * n for n in shape), -1)
        for axis, n in enumerate(shape):
            double = double.unflatten(axis, (n, 2)).mean(axis + 1)
        torch.testing.assert_close(double, coarse)


def test_scaled_shape():
    for shape, scale, expected in [
        ((8, 6), 0.5, (4, 3)),
        ((8, 6), 2, (16, 12)),
        ((1, 3), 0.1, (1, 1)),
        ((10,), 1.25, (12,)),
        ((4, 4), 1, (4, 4)),
    ]:
        assert scaled_shape(shape, scale) == expected


def test_scaled_shape_refuses():
    for scale in [0, -1, math.inf, -math.inf, math.nan]:
        with pytest.raises(PartinrError, match="give a positive number"):
            scaled_shape((4, 4), scale)


def _votes(labels: torch.Tensor, target: tuple[int, ...], place: tuple[int, ...]) -> dict[int, Fraction]:
    """Weight of each label around a point, by the plain rule of linear interpolation."""
    votes: dict[int, Fraction] = {}
    ends = []
    for j, n, m in zip(place, labels.shape, target, strict=True):
        position = min(max(Fraction((2 * j + 1) * n, 2 * m) - Fraction(1, 2), Fraction(0)), Fraction(n - 1))
        low = math.floor(position)
        ends.append([(low, 1 - position + low), (min(low + 1, n - 1), position - low)])
    for corner in itertools.product(*ends):
        label = int(labels[tuple(index for index, _ in corner)])
        votes[label] = votes.get(label, Fraction(0)) + math.prod((weight for _, weight in corner), start=Fraction(1))
    return votes


@covering(10, shape=[(1, 1), (1, 6), (5, 4), (7, 7), (6,), (2, 3, 3)], scale=[0.5, 1, 1.7, 2, 3, 4], at_once=[7, 10**6])
def test_the_vote_against_brute_force(shape, scale, at_once, monkeypatch):
    monkeypatch.setattr(coords, "_AT_ONCE", at_once)
    target = scaled_shape(shape, scale)
    for regions in (1, 2, 5):
        labels = _blobs(shape, regions, seed=regions)
        axes = [axis_samples(n, m) for n, m in zip(shape, target, strict=True)]
        nearest = labels.reshape(-1)[nearest_samples(shape, target)].reshape(target)
        before = nearest.clone()
        found = vote_of_nearest(labels, axes, nearest)
        # Point by point it is the same, so bands of a picture fit together.
        for place in itertools.product(*(range(0, m, 2) for m in target)):
            part = [axis.part(j, j + 1) for axis, j in zip(axes, place, strict=True)]
            own = tuple(slice(j, j + 1) for j in place)
            assert torch.equal(vote_of_nearest(labels, part, nearest[own]), found[own])
        assert found.dtype == torch.int64
        assert torch.equal(nearest, before)
        for place, label, own in zip(
            itertools.product(*map(range, target)),
            found.reshape(-1).tolist(),
            nearest.reshape(-1).tolist(),
            strict=True,
        ):
            votes = _votes(labels, target, place)
            assert votes[label] == max(votes.values())
            # In a tie the cell that holds the point has it.
            assert label == own or votes[own] < votes[label]


def test_samples_that_begin_within_a_sample_are_those_of_the_whole():
    whole, part = axis_samples(6, 24), axis_samples(6, 12, Fraction(3, 2), Fraction(9, 2))
    for of in ("cells", "places", "coords"):
        assert torch.equal(getattr(part, of), getattr(whole, of)[6:18]), of


# ---------------------------------------------------------------------------------------------------------------------
# Local frames


def _local(labels: torch.Tensor) -> torch.Tensor:
    regions = int(labels.max()) + 1
    return to_frame(grid_coords(labels.shape), *region_frames(labels, regions), labels.reshape(-1))


@covering(shape=[(6, 9), (9, 6), (7, 11), (1, 8), (8, 1), (12,)], regions=[4, 2, 1])
def test_a_rectangle_seen_locally_is_a_grid_of_its_own(shape, regions):
    if len(shape) == 2 and 1 in shape and regions == 4:
        regions = 3
    labels = Grid(regions=regions)(torch.zeros(*shape, 1)).labels
    local = _local(labels)
    for region in range(regions):
        inside = labels == region
        extent = [int(inside.any(dim=[k for k in range(len(shape)) if k != axis]).sum()) if len(shape) > 1
                  else int(inside.sum()) for axis in range(len(shape))]  # fmt: skip
        torch.testing.assert_close(local[inside.reshape(-1)], grid_coords(extent), rtol=0, atol=1e-12)


def test_local_coordinates_fill_the_bounding_box_of_any_region():
    for shape, regions in [((6, 9), 5), ((13, 4), 9), ((30,), 4), ((5, 5), 25), ((4, 4), 1)]:
        labels = _blobs(shape, regions)
        local = _local(labels).reshape(*shape, -1)
        centre, half_extent = region_frames(labels, regions)
        assert centre.shape == half_extent.shape == (regions, len(shape))
        for region in range(regions):
            places = (labels == region).nonzero()
            for axis, n in enumerate(shape):
                cells = int(places[:, axis].max() - places[:, axis].min()) + 1
                seen = local[labels == region][:, axis]
                # The outermost samples are half a cell inside the frame, on both sides.
                assert float(seen.max()) == pytest.approx(1 - 1 / cells)
                assert float(seen.min()) == pytest.approx(-1 + 1 / cells)
                assert float(half_extent[region, axis]) == pytest.approx(cells / n)


def test_a_region_of_one_pixel_sits_at_the_origin_of_its_frame():
    labels = torch.zeros(5, 7, dtype=torch.int64)
    labels[3, 2] = 1
    local = _local(labels).reshape(5, 7, 2)
    assert local[3, 2].tolist() == pytest.approx([0.0, 0.0])
    _, half_extent = region_frames(labels, 2)
    assert half_extent[1].tolist() == pytest.approx([1 / 5, 1 / 7])


def test_local_frames_hold_at_every_scale():
    for scale in [2, 3, 4]:
        partition = Partition(_blobs((6, 8), 5, seed=1))
        frames = region_frames(partition.labels, 5)
        shape = scaled_shape(partition.shape, scale)
        labels = partition.labels_at(shape)
        fine = to_frame(grid_coords(shape), *frames, labels.reshape(-1)).reshape(*shape, 2)
        assert float(fine.abs().max()) <= 1
        # All new samples of an old cell, taken together, sit where the old sample sat.
        mean = fine.unflatten(1, (8, scale)).unflatten(0, (6, scale)).mean((1, 3))
        torch.testing.assert_close(mean.reshape(-1, 2), _local(partition.labels))


def test_a_small_region_of_a_large_grid_keeps_its_precision():
    labels = torch.zeros(2**15, dtype=torch.int64)
    labels[20_000:20_004] = 1
    local = _local(labels)[20_000:20_004, 0]
    torch.testing.assert_close(local, axis_coords(4), rtol=0, atol=1e-11)


def test_the_layout_of_the_public_code_by_hand():
    # a b c        a b
    # d e f   as   c d
    #              e f
    axes = Partition(torch.zeros(2, 3, dtype=torch.int64)).axes
    third, half = 2 / 3, 1 / 2
    layouts: tuple[Layout | None, ...] = (None, "public_code")
    right = [(-half, -third), (-half, 0), (-half, third), (half, -third), (half, 0), (half, third)]
    seen = [(-third, -half), (-third, half), (0, -half), (0, half), (third, -half), (third, half)]
    for layout, wanted in zip(layouts, (right, seen), strict=True):
        torch.testing.assert_close(layout_coords(axes, layout), torch.tensor(wanted, dtype=torch.float64))
    square = Partition(torch.zeros(4, 4, dtype=torch.int64)).axes
    assert torch.equal(layout_coords(square, "public_code"), layout_coords(square))


def test_a_scrambled_image_is_fitted_as_the_image_that_its_networks_see():
    image = torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(0))
    partition = Grid(regions=4)(image)
    scrambled = partinr.PiecewiseINR(partition, Siren(hidden_features=6), layout="public_code")
    seen = partinr.PiecewiseINR(Partition(partition.labels.reshape(4, 6)), Siren(hidden_features=6))
    batches = scrambled.batch(image), seen.batch(image.reshape(4, 6, 3))
    for part in ("coords", "targets", "network", "order"):
        assert torch.equal(*(getattr(batch, part) for batch in batches))
    whole = scrambled.render()
    assert torch.equal(whole.reshape(4, 6, 3), seen.render())
    assert torch.equal(scrambled.render(crop=[(2, 5), (1, 3)]), whole[2:5, 1:3])
    album = Album({"a": scrambled, "b": seen})
    assert torch.equal(album.member(0).render(), whole)
    assert album.member(0).architecture()["layout"] == "public_code"


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda image: _scrambled(image, frame="local"), "give coords.frame=global"),
        (lambda image: _scrambled(image[0]), "leave the layout out"),
        (lambda image: _scrambled(image).render(2), "render at scale 1"),
        (lambda image: _scrambled(image).render(crop=[(0, 1.5), (0, 3)]), "render at scale 1"),
        (lambda image: _scrambled(image).render(field="gradient"), "render its values"),
    ],
)
def test_a_scrambled_image_has_nothing_between_its_pixels(refused, message):
    with pytest.raises(PartinrError, match=message):
        refused(torch.rand(2, 3, 3))


def _scrambled(image: torch.Tensor, **options: Any) -> partinr.PiecewiseINR:
    """A model with the coordinates of the public code."""
    return partinr.PiecewiseINR(Grid(regions=1)(image), Siren(hidden_features=2), layout="public_code", **options)
