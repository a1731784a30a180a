"""SIGINT and SIGTERM, and in a cluster's job SIGUSR2: finish the step, save, stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L
import torch

from partinr.runs.directory import in_job

SIGNALS = (signal.SIGINT, signal.SIGTERM)

WARNING = signal.SIGUSR2
"""What a job of submitit gets some time before it is ended, so that it can save and be queued again."""


class Interruption(L.Callback):
    """Stops a run at the next step boundary when it is asked to.

    The handler sets a flag and nothing else. A second signal finds the default handlers, for those in a hurry.

    Of a run of several processes the one that started them listens, and passes on what it hears. They listen too, since
    a terminal sends its signals to all, and somebody may send one to any; then they agree on it. In them a second
    signal says nothing new: whoever is in a hurry ends the process that started them, and they end with it.

    Nor does it in a cluster's job: Slurm sends the same signal several times, to all processes of a job, and has
    SIGKILL for when it is in a hurry. There the run also stops for :data:`WARNING`.

    Args:
        job: in a cluster's job; by default that is found out.

    Attributes:
        received: number of the signal that stopped the run, or None. A warning counts before any other: whoever heard
            it knows that the job can be queued again.
    """

    received: int | None = None

    def __init__(self, job: bool | None = None) -> None:
        self._job = in_job() if job is None else job
        self._signals = (*SIGNALS, WARNING) if self._job else SIGNALS
        self._listens = False
        self._forward: Callable[[int], None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Handlers are this process's own.
        return {**self.__dict__, "received": self.received, "_listens": False, "_forward": None}

    @contextmanager
    def listening(self, forward: Callable[[int], None] | None = None) -> Iterator[None]:
        """Listen inside, and no more afterwards, however it ends. Only a main thread can.

        A job listens all the time, and each of its runs within that.

        Args:
            forward: who else is to be told of a signal, if the training happens in other processes.
        """
        outer = self._forward, self._listens
        before: dict[int, Any] = {}
        self._forward = forward
        if threading.current_thread() is threading.main_thread():
            self._listens = True
            before = {number: signal.signal(number, self._handle) for number in self._signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._forward, self._listens = outer

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen alone.

        Lightning has meanwhile put a handler of its own around ours. It would end the run where it stands, with an
        exception and without a checkpoint.
        """
        if trainer.world_size > 1:
            for each in self._signals:
                signal.signal(each, self._note)
            # They were blocked when the process was started, so that none came too early for this.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._signals)
        if self._listens:
            for each in self._signals:
                signal.signal(each, self._handle if self._job or self.received is None else signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop if asked to; the checkpoint is saved at the end of training."""
        received = self.received
        if trainer.world_size > 1:
            heard = torch.tensor(received or 0, device=pl_module.device)
            received = int(trainer.strategy.reduce(heard, reduce_op="max")) or None
        if received is not None:
            self.received = received
            trainer.should_stop = True

    def results(self) -> int | None:
        """What the process that started this one has to know."""
        return self.received

    def recover(self, received: int | None) -> None:
        """Know what another process has heard, and this one may not have."""
        self.received = received if self.received is None else self.received

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._note(number, frame)
        if not self._job:
            for each in self._signals:
                signal.signal(each, signal.SIG_DFL)
        if self._forward is not None:
            self._forward(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received != WARNING:
            self.received = number
