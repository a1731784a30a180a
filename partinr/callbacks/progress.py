"""The progress bar."""

from __future__ import annotations

from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as Bar

from partinr.base.numbers import write
from partinr.callbacks.base import Regime, RunCallback, regime


class Progress(RunCallback):
    """Shows one line with step, PSNR, points per second and remaining time, if the output is a terminal.

    A progress bar of Lightning takes its place.
    """

    def __init__(self) -> None:
        self._bar: Bar | None = None
        self._due = False
        self._task = TaskID(0)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the first batch start the bar, below what other callbacks print now."""
        self._due = True

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the bar if it is due."""
        if not self._due:
            return
        self._due, console = False, Console(stderr=True)
        if not console.is_terminal or not trainer.is_global_zero or trainer.progress_bar_callback is not None:
            return
        self._bar = Bar(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[figures]}"),
            console=console,
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(regime(pl_module).title, total=1.0, figures="")
        self._show(pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the bar."""
        self._show(pl_module)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the bar."""
        self._remove()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Remove the bar; Lightning calls no teardown after an exception."""
        self._remove()

    def _remove(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self, pl_module: L.LightningModule) -> None:
        if self._bar is not None:
            done, figures = describe(regime(pl_module))
            self._bar.update(self._task, completed=done, figures=figures)


def describe(module: Regime) -> tuple[float, str]:
    """The completed fraction of a run, 0 … 1, and the figures next to its bar."""
    seconds, step = module.clock.training, module.step
    max_steps, max_seconds = module.stop.max_steps, module.stop.max_seconds
    parts = [0.0]
    left = []
    if max_steps is not None:
        parts.append(step / max_steps)
        if step:
            left.append((max_steps - step) * seconds / step)
    if max_seconds is not None:
        parts.append(min(1.0, seconds / max_seconds))
        left.append(max(0.0, max_seconds - seconds))
    figures = [f"step {step:,}" if max_steps is None else f"step {step:,}/{max_steps:,}"]
    if module.curve:
        figures.append(f"{module.curve[-1]['psnr']:.2f} dB")
    if seconds > 0:
        figures.append(f"{write(step * module.points_per_step / seconds, 'si')} points/s")
    if left:
        minutes, rest = divmod(round(min(left)), 60)
        figures.append(f"{minutes}:{rest:02d} left")
    return max(parts), "  ".join(figures)
