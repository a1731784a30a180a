"""One W&B run: opened, filled and closed. Everything that partinr asks of the package ``wandb`` is here.

W&B's ``step`` is never set. Each row carries ``step``, ``seconds`` and ``macs`` as values, and any of them can be the
axis of any curve.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import socket
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from partinr.base.errors import PartinrError
from partinr.base.files import write_new
from partinr.runs.directory import (
    ADAPTATION,
    CURVE_COLUMNS,
    ERROR,
    PARTITION,
    RECONSTRUCTION,
    START,
    WANDB_ID,
    WEIGHTS,
    RunDirectory,
    crossing,
    of_image,
)

Mode = Literal["online", "offline", "disabled"]

Note = Callable[[Path, str], None]
"""``note(run_directory, reason)`` tells the user that something of a run was not sent."""

AXES = ("step", "seconds", "macs")
"""Columns of ``curve.csv`` that any other may be drawn against."""

LEVELS = (20, 25, 30, 35, 40, 45, 50)
"""PSNR in dB: when a run first reached each of them is in its summary."""

PICTURES = {"partition": PARTITION, "reconstruction": RECONSTRUCTION, "error": ERROR, "adaptation": ADAPTATION}
"""W&B's key for each picture of a run directory."""

RESULTS = "results"
"""W&B's key for the final table: a row an image."""

FOLDER = "wandb"
"""In a run directory, what W&B keeps itself."""

NO_LOGIN = "there is no W&B login (wandb login makes one)"


class Unreachable(PartinrError):
    """W&B is not to be had: no login, or no server."""


@dataclass(frozen=True)
class About:
    """What a W&B run is called and filed under; see :class:`partinr.tracking.logger.Wandb`."""

    project: str
    entity: str | None
    study: str | None
    job_type: str
    name: str
    notes: str | None
    tags: Sequence[str]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Limits:
    """How long W&B may take, in seconds, and how much is sent."""

    start_timeout: float
    finish_timeout: float
    max_images: int
    weights: bool


def run_id(run: RunDirectory) -> str:
    """The id of the W&B run of a run directory: made once, and the same ever after, wherever the run goes on."""
    path = run.file(WANDB_ID)
    with suppress(FileExistsError):
        write_new(path, secrets.token_hex(8).encode())
    return path.read_text(encoding="ascii").strip()


def has_login() -> bool:
    """Whether W&B finds credentials, for the server that it would use. Nobody is asked for any."""
    server = _server()
    from wandb.sdk.lib import wbauth

    try:
        found = wbauth.authenticate_session(host=server, source="partinr", prompt=False, update_session=False)
    except Exception:  # of another form than W&B's keys are
        return False
    return found is not None


def _server() -> str:
    """The address of W&B's server."""
    _quiet()
    from wandb.sdk import wandb_setup

    # wandb.setup() would start W&B's service as well, and ask the server about the login.
    return str(wandb_setup.singleton().settings.base_url)


PROBE_SECONDS = 3.0
"""How long a server may take to accept a connection."""


def _answers(server: str) -> bool:
    """Whether anybody is there; taken for granted where a proxy stands between.

    W&B's service goes on trying for a run that it could not start, and keeps its id for as long.
    """
    address = urlsplit(server)
    if urllib.request.getproxies().get(address.scheme):
        return True
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), PROBE_SECONDS).close()
    except OSError:
        return False
    return True


def _quiet(**further: Any) -> Any:
    """Settings of W&B: no output, no telemetry, nothing of the machine, the code or the environment."""
    # Read when W&B is imported, when its service is started, and when it first speaks.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return wandb.Settings(
        silent=True,
        console="off",
        disable_code=True,
        disable_git=True,
        disable_job_creation=True,
        label_disable=True,
        save_code=False,
        symlink=False,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        **further,
    )


class Mirror:
    """An open W&B run. Make one with :meth:`open`, and end it with :meth:`close`.

    Attributes:
        offline: whether what it is given only lies in the run directory.
        url: where it can be looked at; None offline.
        folder: W&B's own folder of it.
        known_step: the last step that the server had when the run was taken up again; -1 for a new one.
    """

    def __init__(self, run: RunDirectory, wandb_run: Any, limits: Limits, places: _Places) -> None:
        self._run = run
        self._wandb = wandb_run
        self._limits = limits
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
    def open(cls, run: RunDirectory, about: About, limits: Limits, mode: Mode, go_on: bool) -> Mirror:
        """Begin a W&B run, or go on with it.

        Args:
            run: whose W&B run; W&B's files go into :data:`FOLDER` of it.
            about: its name and the like.
            limits: of time and size.
            mode: ``online`` or ``offline``.
            go_on: of a run that the server has already, keep what is there; else it is replaced. Offline each time is
                a W&B run of its own, with the same id.

        Raises:
            Unreachable: online, and there is no login, or nobody answers.
            PartinrError: online, and the server refused the run, or did not take it in time.
        """
        _quiet()
        import wandb

        if mode == "online" and not has_login():
            raise Unreachable(NO_LOGIN)
        if mode == "online" and not _answers(_server()):
            raise Unreachable(f"W&B cannot be reached: nobody answers at {_server()}")
        identity = run_id(run)
        places = _Places(run.file(FOLDER))
        try:
            made = wandb.init(
                project=about.project,
                entity=about.entity,
                group=about.study,
                job_type=about.job_type,
                name=about.name,
                notes=about.notes,
                tags=list(about.tags),
                config=dict(about.config),
                id=identity,
                # W&B's service stays where this process was when it started it.
                dir=str(run.path.absolute()),
                mode=mode,
                # Another run of this process, a user's own perhaps, is neither ended nor written into.
                reinit="create_new",
                resume="allow" if go_on and mode == "online" else None,
                settings=_quiet(
                    init_timeout=limits.start_timeout,
                    login_timeout=limits.start_timeout,
                    finish_timeout=limits.finish_timeout,
                    finish_timeout_raises=True,
                ),
            )
        except BaseException as error:
            places.restore()
            if mode == "online" and isinstance(error, Exception):
                raise PartinrError(f"W&B refused: {' '.join(str(error).split())[:200]}") from error
            raise
        if mode == "online" and (made.disabled or made.offline):
            # Of what has_login() found W&B could make nothing.
            made.finish()
            places.restore()
            raise Unreachable(NO_LOGIN)
        return cls(run, made, limits, places)

    def rows(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Send rows of the curve, under the names of its columns, and the partition with the first of them."""
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
        """Send those pictures of the run directory that are there.

        Args:
            names: keys of :data:`PICTURES`.
            at: the row of the curve that they belong to.
        """
        import wandb

        found: dict[str, Any] = {}
        images: list[str | None] = [*self._run.images()[: self._limits.max_images]]
        for name in names:
            files = [(image, self._run.file(of_image(image, PICTURES[name]))) for image in images or [None]]
            shown = [wandb.Image(str(path), caption=image) for image, path in files if path.is_file()]
            if shown:
                found[name] = shown if images else shown[0]
        if found:
            self._wandb.log({**{axis: at[axis] for axis in AXES if axis in at}, **found})

    def close(self, exit_code: int) -> None:
        """Send what is known of the run in the end, and end it.

        Args:
            exit_code: 0 for a completed run.

        Raises:
            TimeoutError: not all was sent in time; the W&B run is closed.
        """
        try:
            manifest, curve = self._run.manifest(), self._run.curve()
            self.pictures([name for name in PICTURES if name != "partition"], curve[-1] if curve else {})
            self._wandb.summary.update(summary(manifest, curve))
            self._results(manifest)
            if self._limits.weights:
                self._weights(manifest)
        finally:
            self.abandon(exit_code)

    def abandon(self, exit_code: int) -> None:
        """End it as it is."""
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

        names: list[str | None] = [*self._run.images()[: self._limits.max_images]] or [None]
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
            # Not copied first: they are replaced, never written into.
            artefact.add_file(str(self._run.file(file).absolute()), name=file, policy="immutable")
        self._wandb.log_artifact(artefact)


class _Places:
    """Where W&B keeps copies and logs while a run is open, unless the user has said so."""

    def __init__(self, folder: Path) -> None:
        wanted = {"WANDB_DATA_DIR": folder / "data", "WANDB_CACHE_DIR": folder / "cache"}
        self._set = [name for name in wanted if name not in os.environ]
        for name in self._set:
            os.environ[name] = str(wanted[name].absolute())

    def restore(self) -> None:
        """Leave the environment as it was."""
        for name in self._set:
            os.environ.pop(name, None)
        self._set = []


def exit_code(manifest: Mapping[str, Any]) -> int:
    """With what a run ended: 0 completed, 128 + the number of the signal that stopped it, 1 in any other way."""
    if manifest["status"] == "completed":
        return 0
    signal = re.search(r"stopped by signal ([0-9]+)", str(manifest.get("message")))
    return 128 + int(signal[1]) if manifest["status"] == "interrupted" and signal else 1


def summary(manifest: Mapping[str, Any], curve: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """What W&B's table of runs says of a run: the figures of ``run.json``, and when it reached each quality."""
    found: dict[str, Any] = {
        key: manifest[key]
        for key in (
            "status",
            "message",
            "stop",
            "steps",
            "parameters",
            "regions",
            "macs_per_pixel",
            "peak_memory_bytes",
        )
        if manifest.get(key) is not None
    }
    metrics = dict(manifest.get("metrics") or {})
    seam = metrics.pop("seam", None) or {}
    metrics.update({f"seam/{key}": value for key, value in seam.items()})
    found.update({key: value for key, value in metrics.items() if value is not None and key not in CURVE_COLUMNS})
    if curve:
        # JSON has no word for infinity: the file of the curve has.
        last = curve[-1]
        found.update({key: last[key] for key in ("psnr", "ssim") if not math.isnan(last.get(key, math.nan))})
    for name, value in (manifest.get("seconds") or {}).items():
        if value is not None:
            found[f"time/{name}"] = value
    psnr = [row["psnr"] for row in curve]
    for axis, word in zip(AXES, ("steps", "seconds", "macs"), strict=True):
        for level in LEVELS:
            reached = crossing([row[axis] for row in curve], psnr, level)
            if reached is not None:
                found[f"{word}_to/{level}dB"] = reached
    return found


def results(manifest: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """The final table: its columns, and a row an image."""
    columns = ["image", "seed", "regions", "parameters", "psnr", "ssim"]
    images = manifest.get("images")
    signal = manifest.get("signal")
    if isinstance(images, Mapping):
        of = {str(name): each for name, each in images.items() if isinstance(each, Mapping)}
    else:
        name = signal.get("name") if isinstance(signal, Mapping) else None
        of = {str(name): {**manifest, **(manifest.get("metrics") or {})}}
    lines = []
    for image, each in of.items():
        known = {**each, "image": image, "seed": manifest.get("seed")}
        lines.append([known.get(column) for column in columns])
    return columns, lines
