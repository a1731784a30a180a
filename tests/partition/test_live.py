"""What a live partition may answer, and what a region keeps."""

from __future__ import annotations

import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.partition import Change, Partition

BEFORE = Partition(torch.tensor([0, 0, 1, 1, 2, 2]))


def test_a_region_is_the_same_only_with_all_samples_of_its_parent_and_no_others():
    change = Change(torch.tensor([0, 1, 2, 2, 3, 3]), torch.tensor([0, 0, 1, 2]))
    assert change.of(BEFORE, 4).regions == 4
    assert change.same(BEFORE).tolist() == [False, False, True, True]
    assert Change(torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([1, 2])).same(BEFORE).tolist() == [False, True]


@pytest.mark.parametrize(
    ("labels", "parents", "cause"),
    [
        ([0, 0, 1, 1, 2, 3], [0, 1, 2, 2], "at most 3"),
        ([0, 0, 1, 1], [0, 1], "the signal's"),
        ([0, 0, 1, 1, 2, 2], [0, 1], "one for each"),
        ([0, 0, 1, 1, 2, 2], [0, 1, 3], "0 to 2"),
    ],
)
def test_a_wrong_answer_is_refused(labels, parents, cause):
    with pytest.raises(PartinrError, match=cause):
        Change(torch.tensor(labels), torch.tensor(parents)).of(BEFORE, 3)
