"""The progress bar."""

from __future__ import annotations

import time
from html import escape
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from partinr.base.notebook import Output, in_notebook
from partinr.base.numbers import write
from partinr.callbacks.base import Regime, RunCallback, regime


class Progress(RunCallback):
    """Shows step, PSNR, points per second and remaining time in one line, on a terminal or below a notebook's cell.

    Other outputs, such as files, get nothing. A progress bar of Lightning takes its place.
    """

    def __init__(self) -> None:
        self._bar: _TerminalBar | _NotebookBar | None = None
        self._due = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the first batch start the bar, below what other callbacks print now."""
        self._due = True

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Start the bar if it is due."""
        if not self._due:
            return
        self._due = False
        if not trainer.is_global_zero or trainer.progress_bar_callback is not None:
            return
        module, console = regime(pl_module), Console(stderr=True)
        if in_notebook():
            self._bar = _NotebookBar(module)
        elif console.is_terminal:
            self._bar = _TerminalBar(module, console)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Update the bar."""
        if self._bar is not None:
            self._bar.show(regime(pl_module))

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """End the bar."""
        self._end(pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """End the bar; Lightning calls no teardown after an exception."""
        self._end(pl_module)

    def _end(self, pl_module: L.LightningModule) -> None:
        if self._bar is not None:
            self._bar.end(regime(pl_module))
            self._bar = None


class _TerminalBar:
    """A line of the terminal, which is empty again in the end."""

    def __init__(self, module: Regime, console: Console) -> None:
        columns = TextColumn("  {task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[figures]}")
        self._bar = Bar(*columns, console=console, transient=True)
        self._bar.start()
        self._task = self._bar.add_task(module.title, total=1.0, figures="")
        self.show(module)

    def show(self, module: Regime) -> None:
        """Show the state of a run."""
        done, figures = describe(module)
        self._bar.update(self._task, completed=done, figures=figures)

    def end(self, module: Regime) -> None:
        """Remove the bar."""
        self._bar.stop()


class _NotebookBar:
    """An output of the cell, which says in the end what has been done."""

    EVERY = 0.2
    """Seconds between two changes."""

    def __init__(self, module: Regime) -> None:
        self._output = Output(*_line(module, *describe(module)))
        self._shown = time.monotonic()

    def show(self, module: Regime) -> None:
        """Show the state of a run."""
        if time.monotonic() - self._shown >= self.EVERY:
            self._output.replace(*_line(module, *describe(module)))
            self._shown = time.monotonic()

    def end(self, module: Regime) -> None:
        """Leave a line about the whole run."""
        said = [f"{module.step:,} steps"]
        if module.curve:
            said.append(f"{module.curve[-1]['psnr']:.2f} dB")
        said.append(f"{module.clock.training:.1f} s")
        self._output.replace(*_line(module, None, "  ".join(said)))


def _line(module: Regime, done: float | None, figures: str) -> tuple[str, str]:
    """The bar as HTML and as text; without a bar if ``done`` is None."""
    bar = "" if done is None else f'<progress max="1" value="{done:.4f}" style="width:14em"></progress>'
    style = "display:flex;gap:1em;align-items:center;font-size:13px;font-variant-numeric:tabular-nums"
    words = "".join(f"<span>{escape(word)}</span>" for word in figures.split("  "))
    text = "" if done is None else f"{'█' * round(24 * done):░<24}  "
    return (
        f'<div style="{style}"><span>{escape(module.title)}</span>{bar}{words}</div>',
        f"{module.title}  {text}{figures}",
    )


def describe(module: Regime) -> tuple[float, str]:
    """The completed fraction of a run, 0 … 1, and the figures next to its bar."""
    seconds, step = module.clock.spent, module.step
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
