"""Samples sorted by region, and back."""

from __future__ import annotations

import pytest
import torch

from partinr.model.batch import RegionBatch, sort_by_network

CASES = [([0], 1), ([2, 0, 2, 1, 0, 0], 3), ([1, 1, 1], 4), ([3, 0], 5), ([], 2), ([0] * 9, 1)]


@pytest.mark.parametrize(("labels", "networks"), CASES)
def test_sorted_by_region_in_the_order_they_came(labels, networks):
    order, sizes = sort_by_network(torch.tensor(labels, dtype=torch.int64), networks)
    assert order.tolist() == sorted(range(len(labels)), key=lambda i: (labels[i], i))
    assert sizes == tuple(labels.count(n) for n in range(networks))
    assert all(type(size) is int for size in sizes)


def _batch(labels: torch.Tensor, networks: int) -> tuple[RegionBatch, torch.Tensor]:
    signal = torch.rand(len(labels), 2, generator=torch.Generator().manual_seed(0))
    order, sizes = sort_by_network(labels, networks)
    return RegionBatch(signal[order], signal, labels[order], order, sizes), signal


def test_unsort_undoes_the_sorting():
    labels = torch.randint(0, 6, (50,), generator=torch.Generator().manual_seed(3))
    batch, signal = _batch(labels, 6)
    assert torch.equal(batch.unsort(batch.targets), signal)
    assert torch.equal(batch.unsort(batch.network), labels)
    assert torch.equal(signal[batch.order], batch.targets)


def test_count_tells_the_sizes_of_a_subset():
    labels = torch.randint(0, 6, (50,), generator=torch.Generator().manual_seed(3))
    batch, _ = _batch(labels, 8)
    samples = torch.randperm(50, generator=torch.Generator().manual_seed(4))[:13].sort().values
    sizes = batch.count(samples)
    assert sizes == tuple(int((batch.network[samples] == n).sum()) for n in range(8))
    assert batch.count(torch.arange(50)) == batch.sizes
    # Ascending positions are sorted by region, so that the subset is a region batch again.
    assert (batch.network[samples].diff() >= 0).all()
