"""Boxes follow the error: small where it is, merged where it is not, and never more than asked for."""

from __future__ import annotations

import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.partition import Adaptive, Change, Partition


def _after(rule: Adaptive, partition: Partition, error: torch.Tensor, done: float) -> Partition:
    """The partition after an evaluation; every region lies in its parent or is a merged one around it."""
    change = rule.change(partition, error, done)
    if change is None:
        return partition
    after = change.of(partition, rule.limit)
    for region, parent in enumerate(change.parents.tolist()):
        here, before = change.labels == region, partition.labels == parent
        assert bool(before[here].all()) or bool(here[before].all())
        at = here.nonzero()
        assert int((at.amax(0) - at.amin(0) + 1).prod()) == len(at), "a box"
    return after


@pytest.mark.parametrize("shape", [(600,), (32, 40), (12, 14, 16)])
def test_regions_grow_to_their_number_and_are_small_where_the_error_is(shape):
    rule = Adaptive(regions=12, begin=3, until=0.3)
    partition = rule(torch.zeros(*shape, 2))
    assert partition.regions == 3
    corner = tuple(slice(n // 4) for n in shape)
    error = torch.full(shape, 1e-3, dtype=torch.float64)
    error[corner] = 1.0
    numbers = []
    for done in (0.03, 0.07, 0.1, 0.16, 0.5):
        partition = _after(rule, partition, error, done)
        numbers.append(partition.regions)
    assert numbers == [3, 5, 7, 12, 12]
    of_corner = partition.labels[corner].unique()
    assert partition.sizes[of_corner].double().mean() < partition.sizes.double().mean()
    assert len(of_corner) > 12 * error[corner].numel() / error.numel()


def test_two_halves_are_merged_where_that_pays_for_another_halving():
    rule = Adaptive(regions=4, begin=4, until=0.3, merge=10.0)
    partition = rule(torch.zeros(16, 16, 1))
    error = torch.ones(16, 16, dtype=torch.float64)
    assert rule.change(partition, error, 0.1) is None
    error[8:] = torch.tensor([0.02, 0.01]).repeat_interleave(8)
    change = rule.change(partition, error, 0.1)
    assert change is not None
    assert change.of(partition, 4).sizes.sort().values.tolist() == [32, 32, 64, 128]
    merged = int(change.labels[15, 15])
    assert int(change.parents[merged]) == int(partition.labels[8, 0]), "the half with more error"
    assert rule.change(partition, error, 0.5) is None, "the labels stay"
    assert Adaptive(regions=4, begin=4, merge=None).change(partition, error, 0.1) is None


def test_more_regions_at_the_beginning_than_at_the_end_are_refused():
    with pytest.raises(PartinrError, match="give at most that"):
        Adaptive(regions=4, begin=5)
    assert Adaptive(regions=1)(torch.zeros(4, 4, 1)).regions == 1
    assert isinstance(Adaptive(regions=8).change(Partition(torch.zeros(9, 9).long()), torch.ones(9, 9), 1.0), Change)
