"""The share of each network in the samples of a step, and its highest scores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor


def quotas(sizes: Sequence[int], total: int) -> list[int]:
    """Whole numbers in proportion to ``sizes`` that sum up to ``total``, none above its size."""
    ends = [0, *np.cumsum(sizes).tolist()]
    shares = [total * end // ends[-1] for end in ends]
    return [after - before for before, after in pairwise(shares)]


def highest(scores: Tensor, sizes: Sequence[int], counts: Sequence[int]) -> Tensor:
    """Which rows have the highest scores of their network: bool ``[M]``.

    Args:
        scores: ``[M]``, sorted by network.
        sizes: rows of each network.
        counts: how many of them are chosen.
    """
    values, chosen, start = scores.numpy(), torch.zeros(len(scores), dtype=torch.bool), 0
    for size, count in zip(sizes, counts, strict=True):
        if count:
            chosen[start + np.argpartition(values[start : start + size], size - count)[size - count :]] = True
        start += size
    return chosen
