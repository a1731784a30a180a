"""The checkpoint that resumes a run."""

from __future__ import annotations

import os
import time
from typing import Any

import lightning as L

from partinr.base.errors import PartinrError
from partinr.callbacks.base import RunCallback, is_number, regime
from partinr.runs.layout import CHECKPOINT, PREVIOUS

FIRST_SECONDS = 3.0
"""Limit of wall time from the start of training to the first checkpoint of a run directory."""


class LastCheckpoint(RunCallback):
    """Writes ``checkpoints/last.ckpt``, once soon after the start, then at intervals and at the end.

    During the run, the previous checkpoint stays as ``checkpoints/previous.ckpt``, in case the disk loses the last one.
    The time for saving is not counted by the run's clocks.

    Args:
        every_seconds: wall time between two checkpoints, 0 or more; 0 saves after every chunk of steps. The first
            follows after at most :data:`FIRST_SECONDS`.

    Raises:
        PartinrError: ``every_seconds`` is negative or not a number.
    """

    def __init__(self, every_seconds: float = 30.0) -> None:
        if not is_number(every_seconds) or not every_seconds >= 0:
            raise PartinrError(f"callbacks.checkpoint.every_seconds={every_seconds!r}; give 0 or more")
        self.every_seconds = every_seconds
        self._due = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the interval, a short one if the run has no checkpoint yet."""
        first = self.every_seconds if self.run.file(CHECKPOINT).exists() else min(FIRST_SECONDS, self.every_seconds)
        self._due = time.monotonic() + first

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when the interval is over, and before a signal ends the run within an epoch of Lightning."""
        if regime(pl_module).interrupted or self.agreed(trainer, time.monotonic() >= self._due):
            self.save(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the end, so that a run can be extended. A failed run keeps its last good checkpoint."""
        if not regime(pl_module).interrupted:
            self.save(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep one checkpoint of a completed run."""
        if trainer.is_global_zero and regime(pl_module).stop_reason is not None:
            # The run is complete, so a second checkpoint would only take space, hundreds of times in a sweep.
            self.run.file(PREVIOUS).unlink(missing_ok=True)

    def save(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Replace the checkpoint. At any moment, at least one of the two is complete."""
        if regime(pl_module).failure is None:
            path = self.run.file(CHECKPOINT)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            if not trainer.is_global_zero:
                trainer.save_checkpoint(
                    temporary
                )  # its part of the state; Lightning writes it on the first process only
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                trainer.save_checkpoint(temporary)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
                if path.exists():
                    os.replace(path, self.run.file(PREVIOUS))
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        self._due = time.monotonic() + self.every_seconds
