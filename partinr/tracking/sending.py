"""Sends a run to one logger while it is running, whatever logger that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import lightning as L

from partinr.base.errors import PartinrError
from partinr.callbacks.base import RunCallback, regime
from partinr.tracking.summary import exit_code

if TYPE_CHECKING:
    from partinr.tracking.logger import Note


class Place(Protocol):
    """An open run of a logger.

    Attributes:
        known_step: the last step that it has already, of a run that was resumed; -1 for none.
    """

    known_step: float

    def rows(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Take rows of the curve under the names of its columns."""

    def close(self, exit_code: int) -> None:
        """Take what there is at the end, and end; 0 for a completed run."""

    def abandon(self, exit_code: int) -> None:
        """End without taking more."""


class Sender(RunCallback):
    """Sends the curve of a run as it grows, and the rest at the end.

    This callback runs after the one that writes ``run.json``, which it reads. The run continues if the logger
    fails, since its directory has everything. Only the first of several processes sends.

    Args:
        title: the logger's name in notes.
        note: called once if something was not sent, with the reason.
    """

    def __init__(self, title: str, note: Note) -> None:
        self.title = title
        self._note = note
        self._noted = False
        self._place: Place | None = None
        self._rows = 0

    def __getstate__(self) -> dict[str, Any]:
        # A connection cannot be copied to another process.
        return {**self.__dict__, "_place": None}

    def open(self, pl_module: L.LightningModule) -> Place:
        """The open run of the logger; a resumed run continues its own where the logger can."""
        raise NotImplementedError

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the logger's run, and send the rows that a resumed run has."""
        if trainer.is_global_zero:
            self._try(lambda: self._begin(pl_module))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Send new rows of the curve."""
        if self._place is not None and len(regime(pl_module).curve) != self._rows:
            self._try(lambda: self._send(pl_module))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the logger's run, whether the run succeeded or not."""
        self._close(pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the logger's run; Lightning calls nothing else after an exception."""
        self._close(pl_module)

    def _begin(self, pl_module: L.LightningModule) -> None:
        self._place = self.open(pl_module)
        self._send(pl_module)

    def _send(self, pl_module: L.LightningModule) -> None:
        assert self._place is not None
        curve = regime(pl_module).curve
        # The logger may be ahead of a resumed run's checkpoint, and must get no row twice.
        self._place.rows([row for row in curve[self._rows :] if row["step"] > self._place.known_step])
        self._rows = len(curve)

    def _close(self, pl_module: L.LightningModule) -> None:
        place = self._place
        if place is None:
            return

        def close() -> None:
            self._send(pl_module)
            code = exit_code(self.run.manifest())
            self._place = None  # it ends in any case
            place.close(code)

        self._try(close)

    def _try(self, what: Callable[[], None]) -> None:
        """Call ``what``; a failure becomes a note and the end of sending, but not of the run."""
        try:
            what()
        except Exception as error:
            if isinstance(error, TimeoutError):
                self.say(f"{self.title} did not take everything in time")
            else:
                reason = str(error) if isinstance(error, PartinrError) else f"{type(error).__name__}: {error}"
                self.say(f"{self.title} failed: {' '.join(reason.split())[:200]}")
            place, self._place = self._place, None
            if place is not None:
                with suppress(Exception):
                    place.abandon(1)

    def say(self, reason: str) -> None:
        """Print a note, the first time."""
        if not self._noted:
            self._note(self.run.path, reason)
            self._noted = True
