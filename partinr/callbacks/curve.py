"""The callback that rewrites the tables of a run after every evaluation."""

from __future__ import annotations

from typing import Any

import lightning as L

from partinr.callbacks.base import RunCallback, regime


class CurveFile(RunCallback):
    """The convergence curve, ``curve.csv``, and the further tables of the regime, such as ``images.csv``.

    They are written after every evaluation, so that a stopped run keeps its results.
    """

    _rows = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the files at the start; a resumed run already has rows."""
        self._write(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write if there is a new row."""
        if len(regime(pl_module).curve) != self._rows:
            self._write(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the evaluation after a callback has ended the run, if there is one."""
        if len(regime(pl_module).curve) != self._rows:
            self._write(trainer, pl_module)

    def _write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        module = regime(pl_module)
        if trainer.is_global_zero:
            self.run.write_curve(module.curve)
            for name, rows in module.tables().items():
                if rows:
                    self.run.write_table(name, rows)
        self._rows = len(module.curve)
