"""A meta-batch: where every sample lies, what it counts, which are given as a context."""

from __future__ import annotations

import pytest
import torch

from partinr.coords import grid_coords
from partinr.regimes.meta import TaskBatch
from tests.covering import covering

CPU = torch.device("cpu")


def test_tasks_lie_one_after_the_other_each_sorted_by_region(batch, signals, partitions):
    assert batch.tasks == 3
    assert batch.samples == (12, 10, 10)
    assert batch.regions == (4, 4, 4)
    assert batch.shapes == ((3, 4), (2, 5), (5, 2))
    assert batch.cell.tolist() == [0, 1, 2, 3] * 3
    assert batch.sizes == tuple(size for each in partitions for size in each.sizes.tolist())
    network = 0
    pieces = zip(batch.coords.split(batch.sizes), batch.targets.split(batch.sizes), strict=True)
    for signal, partition in zip(signals, partitions, strict=True):
        coords = grid_coords(partition.shape).float().double().reshape(*partition.shape, 2)
        for region in range(partition.regions):
            own_coords, own_targets = next(pieces)
            assert torch.equal(own_coords, coords[partition.labels == region])
            assert torch.equal(own_targets, signal[partition.labels == region].double())
            network += 1
    assert network == len(batch.sizes)


def test_images_come_back_as_they_were(batch, signals):
    for image, signal in zip(batch.images(batch.targets), signals, strict=True):
        assert torch.equal(image, signal.double())


def test_errors_are_a_task_each_and_clamped(batch, signals):
    assert batch.squared_errors(batch.targets).tolist() == [0, 0, 0]
    beyond = batch.squared_errors(batch.targets + 5)
    expected = torch.stack([(1 - signal).double().square().mean() for signal in signals])
    torch.testing.assert_close(beyond, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("among", [None, 3, 8])
def test_every_task_weighs_the_same(batch, among):
    weights = batch.weights(among)
    assert weights.shape == (32, 1)
    assert weights.dtype == torch.float64
    # Times the two channels.
    for part in weights.split(batch.samples):
        assert abs(2 * float(part.sum()) - 1 / (among or 3)) < 1e-12


def test_a_region_descends_on_its_own_mean_or_on_its_part_of_the_image(batch):
    region, image = batch.context("region"), batch.context("image")
    assert region.sizes == image.sizes == batch.sizes
    for own in region.weights.split(region.sizes):
        assert abs(2 * float(own.sum()) - 1) < 1e-12
    for own in image.weights.split(batch.samples):
        assert abs(2 * float(own.sum()) - 1) < 1e-12


@covering(loss=["region", "image"], fraction=[0.01, 0.3, 0.5, 0.99])
def test_a_context_is_a_fraction_of_every_task(batch, loss, fraction):
    context = batch.context(loss, fraction, (1, 2, 3))
    counts = [max(1, round(fraction * each)) for each in batch.samples]
    assert [sum(context.sizes[n : n + 4]) for n in (0, 4, 8)] == counts
    weigh = context.sizes if loss == "region" else counts
    for own in context.weights.split(weigh):
        assert len(own) == 0 or abs(2 * float(own.sum()) - 1) < 1e-12
    # Samples of the network's own, each at most once.
    whole = torch.cat([batch.coords, batch.targets], 1).split(batch.sizes)
    drawn = torch.cat([context.coords, context.targets], 1).split(context.sizes)
    for own, all_of_it in zip(drawn, whole, strict=True):
        rows = [tuple(row) for row in own.tolist()]
        assert len(set(rows)) == len(rows)
        assert set(rows) <= {tuple(row) for row in all_of_it.tolist()}


def test_a_context_follows_from_its_seeds(batch):
    one, same, other = (batch.context("region", 0.5, seeds) for seeds in ((1, 2, 3), (1, 2, 3), (1, 2, 4)))
    assert torch.equal(one.coords, same.coords)
    assert torch.equal(one.targets, same.targets)
    assert not torch.equal(one.targets, other.targets)
    assert torch.equal(one.targets[:11], other.targets[:11])


def test_contexts_of_a_task_do_not_depend_on_those_beside_it(batch, signals, partitions):
    whole = batch.context("region", 0.5, (11, 12, 13))
    pieces = [
        TaskBatch.of([signal], [partition], "global").to(CPU, torch.float64).context("region", 0.5, [seed])
        for signal, partition, seed in zip(signals, partitions, (11, 12, 13), strict=True)
    ]
    for name in ("coords", "targets", "weights"):
        assert torch.equal(torch.cat([getattr(each, name) for each in pieces]), getattr(whole, name))
    assert whole.sizes == tuple(size for each in pieces for size in each.sizes)


@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_a_batch_moves_as_a_whole(signals, partitions, dtype):
    single = TaskBatch.of(signals, partitions, "global", ["a", "b", "c"], [7, 8, 9])
    moved = single.to(torch.device("meta"), dtype)
    assert {each.device.type for each in (moved.coords, moved.targets, moved.cell, moved.order)} == {"meta"}
    assert moved.coords.dtype == moved.targets.dtype == (dtype or torch.float32)
    assert moved.cell.dtype == moved.order.dtype == torch.int64
    assert (moved.names, moved.indices, moved.sizes) == (("a", "b", "c"), (7, 8, 9), single.sizes)
