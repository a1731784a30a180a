"""One W&B run: opened, filled and closed.

partinr never sets W&B's own ``step``. Each row carries ``step``, ``seconds`` and ``macs`` as values, and any of them
can be the axis of any curve.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from partinr.base.errors import PartinrError
from partinr.base.files import write_new
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import ADAPTATION, ERROR, PARTITION, RECONSTRUCTION, START, WANDB_ID, WEIGHTS, of_image
from partinr.tracking.server import address, answers, has_login, quiet
from partinr.tracking.summary import AXES, results, summary
from partinr.tracking.words import shown_config

if TYPE_CHECKING:
    from partinr.tracking.logger import Wandb

Mode = Literal["online", "offline", "disabled"]

Note = Callable[[Path, str], None]
"""``note(run_directory, reason)`` tells the user that part of a run was not sent."""

PICTURES = {"partition": PARTITION, "reconstruction": RECONSTRUCTION, "error": ERROR, "adaptation": ADAPTATION}
"""W&B's key for each picture of a run directory."""

RESULTS = "results"
"""W&B's key for the final table, with a row an image."""

FOLDER = "wandb"
"""W&B's own folder in a run directory."""

NO_LOGIN = "there is no W&B login (wandb login makes one)"


class Unreachable(PartinrError):
    """There is no login, or the server does not answer."""


def run_id(run: RunDirectory) -> str:
    """The id of a run directory's W&B run: made once, and the same wherever the run goes on."""
    path = run.file(WANDB_ID)
    with suppress(FileExistsError):
        write_new(path, secrets.token_hex(8).encode())
    return path.read_text(encoding="ascii").strip()


class Mirror:
    """An open W&B run. Make one with :meth:`open`, and end it with :meth:`close`.

    Attributes:
        offline: whether what it is given only lies in the run directory.
        url: where it can be looked at; None offline.
        folder: W&B's own folder of it.
        known_step: the last step that the server had when the run was taken up again; -1 for a new one.
    """

    def __init__(self, run: RunDirectory, wandb_run: Any, settings: Wandb, places: _Places) -> None:
        self._run = run
        self._wandb = wandb_run
        self._settings = settings
        self._places = places
        self._defined = set(AXES)
        self._begun = False
        self.offline: bool = wandb_run.offline
        self.url: str | None = None if self.offline else wandb_run.url  # W&B warns offline
        self.folder = Path(wandb_run.sync_dir)
        step = wandb_run.summary.get("step") if wandb_run.resumed else None
        self.known_step = float(step) if isinstance(step, (int, float)) else -1.0
        for axis in AXES:
            wandb_run.define_metric(axis, hidden=True)

    @classmethod
    def open(
        cls, run: RunDirectory, settings: Wandb, name: str, config: Mapping[str, Any], mode: Mode, go_on: bool
    ) -> Mirror:
        """Begin a W&B run, or go on with it.

        Args:
            run: whose W&B run; W&B's files go into :data:`FOLDER` of it.
            settings: of the logger.
            name: of the W&B run, where the settings give none.
            config: the composed configuration of the run, plain containers.
            mode: ``online`` or ``offline``.
            go_on: keep what the server has of the run; else it is replaced. Offline, each call makes a W&B run of
                its own, with the same id.

        Raises:
            Unreachable: the mode is online, and there is no login or no answer.
            PartinrError: the mode is online, and the server refused the run or took too long.
        """
        quiet()
        import wandb

        if mode == "online" and not has_login():
            raise Unreachable(NO_LOGIN)
        if mode == "online" and not answers(address()):
            raise Unreachable(f"W&B cannot be reached: nobody answers at {address()}")
        identity = run_id(run)
        places = _Places(run.file(FOLDER))
        try:
            made = wandb.init(
                project=settings.project,
                entity=settings.entity,
                group=settings.study,
                job_type=settings.job_type or run.regime.kind,
                name=settings.name or name,
                notes=settings.notes,
                tags=settings.tags,
                config=shown_config(config, run.regime),
                id=identity,
                # W&B's service keeps the working directory in which it was started.
                dir=str(run.path.absolute()),
                mode=mode,
                # Leaves another run of this process alone, such as one of the user's own.
                reinit="create_new",
                resume="allow" if go_on and mode == "online" else None,
                settings=quiet(
                    init_timeout=settings.start_timeout,
                    login_timeout=settings.start_timeout,
                    finish_timeout=settings.finish_timeout,
                    finish_timeout_raises=True,
                ),
            )
        except BaseException as error:
            places.restore()
            if mode == "online" and isinstance(error, Exception):
                raise PartinrError(f"W&B refused: {' '.join(str(error).split())[:200]}") from error
            raise
        if mode == "online" and (made.disabled or made.offline):
            # W&B could not use what has_login() found.
            made.finish()
            places.restore()
            raise Unreachable(NO_LOGIN)
        return cls(run, made, settings, places)

    def rows(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Send rows of the curve under the names of its columns, with the partition picture beside the first."""
        for row in rows:
            for name in row:
                if name not in self._defined:
                    self._wandb.define_metric(name, step_metric="step")
                    self._defined.add(name)
            self._wandb.log(dict(row))
            if not self._begun:
                self.pictures(["partition"], row)
                self._begun = True

    def pictures(self, names: Sequence[str], at: Mapping[str, float]) -> None:
        """Send the pictures of the run directory, as far as they exist.

        Args:
            names: keys of :data:`PICTURES`.
            at: the row of the curve to which they belong.
        """
        import wandb

        found: dict[str, Any] = {}
        images: list[str | None] = [*self._run.images()[: self._settings.max_images]]
        for name in names:
            files = [(image, self._run.file(of_image(image, PICTURES[name]))) for image in images or [None]]
            shown = [wandb.Image(str(path), caption=image) for image, path in files if path.is_file()]
            if shown:
                found[name] = shown if images else shown[0]
        if found:
            self._wandb.log({**{axis: at[axis] for axis in AXES if axis in at}, **found})

    def close(self, exit_code: int) -> None:
        """Send summary, pictures and weights, and end the W&B run.

        Args:
            exit_code: 0 for a completed run.

        Raises:
            TimeoutError: the time was too short to send everything; the W&B run is closed.
        """
        try:
            manifest, curve = self._run.manifest(), self._run.curve()
            self.pictures([name for name in PICTURES if name != "partition"], curve[-1] if curve else {})
            self._wandb.summary.update(summary(manifest, curve))
            self._results(manifest)
            if self._settings.weights:
                self._weights(manifest)
        finally:
            self.abandon(exit_code)

    def abandon(self, exit_code: int) -> None:
        """End the W&B run as it is."""
        try:
            self._wandb.finish(exit_code=exit_code)
        finally:
            self._places.restore()

    def _results(self, manifest: Mapping[str, Any]) -> None:
        import wandb

        columns, lines = results(manifest)
        self._wandb.log({RESULTS: wandb.Table(columns=[*columns], data=lines)})

    def _weights(self, manifest: Mapping[str, Any]) -> None:
        import wandb

        names: list[str | None] = [*self._run.images()[: self._settings.max_images]] or [None]
        files = [of_image(name, file) for name in names for file in (WEIGHTS, START)]
        files = [file for file in files if self._run.file(file).is_file()]
        if not files:
            return
        artefact = wandb.Artifact(
            f"weights-{self._wandb.id}",
            type="model",
            metadata={key: manifest.get(key) for key in ("name", "config_hash", "seed", "parameters", "regions")},
        )
        for file in files:
            # W&B need not copy the files first: they are replaced, never written into.
            artefact.add_file(str(self._run.file(file).absolute()), name=file, policy="immutable")
        self._wandb.log_artifact(artefact)


class _Places:
    """Keeps W&B's copies and logs in the run directory while a run is open, unless the user has set a place."""

    def __init__(self, folder: Path) -> None:
        wanted = {"WANDB_DATA_DIR": folder / "data", "WANDB_CACHE_DIR": folder / "cache"}
        self._set = [name for name in wanted if name not in os.environ]
        for name in self._set:
            os.environ[name] = str(wanted[name].absolute())

    def restore(self) -> None:
        """Restore the environment."""
        for name in self._set:
            os.environ.pop(name, None)
        self._set = []
