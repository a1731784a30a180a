"""Small pictures of every kind, and a second opinion on what hangs together."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import label
from torch import Tensor

from partinr.partition import _mat
from partinr.partition.isolated import IsolatedError

Picture = Callable[..., Tensor]
"""``picture(kind, shape, channels=3)``: ``flat``, ``two`` values at random, ``noise``, a ``ramp``, or a ``scene``."""

Pieces = Callable[[Tensor], int]
"""In how many pieces, connected at sides or corners, a label map falls."""


@pytest.fixture(scope="session")
def picture() -> Picture:
    def make(kind: str, shape: Sequence[int], channels: int = 3) -> Tensor:
        rng = np.random.default_rng(0)
        if kind == "flat":
            values = np.full((*shape, channels), 0.3)
        elif kind == "two":
            values = np.repeat(rng.integers(0, 2, (*shape, 1)), channels, axis=-1)
        elif kind == "noise":
            values = rng.random((*shape, channels))
        elif kind == "ramp":
            values = np.linspace(0, 1, int(np.prod(shape)) * channels).reshape(*shape, channels)
        else:
            assert kind == "scene"
            # Areas around random places, each of a colour of its own, with a little noise.
            places, colours = rng.random((30, len(shape))) * shape, rng.random((30, channels))
            grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
            nearest = np.square(grid[..., None, :] - places).sum(axis=-1).argmin(axis=-1)
            values = np.clip(colours[nearest] + rng.normal(0, 0.02, (*shape, channels)), 0, 1)
        return torch.from_numpy(values.astype(np.float32))

    return make


@pytest.fixture(scope="session")
def pieces() -> Pieces:
    def count(labels: Tensor) -> int:
        array = labels.numpy()
        return sum(label(array == region, np.ones((3,) * array.ndim))[1] for region in np.unique(array))

    return count


@pytest.fixture
def mat_is_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """MAT files are read in this process: one of its own takes a third of a second each."""

    def read(program: Path, content: bytes, patience: float) -> bytes:
        output = io.BytesIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
            patch.setattr("sys.stdout", SimpleNamespace(buffer=output))
            try:
                _mat.main()
            except Exception as error:
                raise IsolatedError(str(error)) from error
        return output.getvalue()

    monkeypatch.setattr("partinr.partition.labelmap.run_isolated", read)
