"""Smooth signals: the same every time, in range, and smooth."""

from __future__ import annotations

import pickle

import pytest
import torch

from partinr.base.errors import PartinrError
from partinr.signals import SmoothData, smooth_signal
from tests.covering import cases, covering


@covering(shape=[[16], [12, 17], [3, 4, 5], [1, 1]], channels=[1, 3])
def test_any_grid(shape, channels):
    signal = smooth_signal(shape, channels, seed=[1, 2])
    assert signal.shape == (*shape, channels)
    assert signal.dtype == torch.float32
    assert 0 <= float(signal.min()) <= float(signal.max()) <= 1
    assert torch.equal(signal, smooth_signal(shape, channels, seed=[1, 2]))


def test_smooth_and_not_flat():
    signal = smooth_signal([64, 64], 3, seed=[0], frequency=2.0)
    for axis in (0, 1):
        # No step is longer than the steepest cosine's: pi·f times the distance of two samples, at half its height.
        assert 0 < float(signal.diff(dim=axis).abs().max()) <= 3.15 * 2 / 64
    assert float(signal.std(dim=(0, 1)).min()) > 0.02
    assert not torch.equal(signal[..., 0], signal[..., 1])


def test_an_item_follows_from_its_number():
    few, many = SmoothData(shape=[6, 6], train_items=3), SmoothData(shape=[6, 6], train_items=9, val_items=4)
    for one, other in zip(few.train(), many.train(), strict=False):
        assert one.name == other.name
        assert torch.equal(one.load(), pickle.loads(pickle.dumps(other)).load())
    everything = [*many.train(), *many.val()]
    assert len({item.name for item in everything}) == 13
    assert len({item.load().numpy().tobytes() for item in everything}) == 13


def test_what_makes_no_signal_is_refused():
    for options in cases(
        {"shape": []},
        {"shape": [0, 4]},
        {"channels": 0},
        {"train_items": 0},
        {"waves": 0},
        {"frequency": 0.0},
    ):
        with pytest.raises(PartinrError, match=next(iter(options))):
            SmoothData(**options)
