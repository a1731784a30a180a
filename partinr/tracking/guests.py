"""Lightning's loggers, and those of other packages that Lightning accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.loggers import Logger

from partinr.base.notes import print_note
from partinr.base.terminal import short
from partinr.callbacks.base import regime
from partinr.runs.directory import RunDirectory
from partinr.tracking.sending import Sender
from partinr.tracking.summary import AXES, PICTURES, pictures
from partinr.tracking.words import leaves, shown_config

if TYPE_CHECKING:
    from lightning.pytorch.loggers import TensorBoardLogger

FOLDER = "tensorboard"
"""Folder for TensorBoard's files in a run directory."""

MAX_IMAGES = 16
"""For a run that fitted more images: TensorBoard gets the pictures of this many."""

FAMILIES = {"milliseconds": ("seconds", 1000), "macs": ("macs", 1)}
"""TensorBoard's further families of curves: the axis of each in the column of ``curve.csv``, and its factor."""


def note_kept(run: Path, reason: str) -> None:
    """Print that a logger does not have all of a run, and who has."""
    print_note(f"{reason}; the run continues, and {short(run)} has its curve")


class GuestPlace:
    """An open logger. It gets the whole curve, also of a resumed run, which is a new one to it.

    Args:
        logger: has Lightning's methods ``log_hyperparams``, ``log_metrics``, ``save`` and ``finalize``.
        run: the run directory.
        config: the composed configuration of the run, plain containers.
    """

    known_step = -1.0

    def __init__(self, logger: Any, run: RunDirectory, config: Mapping[str, Any]) -> None:
        self.logger = logger
        self.run = run
        self.config = shown_config(config, run.regime)
        logger.log_hyperparams(self.config)

    def rows(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Log rows of the curve; ``seconds`` and ``macs`` are metrics among the others."""
        for row in rows:
            self.row(row, int(row["step"]))
        self.logger.save()

    def row(self, row: Mapping[str, float], step: int) -> None:
        """Log one row."""
        self.logger.log_metrics(dict(row), step=step)

    def close(self, exit_code: int) -> None:
        """End."""
        self.abandon(exit_code)

    def abandon(self, exit_code: int) -> None:
        """End."""
        self.logger.finalize("success" if exit_code == 0 else "failed")


class TensorBoardPlace(GuestPlace):
    """TensorBoard's files of a run. An axis of TensorBoard is a whole number, so each axis has curves of its own."""

    logger: TensorBoardLogger

    def row(self, row: Mapping[str, float], step: int) -> None:
        """Write one row: all columns against the step, and the others against the axes of :data:`FAMILIES`."""
        writer = self.logger.experiment
        for name, value in row.items():
            writer.add_scalar(name, value, step)
        for family, (axis, factor) in FAMILIES.items():
            for name in row.keys() - AXES:
                writer.add_scalar(f"{family}/{name}", row[name], round(row[axis] * factor))

    def close(self, exit_code: int) -> None:
        """Write pictures and settings, and end."""
        import numpy as np
        from PIL import Image
        from torch.utils.tensorboard.summary import hparams

        try:
            writer, curve = self.logger.experiment, self.run.curve()
            for name, files in pictures(self.run, PICTURES, MAX_IMAGES).items():
                for image, path in files:
                    tag = name if image is None else f"{name}/{image}"
                    with Image.open(path) as picture:
                        values = np.asarray(picture.convert("RGB"))
                    writer.add_image(tag, values, int(curve[-1]["step"]), dataformats="HWC")
            for each in hparams(dict(leaves(self.config)), {"psnr": 0.0, "ssim": 0.0}):  # only the names count
                writer._get_file_writer().add_summary(each)
        finally:
            self.abandon(exit_code)


class GuestSender(Sender):
    """Sends the curve of a run to a logger as it grows.

    Args:
        make: gives the logger for a run directory.
        folder: the run directory.
        config: the composed configuration, plain containers.
        place: what sends to the logger.

    Raises:
        PartinrError: the logger refuses its options.
    """

    def __init__(
        self,
        make: Callable[[Path], Any],
        folder: Path,
        config: Mapping[str, Any],
        place: type[GuestPlace] = GuestPlace,
    ) -> None:
        logger = make(folder)
        super().__init__(type(logger).__name__, note_kept)
        # Made here, so that a missing package or login is known before the training.
        self._logger: Any = logger
        self._again = partial(make, folder)
        self._config = config
        self._kind = place

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_logger": None}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Let callbacks find the logger where Lightning has it."""
        self._logger = self._logger or self._again()
        trainer.loggers = [Extras(self._logger, self, pl_module), *trainer.loggers]

    def open(self, pl_module: L.LightningModule) -> GuestPlace:
        """The logger with the settings of the run."""
        return self._kind(self._logger, self.run, self._config)

    def extra(self, values: Mapping[str, float], step: int | None) -> None:
        """Log what a callback logs, while the logger is open."""
        if self._place is not None:
            self._try(lambda: self._logger.log_metrics(dict(values), step=step))


class Extras(Logger):
    """A logger as callbacks find it in ``trainer.loggers``: it takes what they log.

    The rows of the curve come from the sender, since Lightning would give the logger of a resumed run only new ones.
    """

    def __init__(self, logger: Any, sender: GuestSender, module: L.LightningModule) -> None:
        self._logger, self._sender, self._module = logger, sender, module

    @property
    def name(self) -> str | None:
        """The logger's."""
        return self._logger.name

    @property
    def version(self) -> int | str | None:
        """The logger's."""
        return self._logger.version

    @property
    def experiment(self) -> Any:
        """The logger's, such as TensorBoard's writer."""
        return self._logger.experiment

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log what is no column of the curve."""
        curve = regime(self._module).curve
        known = {"epoch", *(curve[-1] if curve else ())}
        if values := {name: value for name, value in metrics.items() if name not in known}:
            self._sender.extra(values, step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the logger has the configuration."""

    def finalize(self, status: str) -> None:
        """Nothing: the sender ends the logger."""


def tensorboard(folder: Path) -> TensorBoardLogger:
    """Lightning's logger for the TensorBoard files of a run directory."""
    from lightning.pytorch.loggers import TensorBoardLogger

    # A resumed run writes its whole curve again; purge_step hides what was written before.
    return TensorBoardLogger(folder / FOLDER, name="", version="", default_hp_metric=False, purge_step=0)
