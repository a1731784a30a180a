"""The data side of the ordinary regime.

The one signal lies on the device for the whole run, as buffers of the LightningModule. What Lightning's loop needs
from a data loader is only to be called again: it gets ticks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning as L


class Ticks:
    """An endless stream of numbers that Lightning can stop and resume anywhere."""

    def __init__(self) -> None:
        self._count = 0

    def __iter__(self) -> Iterator[int]:
        while True:
            yield self._count
            self._count += 1

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is."""
        return {"count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self._count = state["count"]


class SignalDataModule(L.LightningDataModule):
    """A LightningDataModule whose batches only count the calls of ``training_step``."""

    def train_dataloader(self) -> Ticks:
        """One epoch without an end: the regime says when it is over."""
        return Ticks()
