"""An endless stream that can be stopped and resumed anywhere."""

from __future__ import annotations

from itertools import islice

from partinr.training.trainer import SignalDataModule


def test_the_stream_counts_and_goes_on_after_a_break():
    first = SignalDataModule().train_dataloader()
    stream = iter(first)
    assert list(islice(stream, 3)) == [0, 1, 2]
    second = SignalDataModule().train_dataloader()
    second.load_state_dict(first.state_dict())
    # The last one given out is not known to have been used.
    assert list(islice(iter(second), 2)) == [2, 3]


def test_two_streams_know_nothing_of_each_other():
    module = SignalDataModule()
    assert list(islice(module.train_dataloader(), 2)) == list(islice(module.train_dataloader(), 2))
