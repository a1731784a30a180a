"""Blended regions: a partition of unity, of which the closed form is known on a grid."""

from __future__ import annotations

import math

import pytest
import torch

from partinr.coords import axis_samples, nearest_samples
from partinr.partition import Cover, Grid, Partition, Whole
from tests.covering import covering


def _cover(partition: Partition, shape: tuple[int, ...], overlap: int, smooth: bool = False) -> Cover:
    """On the samples of a grid over the same extent."""
    return partition.cover_on(
        [axis_samples(n, m) for n, m in zip(partition.shape, shape, strict=True)], overlap, smooth
    )


def _dense(cover: Cover, networks: int) -> torch.Tensor:
    """The weight of each network in each sample, ``[M, N]``; no pair is there twice."""
    samples = int(cover.sample.max()) + 1
    assert len(torch.unique(cover.sample * networks + cover.network)) == len(cover.sample)
    weights = torch.zeros(samples, networks, dtype=torch.float64)
    weights[cover.sample, cover.network] = cover.weight
    return weights


def _random_partition(shape: tuple[int, ...], regions: int = 4) -> Partition:
    labels = torch.randint(regions, shape, generator=torch.Generator().manual_seed(0))
    labels.reshape(-1)[:regions] = torch.arange(regions)
    return Partition(labels)


@covering(
    case=[((9, 12), 1), ((9, 12), 40), ((31,), 3), ((31,), 40), ((4, 5, 3), 1), ((4, 5, 3), 3), ((1, 7), 40)],
    scale=[1, 0.6, 2.5],
)
def test_weights_sum_to_1_everywhere(case, scale):
    shape, overlap = case
    partition = _random_partition(shape)
    grid = tuple(max(1, round(n * scale)) for n in shape)
    cover = _cover(partition, grid, overlap)
    weights = _dense(cover, partition.regions)
    assert len(weights) == math.prod(grid)
    assert (cover.sample.diff() >= 0).all()
    assert (cover.weight > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights), dtype=torch.float64), rtol=0, atol=1e-12)


def _ramp(distance: torch.Tensor, overlap: int) -> torch.Tensor:
    """From 0 to 1 across a border, by the signed distance from it."""
    u = (distance / overlap).clamp(-1, 1)
    return (1 + u + torch.sin(math.pi * u) / math.pi) / 2


@covering(overlap=[1, 2, 4], scale=[3, 1])
def test_on_a_grid_they_are_products_of_ramps(scale, overlap):
    partition = Grid(rows=2, cols=3)(torch.rand(10, 18, 3))
    y, x = ((torch.arange(n * scale, dtype=torch.float64) + 0.5) / scale for n in (10, 18))
    rows = torch.stack([1 - _ramp(y - 5, overlap), _ramp(y - 5, overlap)], -1)
    first, second = _ramp(x - 6, overlap), _ramp(x - 12, overlap)
    columns = torch.stack([1 - first, first - second, second], -1)
    expected = (rows[:, None, :, None] * columns[None, :, None, :]).reshape(-1, 6)
    found = _dense(_cover(partition, (10 * scale, 18 * scale), overlap), 6)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("overlap", [1, 2])
def test_in_any_map_they_are_its_indicators_smoothed(overlap):
    partition = _random_partition((6, 7))
    # The integral over each cell, by many small pieces.
    fine = 400
    t = (torch.arange((2 * overlap + 1) * fine, dtype=torch.float64) + 0.5) / fine - overlap - 0.5
    kernel = torch.where(t.abs() < overlap, (1 + torch.cos(math.pi * t / overlap)) / (2 * overlap), 0.0)
    shares = kernel.reshape(-1, fine).sum(1) / fine
    padded = torch.nn.functional.pad(partition.labels[None].double(), [overlap] * 4, "replicate")[0].long()
    windows = padded.unfold(0, len(shares), 1).unfold(1, len(shares), 1)
    indicators = torch.nn.functional.one_hot(windows, partition.regions).double()
    expected = torch.einsum("hwijr,i,j->hwr", indicators, shares, shares).reshape(-1, partition.regions)
    found = _dense(_cover(partition, (6, 7), overlap), partition.regions)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1, 2])
def test_away_from_borders_a_region_is_alone(scale):
    partition = Grid(rows=2, cols=2)(torch.rand(16, 16, 3))
    cover = _cover(partition, (16 * scale, 16 * scale), 2)
    near = partition.near_border(2).reshape(-1)[nearest_samples((16, 16), (16 * scale, 16 * scale))]
    alone = ~near[cover.sample]
    assert (cover.weight[alone] == 1).all()
    assert torch.equal(cover.network[alone], partition.labels_at((16 * scale,) * 2).reshape(-1)[cover.sample[alone]])
    assert len(torch.unique(cover.sample[~alone])) < len(cover.sample[~alone])


def test_weights_do_not_jump():
    # Between two points h apart a weight changes by no more than the kernel's peak times h, along an axis.
    overlap, scale = 2, 16
    partition = _random_partition((7, 8))
    shape = (7 * scale, 8 * scale)
    weights = _dense(_cover(partition, shape, overlap), partition.regions).reshape(*shape, -1)
    steepest = max(float(weights.diff(dim=axis).abs().max()) for axis in (0, 1))
    assert 0 < steepest <= 1 / overlap / scale + 1e-9


@pytest.mark.parametrize("smooth", [False, True])
def test_without_overlap_each_sample_is_its_regions(smooth):
    partition = _random_partition((5, 6))
    cover = _cover(partition, (10, 12), 0, smooth)
    assert torch.equal(cover.sample, torch.arange(120))
    assert torch.equal(cover.network, partition.labels_at((10, 12), smooth).reshape(-1))
    assert (cover.weight == 1).all()


def test_one_region_is_alone_everywhere():
    cover = _cover(Whole()(torch.rand(6, 7, 3)), (6, 7), 3)
    assert torch.equal(cover.sample, torch.arange(42))
    assert (cover.weight == 1).all()


def test_many_points_are_looked_at_piece_by_piece(monkeypatch):
    partition = _random_partition((9, 12))
    whole = _cover(partition, (18, 24), 2)
    monkeypatch.setattr("partinr.partition.cover._AT_ONCE", 60)
    pieces = _cover(partition, (18, 24), 2)
    torch.testing.assert_close(_dense(pieces, 4), _dense(whole, 4), rtol=0, atol=0)
