"""The choices of the group ``logger``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from partinr.base.errors import PartinrError
from partinr.base.later import load
from partinr.base.spec import spec
from partinr.tracking.mirror import Mode, Note

if TYPE_CHECKING:
    from partinr.callbacks import RunCallback

Text = Annotated[str, Field(min_length=1)]

_MODES: Mapping[str, Mode] = {
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    # W&B's older words.
    "run": "online",
    "dryrun": "offline",
}


class Logger:
    """A further place for the numbers of a run, beside ``curve.csv`` and ``run.json``."""

    def callbacks(self, name: str, config: Mapping[str, Any], note: Note) -> list[RunCallback]:
        """The callbacks that send them; they run after those that write the run directory.

        Args:
            name: of the run, for people.
            config: the composed configuration, plain containers.
            note: called at most once a run, with one line: what was not sent, and why.

        Raises:
            PartinrError: the settings do not suit this machine.
        """
        raise NotImplementedError


@spec
class CurveOnly(Logger):
    """No further place."""

    def callbacks(self, name: str, config: Mapping[str, Any], note: Note) -> list[RunCallback]:
        """No callback."""
        return []


@spec
class Wandb(Logger):
    """Weights & Biases.

    Attributes:
        mode: ``online``, ``offline`` or ``disabled``; None for what ``WANDB_MODE`` says, else online.
        project: where the run is listed.
        entity: user or team; None for the default of the login.
        study: W&B's group; None for none.
        job_type: None for the kind of the regime.
        name: of the run; None for one made of signal, method and seed.
        notes: free text.
        tags: words to find it by.
        max_images: pictures of at most so many images of a run are sent.
        weights: whether the networks are sent as an artefact.
        start_timeout: seconds to wait for the server at the start, above 0.
        finish_timeout: seconds to wait at the end until all is sent, above 0.
    """

    mode: Mode | None = None
    project: Text = "partinr"
    entity: Text | None = None
    study: Text | None = None
    job_type: Text | None = None
    name: Text | None = None
    notes: str | None = None
    tags: list[Text] = Field(default_factory=list)
    max_images: Annotated[int, Field(ge=0)] = 16
    weights: bool = True
    start_timeout: Annotated[float, Field(gt=0)] = 15.0
    finish_timeout: Annotated[float, Field(gt=0)] = 60.0

    def callbacks(self, name: str, config: Mapping[str, Any], note: Note) -> list[RunCallback]:
        """The mirror; none where W&B is disabled."""
        mode = self.resolved_mode()
        return (
            []
            if mode == "disabled"
            else [load("partinr.tracking.callback:WandbMirror")(self, mode, name, config, note)]
        )

    def resolved_mode(self) -> Mode:
        """``mode``, or what the environment says.

        Raises:
            PartinrError: ``WANDB_MODE`` is none that W&B has.
        """
        if self.mode is not None:
            return self.mode
        said = os.environ.get("WANDB_MODE") or "online"
        if said not in _MODES:
            raise PartinrError(f"WANDB_MODE={said!r} is no mode; set online, offline or disabled")
        return _MODES[said]
