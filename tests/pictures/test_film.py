"""Contact sheets of films."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from partinr.pictures.film import FilmSheet


def test_the_sheet_shows_frames_in_order_and_a_slice_through_time() -> None:
    # Every pixel says its frame; the right half of the film is brighter by one level.
    film = torch.arange(6).float().reshape(6, 1, 1, 1).expand(6, 8, 8, 1).clone()
    film[:, :, 4:] += 0.5
    sheet = FilmSheet((6, 8, 8), frames=6)
    drawn = sheet.values(film / 10)[..., 0].astype(int)
    paper = (drawn[:8] == 255).all(axis=0).nonzero()[0]
    assert sheet.numbers == [0, 1, 2, 3, 4, 5]
    columns = len(paper) + 1
    for place in range(6):
        top, left = place // columns * 9, place % columns * 9
        assert (drawn[top : top + 8, left : left + 4] == round(place * 25.5)).all()
    slice_ = drawn[-8:]
    assert (np.diff(slice_[0]) >= 0).all()
    assert slice_[0, 0] == 0
    assert slice_[0, -1] == round(5 * 25.5)
    assert (slice_[4:] > slice_[:4]).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_a_region_has_one_colour_in_all_frames(channels: int) -> None:
    labels = np.zeros((4, 30, 40), dtype=np.int64)
    labels[:, :, 20:] = 1
    film = torch.full((4, 30, 40, channels), 0.5)
    sheet = FilmSheet((4, 30, 40))
    picture = sheet.regions(labels, film)
    factor = len(picture) // len(sheet.values(film))
    first, last = (tuple(picture[factor * 15, factor * place]) for place in (5, 41 + 5))
    assert first == last
    assert len({first, tuple(picture[factor * 15, factor * 35]), (1, 1, 1)}) == 3
