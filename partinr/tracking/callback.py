"""Mirrors a run to W&B while it is running."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import lightning as L

from partinr.base.errors import PartinrError
from partinr.callbacks.base import RunCallback, regime
from partinr.tracking.mirror import Mirror, Mode, Note, Unreachable
from partinr.tracking.summary import exit_code

if TYPE_CHECKING:
    from partinr.tracking.logger import Wandb


class WandbMirror(RunCallback):
    """Sends the curve of a run to W&B as it grows, and at the end pictures, figures and networks.

    This callback runs after the one that writes ``run.json``, which it reads. The run continues if W&B fails: the run
    directory has everything, and ``partinr sync`` sends it. Only the first of several processes sends.

    Args:
        settings: settings of the logger.
        mode: ``online`` or ``offline``.
        name: readable name of the run.
        config: the composed configuration, plain containers.
        note: called once if something was not sent, with the reason.
    """

    def __init__(self, settings: Wandb, mode: Mode, name: str, config: Mapping[str, Any], note: Note) -> None:
        self.settings = settings
        self.mode = mode
        self.name = name
        self.config = config
        self._note = note
        self._noted = False
        self._mirror: Mirror | None = None
        self._rows = 0

    def __getstate__(self) -> dict[str, Any]:
        # A connection to W&B cannot be copied to another process.
        return {**self.__dict__, "_mirror": None}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the W&B run; a resumed run continues its own."""
        if trainer.is_global_zero:
            self._try(lambda: self._open(pl_module))

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Send new rows of the curve."""
        if self._mirror is not None and len(regime(pl_module).curve) != self._rows:
            self._try(lambda: self._send(pl_module))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the W&B run, whether the run succeeded or not."""
        self._close(pl_module)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Close the W&B run; Lightning calls nothing else after an exception."""
        self._close(pl_module)

    def _open(self, pl_module: L.LightningModule) -> None:
        name = f"{self.name}, seed {regime(pl_module).seed}"
        try:
            self._mirror = Mirror.open(self.run, self.settings, name, self.config, self.mode, go_on=True)
            if self.mode == "offline":
                self._say("W&B is offline")
        except Unreachable as error:
            self._mirror = Mirror.open(self.run, self.settings, name, self.config, "offline", go_on=True)
            self._say(str(error))
        self._send(pl_module)

    def _send(self, pl_module: L.LightningModule) -> None:
        assert self._mirror is not None
        curve = regime(pl_module).curve
        # The server may be ahead of a resumed run's checkpoint, and must get no row twice.
        self._mirror.rows([row for row in curve[self._rows :] if row["step"] > self._mirror.known_step])
        self._rows = len(curve)

    def _close(self, pl_module: L.LightningModule) -> None:
        mirror = self._mirror
        if mirror is None:
            return

        def close() -> None:
            try:
                self._send(pl_module)
                code = exit_code(self.run.manifest())
            except Exception:
                mirror.abandon(1)
                raise
            mirror.close(code)

        self._try(close)
        self._mirror = None

    def _try(self, what: Callable[[], None]) -> None:
        """Call ``what``; a failure becomes a note and does not end the run."""
        try:
            what()
        except TimeoutError:
            self._say("W&B did not take everything in time")
        except Exception as error:
            reason = f"{type(error).__name__}: {error}" if not isinstance(error, PartinrError) else str(error)
            self._say(f"W&B failed: {' '.join(reason.split())[:200]}")

    def _say(self, reason: str) -> None:
        if not self._noted:
            self._note(self.run.path, reason)
            self._noted = True
