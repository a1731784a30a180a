"""Random step functions: what is counted is what a grid shows."""

import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.coords import grid_coords
from partinr.signals import step_signal
from partinr.signals.step_functions import factored


def changes(values: torch.Tensor, axis: int) -> int:
    return int((values.diff(dim=axis) != 0).sum())


def test_a_grid_shows_every_border_of_a_line():
    for count in [0, 1, 7, 39]:
        for draw in range(20):
            signal = step_signal([count], [40], seed=[3, draw])
            values = signal.on_grid([40])
            assert values.shape == (40, 1)
            assert values.abs().eq(1).all()
            assert changes(values, 0) == signal.boundaries == count
            assert signal.cells == count + 1


def test_a_grid_shows_every_side_between_two_cells_of_the_plane():
    for counts in [(1, 1), (3, 5), (15, 2)]:
        signal = step_signal(counts, [16, 24], seed=[1])
        rows, columns = signal.borders
        values = signal.on_grid([16, 24])
        assert values.shape == (16, 24, 1)
        # One sample in each cell, between the borders that are left and right of it.
        ends = [torch.cat([torch.tensor([-1.0]), own, torch.tensor([1.0])]) for own in (rows, columns)]
        middles = [(own[1:] + own[:-1]) / 2 for own in ends]
        at = torch.stack(torch.meshgrid(*middles, indexing="ij"), -1).reshape(-1, 2)
        cells = signal(at).reshape(counts[0] + 1, counts[1] + 1)
        assert cells.numel() == signal.cells
        assert changes(cells, 0) + changes(cells, 1) == signal.boundaries
        assert signal.boundaries == 2 * counts[0] * counts[1] + sum(counts)
        # It is the product of its two edges.
        assert torch.equal(values[..., 0], values[:, :1, 0] * values[:1, :, 0] * values[0, 0, 0])


def test_it_follows_from_its_seed():
    first, again, other = (step_signal([9], [100], seed=seed) for seed in ([0, 9, 1], [0, 9, 1], [0, 9, 2]))
    assert torch.equal(first.borders[0], again.borders[0])
    assert not torch.equal(first.borders[0], other.borders[0])
    assert {step_signal([9], [100], seed=[draw]).first for draw in range(20)} == {1, -1}


def test_its_borders_are_spread_evenly():
    drawn = torch.cat([step_signal([50], [5000], seed=[draw]).borders[0] for draw in range(200)])
    ordered = drawn.sort().values
    uniform = (torch.arange(len(ordered)) + 0.5) / len(ordered) * 2 - 1
    # The largest distance between two distribution functions; 1.6 / sqrt(n) is exceeded in 1 % of draws.
    assert float((ordered - uniform).abs().max()) / 2 < 1.6 / len(ordered) ** 0.5


def test_the_same_place_has_the_same_value_at_every_resolution():
    signal = step_signal([4], [30], seed=[0])
    coords = grid_coords([30]).float()
    assert torch.equal(signal(coords), signal.on_grid([90])[1::3])


def test_more_borders_than_a_grid_shows_are_refused():
    with pytest.raises(PartinrError, match=r"^40 borders along an axis of 40 samples"):
        step_signal([40], [40], seed=[0])


def test_a_count_in_the_plane_is_nearly_a_square():
    for count, pair in [(10, (2, 5)), (20, (4, 5)), (250, (10, 25)), (16, (4, 4)), (7, (1, 7))]:
        assert factored(count, 2) == pair
        assert factored(count, 1) == (count,)
