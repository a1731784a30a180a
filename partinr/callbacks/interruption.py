"""Signals that stop a run at the next step: SIGINT, SIGTERM, SIGHUP, and in a cluster's job SIGUSR2."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning as L
import torch

from partinr.base.stopping import heeded, leave_closed_terminal
from partinr.callbacks.base import regime
from partinr.runs.directory import in_job

WARNING = signal.SIGUSR2
"""The signal that warns a submitit job before its end, so that it can save and be queued again."""


class Interruption(L.Callback):
    """Stops a run at the next step boundary after a signal.

    The handler sets a flag, and discards further output if the terminal is closed. A second signal reaches the default
    handlers and ends the run at once. SIGHUP stays ignored if it was (``nohup``).

    In a run of several processes, the process that started them listens and forwards signals. The others listen as
    well, since a terminal signals all of them and a user may signal any; they then agree on the signal. A second signal
    to one of them changes nothing: to end a run at once, end the process that started them, and they end with it.

    In a cluster's job a second signal changes nothing either: Slurm sends the same signal several times, to all
    processes of a job, and uses SIGKILL to end it at once. There the run also stops for :data:`WARNING`.

    Args:
        job: whether this is a cluster's job; detected by default.

    Attributes:
        received: number of the signal that stopped the run, or None. A warning outranks every other signal, as it means
            that the job can be queued again.
    """

    received: int | None = None

    def __init__(self, job: bool | None = None) -> None:
        self._job = in_job() if job is None else job
        self._signals = (*heeded(), WARNING) if self._job else heeded()
        self._listens = False
        self._forward: Callable[[int], None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Signal handlers belong to this process only.
        return {**self.__dict__, "received": self.received, "_listens": False, "_forward": None}

    @contextmanager
    def listening(self, forward: Callable[[int], None] | None = None) -> Iterator[None]:
        """Listen within this context. Only the main thread can listen.

        Contexts nest: a job listens all the time, and each of its runs inside.

        Args:
            forward: also receives every signal, for training in other processes.
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
        """Replace Lightning's handlers.

        Lightning has wrapped ours in one of its own, which would end the run at once, with an exception and without a
        checkpoint.
        """
        if trainer.world_size > 1:
            for each in self._signals:
                signal.signal(each, self._note)
            # They were blocked when the process started, so that none could arrive before this.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._signals)
        if self._listens:
            for each in self._signals:
                signal.signal(each, self._handle if self._job or self.received is None else signal.SIG_DFL)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop after a signal; the checkpoint is saved at the end of training."""
        received = self.received
        if trainer.world_size > 1:
            heard = torch.tensor(received or 0, device=pl_module.device)
            received = int(trainer.strategy.reduce(heard, reduce_op="max")) or None
        if received is not None:
            self.received = received
            regime(pl_module).interrupted = trainer.should_stop = True

    def results(self) -> int | None:
        """The signal received, for the parent process."""
        return self.received

    def recover(self, received: int | None) -> None:
        """Set the signal that another process received."""
        self.received = received if self.received is None else self.received

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._note(number, frame)
        if not self._job:
            for each in self._signals:
                signal.signal(each, signal.SIG_DFL)
        if self._forward is not None:
            self._forward(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        leave_closed_terminal()
        if self.received != WARNING:
            self.received = number
