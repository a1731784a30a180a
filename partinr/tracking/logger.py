"""The choices of the group ``logger``."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from partinr.base.errors import PartinrError
from partinr.base.later import load
from partinr.base.notes import print_note
from partinr.base.spec import spec
from partinr.tracking.environment import heeded, node_of, overruled
from partinr.tracking.mirror import Mode

if TYPE_CHECKING:
    from partinr.callbacks import RunCallback

Text = Annotated[str, Field(min_length=1)]

Note = Callable[[Path, str], None]
"""``note(run_directory, reason)`` tells the user that W&B does not have all of a run."""

_MODES: Mapping[str, Mode] = {
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
    # Older names of W&B.
    "run": "online",
    "dryrun": "offline",
}


class Logger:
    """An additional destination for the numbers of a run."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # Until version 0.5: a class that was written for 0.3, whose callbacks() has no folder.
        older = vars(cls).get("callbacks")
        if older is not None and not _takes_a_folder(older):
            cls.callbacks = lambda self, *given: older(self, *given[:3])  # type: ignore[method-assign]

    def callbacks(self, name: str, config: Mapping[str, Any], note: Note, folder: Path) -> list[RunCallback]:
        """The callbacks that send the numbers. They run after those that write the run directory.

        Args:
            name: readable name of the run.
            config: the composed configuration, plain containers.
            note: called at most once per run, with one line that says what W&B did not get and why.
            folder: the run directory, which need not exist yet.

        Raises:
            PartinrError: the settings are invalid on this machine, or a package is missing.
        """
        raise NotImplementedError


def _takes_a_folder(callbacks: Callable[..., Any]) -> bool:
    try:
        inspect.signature(callbacks).bind(None, None, None, None, None)
    except TypeError:
        return False
    return True


@spec
class CurveOnly(Logger):
    """No additional destination."""

    def callbacks(self, name: str, config: Mapping[str, Any], note: Note, folder: Path) -> list[RunCallback]:
        """An empty list."""
        return []


@dataclasses.dataclass(frozen=True)
class Several(Logger):
    """Several loggers, each of which gets the same rows.

    Attributes:
        loggers: the loggers.
    """

    loggers: Sequence[Logger]

    def callbacks(self, name: str, config: Mapping[str, Any], note: Note, folder: Path) -> list[RunCallback]:
        """The callbacks of all of them."""
        return [callback for each in self.loggers for callback in each.callbacks(name, config, note, folder)]


@dataclasses.dataclass(frozen=True)
class Guest(Logger):
    """A logger of Lightning, or of another package that Lightning accepts.

    Attributes:
        make: gives the logger for a run directory.
    """

    make: Callable[[Path], Any]

    def callbacks(self, name: str, config: Mapping[str, Any], note: Note, folder: Path) -> list[RunCallback]:
        """The one that logs the rows of the curve."""
        return [load("partinr.tracking.guests:GuestSender")(self.make, folder, config)]


@spec
class TensorBoard(Logger):
    """TensorBoard's event files, in the run directory."""

    def callbacks(self, name: str, config: Mapping[str, Any], note: Note, folder: Path) -> list[RunCallback]:
        """The one that writes the files."""
        _check_installed("tensorboard")
        make, place = load("partinr.tracking.guests:tensorboard"), load("partinr.tracking.guests:TensorBoardPlace")
        return [load("partinr.tracking.guests:GuestSender")(make, folder, config, place)]


@spec
class MLflow(Logger):
    """MLflow: parameters, the curve and the pictures of a run.

    Attributes:
        tracking_uri: server or database; None for what MLflow takes by itself.
        experiment: MLflow's experiment that lists the run.
        name: name of the MLflow run; None for one made from signal, method and seed.
    """

    tracking_uri: Text | None = None
    experiment: Text = "partinr"
    name: Text | None = None

    def callbacks(self, name: str, config: Mapping[str, Any], note: Note, folder: Path) -> list[RunCallback]:
        """The one that sends the curve."""
        _check_installed("mlflow")
        return [load("partinr.tracking.mlflow:MLflowSender")(self, name, config)]


def _check_installed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise PartinrError(
            f"logger={package} needs the package {package}, which is not installed; pip install 'partinr[{package}]'"
        )


@spec
class Wandb(Logger):
    """Weights & Biases. What is not given is what W&B's environment variables say (:mod:`.environment`).

    Attributes:
        mode: ``online``, ``offline`` or ``disabled``; None for the value of ``WANDB_MODE``, else ``online``.
        project: project that lists the run.
        entity: user or team; None for the default of the login.
        group: W&B's group; None for no group.
        study: the older name of ``group``.
        job_type: W&B's job type; None for the kind of the regime.
        name: name of the run; None for one made from signal, method and seed.
        notes: free text.
        tags: words to find the run by.
        max_images: limit of images of a run whose pictures are sent.
        weights: whether to send the networks as an artefact.
        start_timeout: seconds to wait for the server at the start, above 0.
        finish_timeout: seconds to wait at the end until everything is sent, above 0.
    """

    mode: Mode | None = None
    project: Text = Field(default_factory=partial(heeded, "project", "partinr"))
    entity: Text | None = Field(default_factory=partial(heeded, "entity"))
    group: Text | None = Field(default_factory=partial(heeded, "group"))
    study: Text | None = None
    job_type: Text | None = Field(default_factory=partial(heeded, "job_type"))
    name: Text | None = Field(default_factory=partial(heeded, "name"))
    notes: str | None = Field(default_factory=partial(heeded, "notes"))
    tags: list[Text] = Field(default_factory=lambda: heeded("tags", []))
    dir: Text | None = Field(default_factory=partial(heeded, "dir"))
    max_images: Annotated[int, Field(ge=0)] = 16
    weights: bool = True
    start_timeout: Annotated[float, Field(gt=0)] = 15.0
    finish_timeout: Annotated[float, Field(gt=0)] = 60.0

    def __post_init__(self) -> None:
        """Take a group that is given by its older name."""
        if self.study is not None:
            object.__setattr__(self, "group", self.study)
            object.__setattr__(self, "study", None)

    def callbacks(self, name: str, config: Mapping[str, Any], note: Note, folder: Path) -> list[RunCallback]:
        """The mirror, or an empty list if W&B is disabled."""
        mode = self.resolved_mode()
        if mode == "disabled":
            return []
        if (line := overruled(dataclasses.asdict(self), node_of(config)[0])) is not None:
            print_note(line)
        return [load("partinr.tracking.callback:WandbMirror")(self, mode, name, config, note)]

    def resolved_mode(self) -> Mode:
        """``mode``, or the mode in the environment.

        Raises:
            PartinrError: ``WANDB_MODE`` is unknown.
        """
        if self.mode is not None:
            return self.mode
        said = os.environ.get("WANDB_MODE") or "online"
        if said not in _MODES:
            raise PartinrError(f"WANDB_MODE={said!r} is no mode; set online, offline or disabled")
        return _MODES[said]
