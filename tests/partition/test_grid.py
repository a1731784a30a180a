"""Partition on a grid: exactly as many regions as asked for, as even as whole pixels allow."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.partition import Grid, Partition
from tests.covering import cases, covering


def _signal(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape, 3)


def _cells(partition: Partition) -> tuple[list[int], list[int]]:
    """Heights of the rows and widths of the columns of rectangles; fails if the regions are none."""
    labels = partition.labels
    row_starts = [0, *(i for i in range(1, labels.shape[0]) if not torch.equal(labels[i], labels[i - 1]))]
    col_starts = [0, *(j for j in range(1, labels.shape[1]) if not torch.equal(labels[:, j], labels[:, j - 1]))]
    heights = [b - a for a, b in itertools.pairwise([*row_starts, labels.shape[0]])]
    widths = [b - a for a, b in itertools.pairwise([*col_starts, labels.shape[1]])]
    blocks = labels[row_starts][:, col_starts]
    assert torch.equal(
        labels, blocks.repeat_interleave(torch.tensor(heights), 0).repeat_interleave(torch.tensor(widths), 1)
    )
    assert torch.equal(blocks.reshape(-1), torch.arange(blocks.numel())), "numbered row by row"
    return heights, widths


@covering(8, height=[1, 2, 7, 16, 50, 178], width=[178, 1, 3, 8, 33])
def test_rows_and_cols_give_exactly_that_many_even_rectangles(height, width):
    for rows, cols in itertools.product([1, 2, 3, 7, 16], repeat=2):
        if rows <= height and cols <= width:
            partition = Grid(rows=rows, cols=cols)(_signal(height, width))
            heights, widths = _cells(partition)
            assert (len(heights), len(widths)) == (rows, cols)
            assert partition.regions == rows * cols
            assert max(heights) - min(heights) <= 1
            assert max(widths) - min(widths) <= 1


def test_where_the_published_code_loses_regions():
    for side, count in [(178, 16), (178, 15), (100, 30), (31, 16), (17, 16), (16, 16)]:
        # Strides of ceil(178 / 16) = 12 give 15 × 15 = 225 regions instead of 256.
        assert Grid(rows=count, cols=count)(_signal(side, side)).regions == count**2


def _aspects(regions: int, shape: tuple[int, int]) -> dict[tuple[int, int], float]:
    """Every factoring that fits, with the ratio of its rectangles' long to short side."""
    pairs = [(rows, regions // rows) for rows in range(1, regions + 1) if regions % rows == 0]
    sides = {pair: (shape[0] / pair[0], shape[1] / pair[1]) for pair in pairs}
    return {pair: max(sides[pair]) / min(sides[pair]) for pair in pairs if pair[0] <= shape[0] and pair[1] <= shape[1]}


def test_regions_are_factored_into_the_rectangles_nearest_to_squares():
    for shape in [(64, 64), (64, 96), (96, 64), (20, 100), (7, 11), (1, 40), (40, 1), (13, 13)]:
        for regions in (1, 2, 4, 6, 9, 12, 16, 24, 36):
            aspects = _aspects(regions, shape)
            if not aspects:
                with pytest.raises(PartinrError, match="the next smaller that has is"):
                    Grid(regions=regions)(_signal(*shape))
                continue
            partition = Grid(regions=regions)(_signal(*shape))
            heights, widths = _cells(partition)
            assert partition.regions == regions
            assert aspects[len(heights), len(widths)] == pytest.approx(min(aspects.values()))


def test_a_tie_goes_to_more_columns_at_every_size():
    for regions, expected in [(2, (1, 2)), (6, (2, 3)), (8, (2, 4)), (12, (3, 4)), (20, (4, 5))]:
        # On a square r × c and c × r are equally near; the choice must not hang on the last bit of a logarithm.
        for side in range(20, 100):
            labels = Grid(regions=regions)(_signal(side, side)).labels
            assert (len(labels[:, 0].unique()), len(labels[0].unique())) == expected, side


def test_nine_regions_if_nothing_is_said():
    heights, widths = _cells(Grid()(_signal(12, 18)))
    assert (len(heights), len(widths)) == (3, 3)


def test_a_signal_of_one_axis_is_cut_into_even_intervals():
    for samples, regions in [(10, 1), (10, 3), (10, 10), (5000, 59), (1, 1)]:
        partition = Grid(regions=regions)(torch.zeros(samples, 1))
        assert partition.regions == regions
        assert (partition.labels.diff() >= 0).all()
        assert int(partition.sizes.max() - partition.sizes.min()) <= 1


def test_a_volume_is_cut_into_the_boxes_nearest_to_cubes():
    for shape, regions, expected in [
        ((8, 8, 8), 8, (2, 2, 2)),
        ((8, 8, 8), 9, (1, 3, 3)),
        ((60, 32, 32), 16, (4, 2, 2)),
        ((3, 40, 20), 50, (1, 10, 5)),
        ((4, 4, 1), 4, (2, 2, 1)),
        ((2, 2, 2), 8, (2, 2, 2)),
    ]:
        labels = Grid(regions=regions)(torch.zeros(*shape, 2)).labels
        assert torch.equal(labels, Grid(shape=expected)(torch.zeros(*shape, 5)).labels)
        assert labels[-1, -1, -1] == regions - 1
        along = [labels.select(axis, 0).unique() for axis in range(3)]
        assert [regions // len(found) for found in along] == list(expected)


def test_a_grid_that_does_not_fit_is_refused():
    refused: list[tuple[dict[str, Any], tuple[int, ...], str]] = [
        ({"rows": 5, "cols": 1}, (4, 4), "does not fit 4×4 samples; give smaller partition.rows"),
        ({"rows": 1, "cols": 5}, (4, 4), "does not fit 4×4 samples; give smaller partition.rows"),
        ({"regions": 17}, (4, 4), "more than the 16 samples"),
        ({"regions": 11}, (4, 4), "next smaller that has is 9"),
        ({"regions": 7}, (5, 5), "next smaller that has is 6"),
        ({"regions": 11}, (10,), "more than the 10 samples"),
        ({"rows": 2, "cols": 2}, (10,), "give partition.regions"),
        ({"shape": [2, 2, 2]}, (10, 10), "a grid of 3 axes, and the signal has 2"),
        ({"shape": [2, 2, 9]}, (4, 4, 4), "does not fit 4×4×4 samples; give smaller partition.shape"),
        ({"regions": 7}, (4, 4, 4), "next smaller that has is 6"),
        ({}, (2, 2), "more than the 4 samples"),
    ]
    for options, shape, said in refused:
        with pytest.raises(PartinrError, match=said) as caught:
            Grid(**options)(_signal(*shape))
        assert "\n" not in str(caught.value)


def test_an_absurd_number_is_refused_at_once():
    start = time.process_time()
    with pytest.raises(PartinrError, match="more than the 16 samples"):
        Grid(regions=10**12)(_signal(4, 4))
    assert time.process_time() - start < 1


def test_options_are_checked_when_it_is_made():
    for options, said in cases(
        ({"rows": 3}, "go together"),
        ({"cols": 3}, "go together"),
        ({"rows": 3, "cols": 3, "regions": 9}, "excludes"),
        ({"rows": 3, "regions": 9}, "excludes"),
        ({"shape": [2, 2], "regions": 4}, "partition.shape excludes partition.regions"),
        ({"shape": [2, 2], "rows": 2, "cols": 2}, "partition.shape excludes partition.rows"),
        ({"shape": [2, 0]}, r"Grid\.shape"),
        ({"shape": []}, r"Grid\.shape"),
        ({"rows": 0, "cols": 3}, r"Grid\.rows=0"),
        ({"regions": -1}, r"Grid\.regions=-1"),
        ({"regions": 9.0}, r"Grid\.regions=9\.0"),
        ({"regions": "9"}, r"Grid\.regions='9'"),
        ({"regions": True}, r"Grid\.regions=True"),
        ({"row": 3}, r"no option Grid\.row"),
    ):
        with pytest.raises(PartinrError, match=said):
            Grid(**options)
