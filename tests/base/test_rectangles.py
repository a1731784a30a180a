"""Boxes that are cut further: they tile, are exact in number, and of about equal size."""

from __future__ import annotations

import math

import numpy as np
import pytest

from partinr.base.rectangles import divided, samples, size


@pytest.mark.parametrize("shape", [(1,), (37,), (3, 3), (1, 9), (16, 20), (5, 8, 7), (1, 2, 30)])
def test_boxes_tile_and_are_as_many_as_asked_for(shape):
    whole = tuple((0, n) for n in shape)
    for count in {1, 2, 3, 7, 8, math.prod(shape)} & set(range(1, math.prod(shape) + 1)):
        covered = np.zeros(shape, int)
        boxes = divided([whole], count)
        for box in boxes:
            covered[samples(box)] += 1
        assert (covered == 1).all()
        assert len(boxes) == count


def test_large_boxes_are_cut_more_and_all_become_alike():
    boxes = divided([((0, 10), (0, 64), (0, 64)), ((10, 40), (0, 64), (0, 64))], 80)
    first = sum(box[0][1] <= 10 for box in boxes)
    assert first == 20
    assert max(map(size, boxes)) < 1.5 * min(map(size, boxes))
    sides = [[stop - start for start, stop in box] for box in boxes]
    assert max(max(side) / min(side) for side in sides) < 3
