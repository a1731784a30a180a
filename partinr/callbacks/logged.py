"""Lightning's logger of a run directory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger

from partinr.callbacks.base import is_number, regime
from partinr.runs.directory import RunDirectory


class LoggedFile(Logger):
    """Keeps what callbacks of other packages log, in ``logged.csv``: one row for each step at which one did.

    Columns of the curve are left out, since ``curve.csv`` has them. A resumed run continues the file.

    Args:
        run: the run directory, which need not exist yet.
        module: the module that is trained.
    """

    def __init__(self, run: RunDirectory, module: L.LightningModule) -> None:
        super().__init__()
        self._run, self._module = run, module
        self._rows: dict[int, dict[str, float]] | None = None

    @property
    def name(self) -> str:
        """Empty: the run directory is a folder of its own."""
        return ""

    @property
    def version(self) -> str:
        """Empty, likewise."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self._run.path)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run directory has the configuration."""

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Keep numbers in the row of a step; None for the present step. Only the first of several processes writes."""
        module = regime(self._module)
        known = {"epoch", *(module.curve[-1] if module.curve else ())}
        numbers = {
            name: value for name, value in metrics.items() if is_number(value) or isinstance(value, torch.Tensor)
        }
        own = {name: float(value) for name, value in numbers.items() if name not in known}
        if not own or not self._module.trainer.is_global_zero:
            return
        if self._rows is None:
            self._rows = {int(row["step"]): row for row in self._run.logged() if row["step"] <= module.step}
        at = module.step if step is None else step
        self._rows.setdefault(at, {"step": at}).update(own)
        self._run.write_logged([self._rows[step] for step in sorted(self._rows)])
