"""Opens, fills and closes a W&B run.

partinr never sets W&B's own ``step``. Each row contains ``step``, ``seconds``, ``cpu_seconds`` and ``macs`` as values,
so that any of them can be the axis of a curve.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from partinr.base.errors import PartinrError
from partinr.base.files import write_new
from partinr.base.text import is_utf8, seen, visible
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import START, WANDB_ID, WEIGHTS, of_image
from partinr.tracking.server import NO_LOGIN, Unreachable, check_reachable, quiet
from partinr.tracking.summary import AXES, PICTURES, pictures, results, summary
from partinr.tracking.words import shown_config

if TYPE_CHECKING:
    from partinr.tracking.logger import Wandb

Mode = Literal["online", "offline", "disabled"]

RESULTS = "results"
"""W&B's key for the final table, with one row per image."""

FOLDER = "wandb"
"""Folder for W&B's files in a run directory."""


def run_id(run: RunDirectory) -> str:
    """The id of a run directory's W&B run, which is made once and kept when the run is resumed."""
    path = run.file(WANDB_ID)
    with suppress(FileExistsError):
        write_new(path, secrets.token_hex(8).encode())
    return path.read_text(encoding="ascii").strip()


class Mirror:
    """An open W&B run. Make one with :meth:`open`, and end it with :meth:`close`.

    Attributes:
        offline: whether data stays in the run directory.
        url: address of the W&B run; None offline.
        folder: W&B's folder of the run.
        known_step: the last step that the server had when the run was resumed; -1 for a new run.
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
        """Open a new W&B run, or continue one.

        Args:
            run: the run directory; W&B's files go into its :data:`FOLDER`, or that of ``settings.dir``.
            settings: settings of the logger.
            name: name of the W&B run if the settings have none.
            config: the composed configuration of the run, plain containers.
            mode: ``online`` or ``offline``.
            go_on: keep the server's data of the run; otherwise replace it. Offline, each call makes a separate W&B run
                with the same id.

        Raises:
            Unreachable: there is no login or no answer in mode ``online``.
            PartinrError: the server refused the run or took too long in mode ``online``.
        """
        for path in (run.path.absolute(), Path(settings.dir or ".").absolute()):
            if not is_utf8(str(path)):
                raise PartinrError(f"W&B takes no folder whose name is not UTF-8: {visible(str(path))}; rename it")
        quiet()
        import wandb

        if mode == "online":
            check_reachable()
        identity = run_id(run)
        folder = run.path if settings.dir is None else Path(settings.dir)
        folder.mkdir(parents=True, exist_ok=True)  # W&B would take a temporary one instead
        places = _Places(folder / FOLDER)
        try:
            made = wandb.init(
                project=settings.project,
                entity=settings.entity,
                group=settings.group,
                job_type=settings.job_type or run.regime.kind,
                name=visible(settings.name or name),
                notes=settings.notes,
                tags=settings.tags,
                config=shown_config(config, run.regime),
                id=identity,
                # W&B's service keeps the working directory of its start.
                dir=str(folder.absolute()),
                mode=mode,
                # Do not touch another W&B run of this process, such as the user's.
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
                what = "W&B failed" if isinstance(error, OSError) else "W&B refused"  # a disk, a connection
                raise PartinrError(f"{what}: {' '.join(str(error).split())[:200]}") from error
            raise
        if mode == "online" and (made.disabled or made.offline):
            # W&B could not use the credentials that has_login() found.
            made.finish()
            places.restore()
            raise Unreachable(NO_LOGIN)
        return cls(run, made, settings, places)

    def rows(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Send rows of the curve under the names of its columns, and the partition picture with the first row."""
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
        """Send those pictures of the run directory that exist.

        Args:
            names: keys of :data:`PICTURES`.
            at: the row of the curve that they belong to.
        """
        import wandb

        found: dict[str, Any] = {}
        for name, files in pictures(self._run, names, self._settings.max_images).items():
            shown = [wandb.Image(str(path), caption=image) for image, path in files]
            found[name] = shown if files[0][0] is not None else shown[0]
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
        """End the W&B run without sending more."""
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
            metadata={key: seen(manifest.get(key)) for key in ("name", "config_hash", "seed", "parameters", "regions")},
        )
        for file in files:
            # W&B need not copy the files, since they are replaced and never modified.
            artefact.add_file(str(self._run.file(file).absolute()), name=file, policy="immutable")
        self._wandb.log_artifact(artefact)


class _Places:
    """Keeps W&B's copies and logs in the run directory while a run is open, unless the user chose a folder."""

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
