"""Boxes that follow detail or a surface: exact in number, and small only where there is something."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from partinr.base.errors import PartinrWarning
from partinr.coords import grid_coords
from partinr.partition import Octree


def ball(side: int, radius: float = 0.7) -> Tensor:
    """The signed distance to a sphere, truncated, with its zero at 0.5."""
    distance = grid_coords((side,) * 3).norm(dim=1) - radius
    return (0.5 + distance.clamp(-0.3, 0.3) / 0.6).float().reshape(side, side, side, 1)


@pytest.mark.parametrize("shape", [(200,), (24, 30), (12, 10, 14)])
def test_boxes_are_small_where_there_is_detail(shape):
    signal = torch.full((*shape, 2), 0.4)
    corner = tuple(slice(n // 4) for n in shape)
    signal[corner] = torch.rand(signal[corner].shape, generator=torch.Generator().manual_seed(0))
    for regions in (1, 2, 9, 40):
        partition = Octree(regions=regions)(signal)
        assert partition.regions == regions
    busy = partition.labels[corner].unique()
    assert len(busy) > 15
    for label in range(40):
        at = (partition.labels == label).nonzero()
        assert int((at.amax(0) - at.amin(0) + 1).prod()) == len(at), "a box"


def test_boxes_follow_a_surface_and_the_rest_is_inside_and_outside():
    signal = ball(24)
    for regions in (1, 2, 3, 9, 64, 400):
        partition = Octree(regions=regions, level=0.5)(signal)
        assert partition.regions == regions
    inside, outside = regions - 2, regions - 1
    values = signal[..., 0]
    assert bool((values[partition.labels == inside] < 0.5).all())
    assert bool((values[partition.labels == outside] > 0.5).all())
    assert int(partition.sizes[-2:].min()) > 24**3 / 20
    # Every sample beside the surface is in a box of its own.
    beside = (values - 0.5).abs() < 1 / 24 / 0.6
    assert int(partition.labels[beside].max()) < inside
    sizes = partition.sizes[:-2]
    assert np.median(sizes) < 24**3 / 100


def test_a_level_that_is_not_there_is_noticed():
    with pytest.warns(
        PartinrWarning, match="finds 1 of the 9 regions asked for, since the surface at partition.level=1"
    ):
        assert Octree(level=1.0)(ball(6)).regions == 1
    with pytest.warns(PartinrWarning, match="of the 200 regions"):
        assert Octree(level=0.5, regions=200)(ball(6)).regions < 200
