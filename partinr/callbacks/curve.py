"""The convergence curve as a file, or two."""

from __future__ import annotations

from typing import Any

import lightning as L

from partinr.callbacks.base import RunCallback, regime


class CurveFile(RunCallback):
    """Writes ``curve.csv`` anew after every evaluation, and ``images.csv`` where there are several images."""

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
        module = regime(pl_module)
        if trainer.is_global_zero:
            self.run.write_curve(module.curve)
            if module.image_curve:
                self.run.write_image_curve(module.image_curve)
        self._rows = len(module.curve)
