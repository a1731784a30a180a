"""The length of edges, where it is known."""

import math

import pytest
import torch

from partinr.signals import EdgedImage, edge_pixels
from tests.covering import covering


def drawn(shape, distance, channels=3):
    """An image that is white where a distance [pixels] is above 0, with a border a pixel wide."""
    rows, columns = (torch.arange(n) + 0.5 for n in shape)
    grey = (distance(rows[:, None], columns[None, :]).clamp(-0.5, 0.5) + 0.5).expand(*shape)
    return grey.unsqueeze(-1).repeat(1, 1, channels)


@covering(place=[30.2, 40.0, 40.5, 41.8], side=[96, 192])
def test_a_straight_edge_counts_one_at_every_resolution(place, side):
    across = drawn((side, side), lambda rows, columns: columns - place * side / 96 + 0 * rows)
    for image in (across, across.transpose(0, 1)):
        # The outermost pixels are no edge; and thinning takes one from a line of two, which 40.0 gives.
        assert EdgedImage(image).boundaries == pytest.approx((side - 2) / side, rel=0.015)


def test_edges_add_up():
    def stripes(rows, columns):
        return (torch.remainder(columns - 11.7, 24) - 12).abs() - 6 + 0 * rows

    # Eight of them.
    assert EdgedImage(drawn((96, 96), stripes)).boundaries == pytest.approx(8 * 94 / 96)
    wide = drawn((48, 192), stripes)
    assert EdgedImage(wide).boundaries == pytest.approx(16 * 46 / 96)


@pytest.mark.parametrize("radius", [15.0, 30.0])
def test_a_slanting_edge_counts_as_far_as_it_goes_along_an_axis(radius):
    disc = drawn((96, 96), lambda rows, columns: ((rows - 48) ** 2 + (columns - 48) ** 2).sqrt() - radius)
    # An octant of a circle goes along one axis for the sine of 45 degrees.
    octants = 8 * math.sin(math.pi / 4) * radius / 96
    assert EdgedImage(disc).boundaries == pytest.approx(octants, rel=0.06)
    # Exactly through the corners of pixels, where Canny finds two in each row.
    slope = drawn((96, 96), lambda rows, columns: 10 * (columns - rows - 0.5))
    assert EdgedImage(slope).boundaries == pytest.approx(94 / 96, rel=0.03)


def test_it_is_the_same_of_one_channel_and_of_the_negative_and_nothing_where_it_is_flat():
    def slope(rows, columns):
        return columns - 0.3 * rows - 20.4

    image = drawn((64, 80), slope)
    found = EdgedImage(image).boundaries
    assert found > 0.5
    assert EdgedImage(drawn((64, 80), slope, channels=1)).boundaries == pytest.approx(found)
    assert EdgedImage(1 - image).boundaries == pytest.approx(found, rel=0.02)
    assert EdgedImage(torch.full((20, 20, 3), 0.3)).boundaries == 0
    # A border so faint that nobody sees it.
    assert not edge_pixels(0.5 + 0.02 * image).any()
