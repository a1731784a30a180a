"""Draws the pictures of a run."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import numpy as np
from torch import Tensor

from partinr.base.errors import PartinrError, PartinrWarning, reason
from partinr.callbacks.base import Adaptation, RunCallback, Signal, is_number, regime
from partinr.pictures.draw import Panel, contact_sheet, encode_png, thumbnail
from partinr.runs.layout import BEST, ERROR, FITTED, IMAGE, PARTITION, RECONSTRUCTION, SIGNAL, of_image


class Pictures(RunCallback):
    """Draws image and partition at the start, reconstruction and error at intervals and at the end.

    The kind of the signal says how it is drawn. Some kinds also have a file of the signal at the start, and one of the
    reconstruction at the end, such as sounds; a signal without a kind of its own has no pictures. Each of several
    signals has its own folder. A regime of learned initialisations gets a sheet that shows held-out signals after each
    of a few inner steps.

    If a picture cannot be written, for example on a full disk, the callback issues a :class:`PartinrWarning` and the
    run continues, since the picture can be drawn later. If curve, weights or checkpoint cannot be written, the run ends
    at once, since they cannot be made again.

    Args:
        every_seconds: wall time between two drawings during the run, above 0; drawing never takes more than a tenth of
            the time. None to draw at the end only.

    Raises:
        PartinrError: ``every_seconds`` is not above 0.
    """

    def __init__(self, every_seconds: float | None = 30.0) -> None:
        if every_seconds is not None and not (is_number(every_seconds) and every_seconds > 0):
            raise PartinrError(f"callbacks.pictures.every_seconds={every_seconds!r}; give more than 0, or null")
        self.every_seconds = every_seconds
        self._drawn = time.monotonic()
        self._took = 0.0
        self._rows = 0
        self._lost = False
        self._partitions: dict[str, Any] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw image and partition."""
        for view in regime(pl_module).views if trainer.is_global_zero else ():
            values = view.signal.cpu()
            if view.kind.drawn:
                self._keep(of_image(view.name, IMAGE), encode_png(view.kind.picture(values)))
                self._draw_partition(view)
            file = self.run.regime.files.get("observation")
            if view.kind.drawn and file is not None and view.observation is not None:
                self._keep(of_image(view.name, file), encode_png(view.kind.picture(view.observation)))
            self._keep_native(view, SIGNAL, values)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw after an evaluation, if the interval is over."""
        rows = len(regime(pl_module).curve)
        waited = time.monotonic() - self._drawn
        due = self.every_seconds is not None and waited >= max(self.every_seconds, 10 * self._took)
        if rows != self._rows and self.agreed(trainer, due):
            self._rows = rows
            self._draw(trainer, pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw the final state."""
        self._draw(trainer, pl_module, final=True)
        file, module = self.run.regime.files.get("best_picture"), regime(pl_module)
        if trainer.is_global_zero and file is not None:
            for view, values in zip(module.views, module.best_reconstructions(), strict=False):
                reconstruction = values.float().clamp(0, 1).cpu()
                if view.kind.drawn:
                    self._keep(of_image(view.name, file), encode_png(view.kind.picture(reconstruction)))
                self._keep_native(view, BEST, reconstruction)

    def _draw(self, trainer: L.Trainer, pl_module: L.LightningModule, final: bool = False) -> None:
        started = time.monotonic()
        module = regime(pl_module)
        sheet = self.run.regime.files.get("sheet")
        if sheet is not None and trainer.is_global_zero:
            shown = [each for each in module.adaptations() if each.kind.drawn]
            if shown:
                self._keep(sheet, adaptation_sheet(shown))
        views = module.views
        if any(view.kind.drawn or (final and view.kind.kept) for view in views):
            drawn = module.reconstructions()  # all processes must call this
            for view, values in zip(views, drawn, strict=True) if trainer.is_global_zero else ():
                reconstruction = values.float().clamp(0, 1).cpu()
                if view.kind.drawn:
                    self._draw_partition(view)
                    error = view.kind.error_picture(view.signal.cpu(), reconstruction)
                    self._keep(of_image(view.name, RECONSTRUCTION), encode_png(view.kind.picture(reconstruction)))
                    self._keep(of_image(view.name, ERROR), encode_png(error))
                if final:
                    self._keep_native(view, FITTED, reconstruction)
        self._drawn = time.monotonic()
        self._took = self._drawn - started

    def _draw_partition(self, view: Signal) -> None:
        """Draw a partition unless it has not changed."""
        if self._partitions.get(view.name) is not view.partition:
            self._partitions[view.name] = view.partition
            overlay = view.kind.partition_picture(view.partition.labels, view.signal.cpu())
            self._keep(of_image(view.name, PARTITION), encode_png(overlay))

    def _keep_native(self, view: Signal, name: str, values: Tensor) -> None:
        """Write a signal in the format of its kind, if runs keep one."""
        if view.kind.kept:
            path = self.run.file(of_image(view.name, f"{name}{view.kind.kept}"))
            self._kept(lambda: view.kind.write(path, [values.numpy()], values.shape, "float"))

    def _keep(self, name: str, content: bytes) -> None:
        """Write a picture."""
        self._kept(lambda: self.run.write(name, content))

    def _kept(self, write: Callable[[], object]) -> None:
        """Write a file. Warns only about the first that cannot be written."""
        try:
            write()
        except (OSError, PartinrError) as error:
            if not self._lost:
                self._lost = True
                what = reason(error).partition(";")[0]
                warnings.warn(f"a picture is lost: {what}; the run continues", PartinrWarning, stacklevel=2)


MOST_COLUMNS = 7
"""Number of columns of a sheet, not counting the image; with more steps, some are left out."""


def adaptation_sheet(adaptations: Sequence[Adaptation]) -> bytes:
    """A PNG with one row per image: the image, then its fit after 0, 1, … inner steps."""
    rows = []
    for each in adaptations:
        last = len(each.steps) - 1
        columns = range(last + 1) if last < MOST_COLUMNS else [*range(MOST_COLUMNS - 1), last]
        panels = [
            Panel(_picture(each, each.values[at]), _steps(each.steps[at]), f"{each.psnr[at]:.2f} dB") for at in columns
        ]
        rows.append([Panel(_picture(each, each.signal), each.name, "held out"), *panels])
    return contact_sheet(rows)


def _picture(each: Adaptation, values: Tensor) -> np.ndarray:
    return thumbnail(each.kind.picture(values), side=256)


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"
