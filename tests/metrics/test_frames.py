"""PSNR frame by frame."""

from __future__ import annotations

import math

import pytest
import torch

from partinr.metrics.frames import psnr_of_frames


def test_each_frame_has_its_own_psnr() -> None:
    film = torch.full((4, 5, 6, 2), 0.5)
    ours = film.clone()
    ours[1] += 0.1
    ours[3] -= 0.01
    levels = psnr_of_frames(ours, film)
    assert levels == pytest.approx([math.inf, 20, math.inf, 40], abs=1e-3)
    ours[2, 0, 0, 0] = math.nan
    assert [math.isnan(level) for level in psnr_of_frames(ours, film)] == [False, False, True, False]
