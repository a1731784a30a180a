"""The convergence curve as a file."""

from __future__ import annotations

from typing import Any

import lightning as L

from partinr.callbacks.base import RunCallback, regime


class CurveFile(RunCallback):
    """Writes ``curve.csv`` anew after every evaluation."""

    _rows = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A resumed run brings its rows along."""
        self._write(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write if there is a new row."""
        if len(regime(pl_module).curve) != self._rows:
            self._write(trainer, pl_module)

    def _write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        rows = regime(pl_module).curve
        if trainer.is_global_zero:
            self.run.write_curve(rows)
        self._rows = len(rows)
