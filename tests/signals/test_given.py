"""Signals as a caller has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.signals import signal_from

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
IMAGE = torch.from_numpy(PIXELS) / 255


def test_a_file_an_array_and_a_tensor_are_the_same_signal(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    frozen = PIXELS[::-1][::-1]
    frozen.flags.writeable = False
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), frozen, torch.from_numpy(PIXELS), IMAGE):
        assert torch.equal(signal_from(given, 2), IMAGE)
    for rounded in (PIXELS.astype(np.uint16) * 257, PIXELS / 255, IMAGE.double().requires_grad_()):
        found = signal_from(rounded, 2)
        assert (found.dtype, found.requires_grad) == (torch.float32, False)
        torch.testing.assert_close(found, IMAGE)


@pytest.mark.parametrize(
    ("given", "axes", "shape"),
    [
        (PIXELS[..., 0], None, (4, 6, 1)),
        (IMAGE[..., 0], 2, (4, 6, 1)),
        (IMAGE[0], None, (6, 3)),
        (IMAGE[0, :, 0], 1, (6, 1)),
        (IMAGE[None], 3, (1, 4, 6, 3)),
        (IMAGE, 3, (4, 6, 3, 1)),
    ],
)
def test_the_axis_of_one_channel_may_be_left_out(given: Any, axes: int | None, shape: tuple[int, ...]) -> None:
    assert signal_from(given, axes).shape == shape


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (7, "of type int; give a picture's path, a NumPy array or a tensor"),
        (IMAGE > 0.5, "bool values; give floats in [0, 1], or uint8"),
        ((PIXELS > 99).astype(np.uint8), "uint8 values of 0 and 1, such as a mask"),
        (IMAGE * 255, "must stay in [0, 1]"),
        (IMAGE.permute(2, 0, 1), "the channels go last"),
        (IMAGE[:0], "give samples on 2 axes"),
        (IMAGE[None], "give samples on 2 axes"),
    ],
)
def test_what_is_no_signal_is_one_line(given: Any, said: str) -> None:
    with pytest.raises(PartinrError) as caught:
        signal_from(given, 2)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
