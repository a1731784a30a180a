"""Slices of volumes."""

from __future__ import annotations

import numpy as np
import torch

from partinr.pictures.slices import SliceSheet


def cuts(sheet: np.ndarray, widths: list[int], gap: int) -> list[np.ndarray]:
    starts = [0, widths[0] + gap, widths[0] + widths[1] + 2 * gap]
    return [sheet[:, start : start + width, 0] for start, width in zip(starts, widths, strict=True)]


def test_slices_are_those_of_the_volume() -> None:
    volume = torch.rand(4, 6, 8, 1)
    shown = (volume[..., 0] * 255).round().numpy()
    drawn = SliceSheet((4, 6, 8), "zyx", (1, 1, 1), at=(1, 2, 3)).values(volume)
    above, front, side = cuts(drawn, [8, 8, 6], 1)
    assert (above == shown[1]).all()
    assert (front[:4] == shown[:, 2]).all()
    assert (side[:4] == shown[:, :, 3]).all()
    assert (front[4:] == 255).all()  # paper


def test_samples_are_as_large_as_their_spacing() -> None:
    drawn = SliceSheet((4, 6, 8), "zyx", (3, 1, 1)).values(np.zeros((4, 6, 8, 1)))
    assert drawn.shape == (12, 8 + 8 + 6 + 2, 1)
    assert max(SliceSheet((4, 6, 8), "zyx", (1000, 1, 1)).values(np.zeros((4, 6, 8, 1))).shape) < 3000


def test_a_head_stands_upright_and_its_right_is_on_the_left() -> None:
    """However its axes lie in the file."""
    head = np.zeros((2, 3, 4))  # from above down, from front to back, from its right to its left
    head[0] += 1
    head[:, 0] += 2
    head[:, :, 0] += 4
    wanted = SliceSheet((2, 3, 4), "IPL", (1, 1, 1)).values(head[..., None] / 7)
    ras = head.transpose(2, 1, 0)[::-1, ::-1, ::-1]  # to the right, to the front, up
    at = (4 - 1 - 2, 3 - 1 - 1, 2 - 1 - 1)
    assert (SliceSheet((4, 3, 2), "RAS", (1, 1, 1), at=at).values(ras[..., None] / 7) == wanted).all()


def test_regions_and_errors_leave_the_paper_white() -> None:
    labels = np.zeros((4, 6, 8), dtype=np.int64)
    labels[:, :, 4:] = 1
    sheet = SliceSheet((4, 6, 8), "zyx", (1, 1, 1))
    for channels in (1, 2, 5):
        volume = np.full((4, 6, 8, channels), 0.5)
        overlay, error = sheet.regions(labels, volume), sheet.errors(volume, volume + 0.1)
        factor = len(overlay) // len(error)
        assert (overlay[5 * factor :, 9 * factor : -factor] == 1).all()
        assert (error[4:, 9:-1] == 1).all()
        # One region has one colour in all slices, and so has one error.
        assert (overlay[factor, factor] == overlay[factor, 10 * factor]).all()
        assert (overlay[factor, factor] != overlay[factor, 6 * factor]).any()
        assert (error[0, 0] == error[0, 10]).all()
