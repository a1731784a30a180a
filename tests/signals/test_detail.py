"""Gradient energy: what there is to see, and where."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from partinr.signals import gradient_energy, region_detail
from tests.covering import covering

SHAPES = [(1, 1), (1, 5), (5, 1), (4, 7), (9,), (1,), (3, 4, 2)]


def signal(shape: tuple[int, ...], channels: int = 3) -> torch.Tensor:
    return torch.rand(*shape, channels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@covering(channels=[1, 3], shape=SHAPES)
def test_half_of_every_squared_difference_goes_to_either_neighbour(shape, channels):
    values = signal(shape, channels)
    expected = torch.zeros(shape, dtype=torch.float64)
    for place in itertools.product(*map(range, shape)):
        for axis, n in enumerate(shape):
            after = tuple(i + (k == axis) for k, i in enumerate(place))
            if after[axis] < n:
                half = (values[after] - values[place]).square().sum() / 2
                expected[place] += half
                expected[after] += half
    found = gradient_energy(values)
    assert found.dtype == values.dtype
    torch.testing.assert_close(found, expected)
    # Nothing is lost and nothing added.
    whole = sum(values.diff(dim=axis).square().sum() for axis in range(len(shape)))
    torch.testing.assert_close(found.sum(), torch.as_tensor(whole, dtype=torch.float64))


def test_nothing_to_see_is_nothing():
    for shape in SHAPES:
        assert gradient_energy(torch.full((*shape, 3), 0.3)).tolist() == torch.zeros(shape).tolist()
        assert bool((gradient_energy(signal(shape)) >= 0).all())


def test_it_turns_with_the_signal_and_grows_with_its_contrast():
    values = signal((5, 8))
    energy = gradient_energy(values)
    torch.testing.assert_close(gradient_energy(values.transpose(0, 1)), energy.T)
    torch.testing.assert_close(gradient_energy(values.flip(0, 1)), energy.flip(0, 1))
    torch.testing.assert_close(gradient_energy(1 - values), energy)
    torch.testing.assert_close(gradient_energy(values / 2), energy / 4)
    torch.testing.assert_close(gradient_energy(values), sum(gradient_energy(values[..., [c]]) for c in range(3)))


def test_an_edge_burdens_both_of_its_sides_alike():
    step = torch.zeros(4, 6, 1)
    step[:, 3:] = 1
    energy = gradient_energy(step)
    assert energy.tolist() == [[0, 0, 0.5, 0.5, 0, 0]] * 4


def test_the_signal_stays_as_it_was():
    values = signal((4, 7))
    before = values.clone()
    gradient_energy(values)
    assert torch.equal(values, before)


def test_the_detail_of_regions_is_that_of_their_samples():
    for shape in SHAPES:
        labels = torch.arange(math.prod(shape)).reshape(shape) % min(3, math.prod(shape))
        energy, regions = gradient_energy(signal(shape)), int(labels.max()) + 1
        expected = [float((energy + 1e-4)[labels == region].sum()) for region in range(regions)]
        assert region_detail(signal(shape), labels, regions).tolist() == pytest.approx(expected)


def test_of_flat_regions_the_larger_has_more_detail():
    labels = torch.tensor([[0, 1, 1, 1]])
    small, large = region_detail(torch.full((1, 4, 3), 0.5), labels, 2).tolist()
    assert 0 < small < large
