"""Mirrors a run to W&B while it is running."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import lightning as L

from partinr.callbacks.base import regime
from partinr.tracking.mirror import Mirror, Mode
from partinr.tracking.sending import Sender
from partinr.tracking.server import Unreachable

if TYPE_CHECKING:
    from partinr.tracking.logger import Note, Wandb


class WandbMirror(Sender):
    """Sends the curve of a run to W&B as it grows, and at the end pictures, figures and networks.

    What W&B does not take, ``partinr sync`` sends.

    Args:
        settings: settings of the logger.
        mode: ``online`` or ``offline``.
        name: readable name of the run.
        config: the composed configuration, plain containers.
        note: called once if something was not sent, with the reason.
    """

    def __init__(self, settings: Wandb, mode: Mode, name: str, config: Mapping[str, Any], note: Note) -> None:
        super().__init__("W&B", note)
        self.settings = settings
        self.mode = mode
        self.name = name
        self.config = config

    def open(self, pl_module: L.LightningModule) -> Mirror:
        """The W&B run; an offline one where the server cannot be reached."""
        name = f"{self.name}, seed {regime(pl_module).seed}"
        try:
            mirror = Mirror.open(self.run, self.settings, name, self.config, self.mode, go_on=True)
        except Unreachable as error:
            self.say(str(error))
            return Mirror.open(self.run, self.settings, name, self.config, "offline", go_on=True)
        if self.mode == "offline":
            self.say("W&B is offline")
        return mirror
