"""How many steps each trial of a study took, as a file."""

from __future__ import annotations

from typing import Any

import lightning as L

from partinr.callbacks.base import RunCallback, regime


class StepsFile(RunCallback):
    """Writes ``steps.csv`` anew after every look at the trials, so that a run that is stopped has what there is."""

    _rows = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """There is a file from the start."""
        self._write(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write if there was a look."""
        if len(regime(pl_module).curve) != self._rows:
            self._write(trainer, pl_module)

    def _write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        module = regime(pl_module)
        if trainer.is_global_zero:
            self.run.write_steps(module.steps_rows())
        self._rows = len(module.curve)
