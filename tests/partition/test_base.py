"""What a partition is, whoever made it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from partinr.errors import PartinrError
from partinr.partition import Partition, PartitionRule, Whole
from partinr.spec import spec


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.tensor([[0, 2], [2, 0]]), "no sample has label 1"),
        (torch.tensor([[1, 2], [2, 1]]), "no sample has label 0"),
        (torch.tensor([[0, -1]]), "number the regions from 0"),
        (torch.tensor([[0.0, 1.0]]), "give whole numbers"),
        (torch.tensor([[True, False]]), "give whole numbers"),
        (torch.tensor([[0j]]), "give whole numbers"),
        (torch.empty(0, 4, dtype=torch.int64), "one label for each sample"),
        (torch.empty(0, dtype=torch.int64), "one label for each sample"),
        (torch.tensor(0), "one label for each sample"),
        (torch.tensor([0, 10**13]), "no sample has label 1"),
    ],
)
def test_refused(labels, said):
    with pytest.raises(PartinrError, match=said) as caught:
        Partition(labels)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16])
def test_any_whole_number_type_is_taken(dtype):
    partition = Partition(torch.tensor([[0, 1, 1], [2, 0, 1]]).to(dtype))
    assert partition.labels.dtype == torch.int64
    assert partition.labels.tolist() == [[0, 1, 1], [2, 0, 1]]


def test_numpy_labels_are_taken():
    assert Partition(np.array([[0, 1]], dtype=np.int32)).labels.tolist() == [[0, 1]]  # type: ignore[arg-type]


def test_every_sample_is_in_exactly_one_region():
    generator = torch.Generator().manual_seed(0)
    for shape, regions in [((7, 5), 4), ((1, 9), 9), ((11,), 3), ((6, 6), 1)]:
        labels = torch.randperm(int(torch.tensor(shape).prod()), generator=generator).reshape(shape) % regions
        partition = Partition(labels)
        assert partition.shape == shape
        assert partition.regions == regions
        assert int(partition.sizes.sum()) == labels.numel()
        assert partition.sizes.tolist() == [int((labels == region).sum()) for region in range(regions)]


def test_frozen_and_independent_of_what_it_was_made_from():
    labels = torch.tensor([[0, 1], [1, 0]])
    partition = Partition(labels)
    labels.fill_(7)
    assert partition.labels.tolist() == [[0, 1], [1, 0]]
    with pytest.raises(dataclasses.FrozenInstanceError):
        partition.labels = labels  # type: ignore[misc]


def test_labels_at_follows_the_cells():
    labels = torch.tensor([[0, 1, 2], [3, 4, 5]])
    partition = Partition(labels)
    assert torch.equal(partition.labels_at((2, 3)), labels)
    assert torch.equal(partition.labels_at((4, 9)), labels.repeat_interleave(2, 0).repeat_interleave(3, 1))
    assert partition.labels_at((1, 1)).shape == (1, 1)


@spec
class Stripes(PartitionRule):
    width: int = 1

    def labels(self, signal):
        return torch.arange(signal.shape[1]).div(self.width, rounding_mode="floor").expand(signal.shape[:-1])


@spec
class Stubborn(PartitionRule):
    def labels(self, signal):
        return torch.zeros(3, 3, dtype=torch.int64)


@spec
class Gappy(PartitionRule):
    def labels(self, signal):
        return torch.full(signal.shape[:-1], 2)


def test_a_rule_of_ones_own_is_one_class():
    partition = Stripes(width=2)(torch.zeros(2, 5, 3))
    assert partition.labels.tolist() == [[0, 0, 1, 1, 2]] * 2
    assert Stripes.title == "stripes"
    with pytest.raises(PartinrError, match=r"Stripes\.width"):
        Stripes(width="2")  # type: ignore[arg-type]


def test_what_a_rule_gives_is_checked():
    with pytest.raises(PartinrError, match=r"Stubborn gave labels of shape \[3, 3\] for a grid of \[2, 5\]"):
        Stubborn()(torch.zeros(2, 5, 3))
    with pytest.raises(PartinrError, match="without a gap"):
        Gappy()(torch.zeros(2, 5, 3))


def test_a_rule_without_labels_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        PartitionRule()  # type: ignore[abstract]


@pytest.mark.parametrize("shape", [(4, 6, 3), (1, 1, 1), (9, 1)])
def test_whole_is_one_region(shape):
    partition = Whole()(torch.zeros(shape))
    assert partition.regions == 1
    assert partition.shape == shape[:-1]
    assert Whole.title == "none"
