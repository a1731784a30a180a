"""Tiny tasks, and what is learned from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from partinr.backbones import Backbone, ReluPE, Siren
from partinr.partition import Partition
from partinr.regimes.meta import LearnedStart, TaskBatch, check_meta_gradient

BACKBONES: dict[str, Backbone] = {
    "siren": Siren(hidden_features=4, hidden_layers=1, first_omega_0=4.0, omega_0=3.0),
    "relu_pe": ReluPE(hidden_features=5, hidden_layers=1, frequencies=2, base=1.0),
}

# Four regions each, ragged; one of a single sample, one scattered, and grids of different shapes.
LABELS = (
    torch.tensor([[0, 0, 0, 1], [2, 0, 1, 1], [2, 3, 2, 1]]),
    torch.tensor([[0, 1, 1, 1, 1], [2, 2, 3, 3, 1]]),
    torch.tensor([[3, 2], [3, 2], [0, 1], [3, 1], [3, 1]]),
)

MakeStart = Callable[..., LearnedStart]


@pytest.fixture(autouse=True, scope="package")
def _a_gradient_is_checked_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A third of the time of a tiny training, if each would check its meta-gradient."""
    folder = tmp_path_factory.mktemp("checked")

    def check(start: Any, algorithm: Any, recompute: bool, device: Any, dtype: Any, cache: Any) -> None:
        check_meta_gradient(start, algorithm, recompute, device, dtype, folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("partinr.regimes.meta.module.check_meta_gradient", check)
        yield


@pytest.fixture
def signals() -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [torch.rand(*labels.shape, 2, generator=generator) for labels in LABELS]


@pytest.fixture
def partitions() -> list[Partition]:
    return [Partition(labels) for labels in LABELS]


@pytest.fixture
def batch(signals, partitions) -> TaskBatch:
    """Three tasks of four regions, in double precision."""
    return TaskBatch.of(signals, partitions, "global").to(torch.device("cpu"), torch.float64)


@pytest.fixture
def make_start() -> MakeStart:
    def make(backbone: str = "siren", **options: Any) -> LearnedStart:
        """In double precision, every number of its own, rates too, so that none can stand in for another."""
        # Large steps: what is lost of the second order is seen.
        options = {"inner_steps": 2, "inner_lr": 0.1, "engine": "batched", **options}
        start = LearnedStart(BACKBONES[backbone], channels=2, **options).double()
        generator = torch.Generator().manual_seed(5)
        with torch.no_grad():
            for value in start.networks.parameters():
                value.add_(0.1 * torch.rand(value.shape, generator=generator, dtype=value.dtype))
            for value in start.rates.parameters():
                value.mul_(0.5 + torch.rand(value.shape, generator=generator, dtype=value.dtype))
        return start

    return make
