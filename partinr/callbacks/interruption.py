"""SIGINT and SIGTERM: finish the step, save, stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L


class Interruption(L.Callback):
    """Stops a run at the next step boundary when it is asked to.

    The handler sets a flag and nothing else. A second signal finds the default handlers, for those in a hurry.

    Attributes:
        received: number of the signal that stopped the run, or None.
    """

    received: int | None = None

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen inside, and no more afterwards, however it ends. Only a main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._before = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen alone.

        Lightning has meanwhile put a handler of its own around ours. It would end the run where it stands, with an
        exception and without a checkpoint.
        """
        for number in self._before:
            signal.signal(number, self._handle if self.received is None else signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop if asked to; the checkpoint is saved at the end of training."""
        if self.received is not None:
            trainer.should_stop = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
