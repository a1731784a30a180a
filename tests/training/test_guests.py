"""Errors of callbacks name the callback that raised."""

from __future__ import annotations

import lightning as L
import pytest

from partinr.training.guests import GuestError, guests_named


class Raises(L.Callback):
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        raise ValueError("the moon is full")


class Calls(L.Callback):
    def __init__(self, other: L.Callback) -> None:
        self.other = other

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.other.on_fit_start(trainer, pl_module)


def test_of_callbacks_that_call_each_other_the_one_that_raised_is_named() -> None:
    second = Raises()
    first = Calls(second)
    trainer, module = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), L.LightningModule()
    said = r"callbacks\.second \(Raises\) .*ValueError: the moon is full"
    with (
        pytest.raises(GuestError, match=said),
        guests_named({"callbacks.first": first, "callbacks.second": second}, module),
    ):
        first.on_fit_start(trainer, module)
