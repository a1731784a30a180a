"""Fits whose coordinates are computed at each step."""

from __future__ import annotations

import pytest
import torch

from partinr.model import batch as batches
from partinr.partition import Partition
from tests.small_fits import Fit


@pytest.mark.parametrize("regions", [1, 4])
@pytest.mark.parametrize("sampling", ["uniform", "error"])
def test_a_fit_without_a_table_is_the_same(
    monkeypatch: pytest.MonkeyPatch, small_fit: Fit, signal: torch.Tensor, regions: int, sampling: str
) -> None:
    partition = Partition(torch.arange(54).reshape(6, 9) * regions // 54)
    settings = {"points_per_step": 20, "sampling": sampling}
    found = []
    for table in (2**22, 0):
        monkeypatch.setattr(batches, "TABLE", table)
        found.append(small_fit(signal, partition, settings=settings, steps=12))
    one, other = ([(row["step"], row["loss"], row["psnr"]) for row in each.curve] for each in found)
    assert one == other
    assert len(one) > 2
