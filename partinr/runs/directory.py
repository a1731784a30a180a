"""The run directory: the one place that knows its files, writes them atomically and reads them back.

A run directory is complete in itself. Whoever holds it can report, render or resume from it without the command
line that made it::

    .hydra/config.yaml      the composed config          .hydra/overrides.yaml   what was asked for
    run.json                status, metrics, parameters, clocks, hardware, versions (:data:`FORMAT`)
    curve.csv               one row an evaluation (:data:`CURVE_COLUMNS`)
    image.png  partition.png  reconstruction.png  error.png
    inr.safetensors         the fitted network
    rate.csv                what it takes in bits (:data:`RATE_COLUMNS`), once somebody has asked: partinr export
    checkpoints/last.ckpt   what a resume needs; while the run goes on also previous.ckpt, the one before it
    output.log              what it said, if a process of its own carried it out
    .lock  .job             held by the process that writes the run; the job of a cluster that was submitted for it
    wandb.id  wandb/        of its mirror on W&B, where there is one

A study of steps to a fixed error has ``steps.csv``, with one row a trial (:data:`STEPS_COLUMNS`), and no network.

A run of learning to learn has ``adaptation.png`` and ``initialisation.safetensors`` in place of pictures and network.

Where several images were fitted, pictures and network are in ``images/NAME/``, for each image, and there is
``images.csv`` beside ``curve.csv``, with one row an evaluation and image (:data:`IMAGE_COLUMNS`). ``rate.csv`` is there
for all of them together, and in ``images/NAME/`` for each.

Every file is replaced in one step, so a run killed at any moment leaves the old file or the new one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import psutil
import yaml

from partinr.base import lock as lease
from partinr.base.errors import FULL, PartinrError
from partinr.base.files import overwrite, write_atomically, write_new
from partinr.runs.regime import RegimeFacts

FORMAT = 1
"""Version of the layout of ``run.json``; a reader refuses a newer one."""

Status = Literal["queued", "running", "completed", "failed", "interrupted"]
"""``queued``: the config is frozen, and the run waits for its turn."""

Learned = Literal["signals", "initialisation", "steps"]
"""What a run learns: the signals themselves, or an initialisation from which others are fitted.

Or how many ``steps`` signals take, to a fixed error; their networks are not kept.
"""

CURVE_COLUMNS = ("step", "seconds", "macs", "loss", "psnr", "ssim", "lr")
"""Columns of ``curve.csv``.

``step`` optimiser steps done; ``seconds`` of training alone, evaluation not counted, device synchronised; ``macs``
multiply-accumulates of all forward passes so far; ``loss`` of the last training step (at step 0: of the untrained
network on the whole image; frozen regions no longer count in it); ``psnr`` in dB and ``ssim`` over data range 1, values
clamped to [0, 1], on the whole image; ``lr`` of the next step. Where several images are fitted, ``loss``, ``psnr`` and
``ssim`` are means over the images, in which no image counts with more than 100 dB. A regime may add columns of its own
behind these.
"""

IMAGE_COLUMNS = ("step", "seconds", "image", "psnr", "ssim")
"""Columns of ``images.csv``: those of ``curve.csv`` for one image, whose name is ``image``."""

STEPS_COLUMNS = ("signal", "boundaries", "cells", "draw", "seed", "parts", "steps", "censored", "mse")
"""Columns of ``steps.csv``, a row a trial: a random step function or an image, and networks that are fitted to it.

``signal`` its name; ``boundaries`` and ``cells`` of the function, see :class:`partinr.signals.StepSignal`, or of the
image the length of its edges, see :class:`partinr.signals.EdgedImage`, and no ``cells``; ``draw`` the number of the
function among those with as many; ``seed`` the number of the trial among those of the signal (the seed of the run is in
``run.json``);
``parts`` that it is cut into, each with a network of its own; ``steps`` until its error was seen below the threshold,
or, where ``censored`` is 1, how many it was seen not to do it in; ``mse`` the mean squared error then.
"""

RATE_COLUMNS = (
    "step",
    "coder",
    "setting",
    "bits",
    "bpp",
    "psnr",
    "weight_bits",
    "scale_bits",
    "label_bits",
    "file_bytes",
    "deflated_bytes",
)
"""Columns of ``rate.csv``, a row a coder and setting: the attributes of :class:`partinr.metrics.rate.Rate`.

``step`` is that of the weights which were measured: those of a run that was resumed since then are others. Of several
images together, bits and bytes are sums, ``bpp`` and ``psnr`` means over the images, in which no image counts with more
than 100 dB.
"""

CLOCK_COLUMNS = ("seconds",)
"""The columns of ``curve.csv`` that differ between two runs of the same command."""

WRITER = ("host", "pid", "started", "job")
"""Keys of ``run.json`` that say who writes it."""

CONFIG = ".hydra/config.yaml"
OVERRIDES = ".hydra/overrides.yaml"
MEETING = ".hydra/meeting.json"  # while several nodes are at it
MANIFEST = "run.json"
CURVE = "curve.csv"
IMAGE_CURVE = "images.csv"
STEPS = "steps.csv"
IMAGES = "images"
IMAGE = "image.png"
PARTITION = "partition.png"
RECONSTRUCTION = "reconstruction.png"
ERROR = "error.png"
WEIGHTS = "inr.safetensors"
START = "initialisation.safetensors"
ADAPTATION = "adaptation.png"
RATE = "rate.csv"
CHECKPOINT = "checkpoints/last.ckpt"
WANDB_ID = "wandb.id"
PREVIOUS = "checkpoints/previous.ckpt"
LOCK = ".lock"
LOG = "output.log"
JOB = ".job"


_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML's own is ten times slower, which counts where hundreds of runs are read; some builds have no other."""


def of_image(name: str | None, file: str) -> str:
    """Where a file of one of several images is, in a run directory; of a run for one signal ``name`` is None."""
    return f"{IMAGES}/{name}/{file}" if name else file


def config_hash(config: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits of SHA-256 over the resolved config, whatever the order of its keys."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def learned_by(config: Mapping[str, Any]) -> Learned:
    """What the run of a config learns: the regimes are known by their keys."""
    regime = config.get("regime")
    keys = regime if isinstance(regime, Mapping) else {}
    return "initialisation" if "inner_steps" in keys else "steps" if "threshold" in keys else "signals"


def crossing(x: Sequence[float], psnr: Sequence[float], level: float) -> float | None:
    """Where a curve first reaches ``level`` dB, in units of ``x``; None if it does not.

    Linear between the two evaluations around the crossing. Evaluations that are no number are left out; where the PSNR
    jumps to infinity the crossing is at that evaluation.
    """
    before: tuple[float, float] | None = None
    for here, value in zip(x, psnr, strict=True):
        if math.isnan(value):
            continue
        if value >= level:
            if before is None or not math.isfinite(value) or not math.isfinite(before[1]):
                return float(here)
            return float(before[0] + (level - before[1]) / (value - before[1]) * (here - before[0]))
        before = here, value
    return None


class BusyError(PartinrError):
    """Another process writes the run.

    Attributes:
        seconds: after which the claim of a machine that is gone ends by itself; None where the process is alive.
    """

    def __init__(self, path: Path, taken: lease.TakenError) -> None:
        host, here = taken.owner.get("host"), platform.node()
        by = f" by process {taken.owner['pid']}" if taken.owner else ""
        on = f" on {host}" if host not in (None, here) else ""
        if taken.seconds is None:
            super().__init__(f"{path} is still running{by and f' ({by.strip()}{on})'}; wait for it, or stop it first")
        else:
            super().__init__(
                f"{path} is still running on {host}, or was killed there; try again in {taken.seconds:.0f} s, "
                f"or if you know that it was: partinr resume --force {path}"
            )
        self.seconds = taken.seconds


@dataclass(frozen=True)
class RunDirectory:
    """A run directory at ``path``. Make one with :meth:`create`, read one with :meth:`open`."""

    path: Path

    # -- making and finding -------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | Path,
        config: Mapping[str, Any],
        overrides: Sequence[str] = (),
        queued: Mapping[str, Any] | None = None,
        *,
        regime: Mapping[str, Any] | None = None,
    ) -> RunDirectory:
        """Make the directory and freeze the config in it.

        Args:
            path: where; made with its parents, may exist if it holds no run.
            config: the resolved config, plain containers.
            overrides: what was given on the command line.
            queued: of a run that somebody will carry out later: what ``run.json`` says of it until then. None for one
                that is running now.
            regime: what ``run.json`` says of the run's regime; None where nothing is known of it.

        Raises:
            PartinrError: there is a run already (nothing of it is touched), or the place cannot be written.
        """
        run = cls(Path(path))
        run.check_free()
        claimed = False
        run.make()
        try:
            # The claim: of two runs that start together only one can make this file.
            status = {"status": "running"} if queued is None else {**queued, "status": "queued"}
            known = {"config_hash": config_hash(config), **({} if regime is None else {"regime": dict(regime)})}
            write_new(run.file(MANIFEST), _manifest({**known, **status}))
            claimed = True
            run.write(CONFIG, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True).encode())
            run.write(OVERRIDES, yaml.safe_dump(list(overrides), allow_unicode=True).encode())
        except OSError as error:
            if claimed:
                # Without its config it would be a run that nobody can resume.
                run.file(MANIFEST).unlink(missing_ok=True)
            else:
                run.check_free()
            raise run._not_written(error) from error
        return run

    def make(self) -> None:
        """Make the folder, if it is not there.

        Raises:
            PartinrError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._not_written(error) from error

    def _not_written(self, error: OSError) -> PartinrError:
        return PartinrError(
            f"cannot write the run directory {self.path}: {error.strerror}; choose another with hydra.run.dir=PATH"
        )

    def check_free(self) -> None:
        """Refuse a directory that holds a run.

        Raises:
            PartinrError: it does.
        """
        if os.path.lexists(self.file(MANIFEST)):
            raise PartinrError(
                f"{self.path} already holds a run; give another hydra.run.dir, delete it, "
                f"or continue it with: partinr resume {self.path}"
            )

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """The run directory at ``path``, which must hold a ``run.json``.

        Raises:
            PartinrError: there is none, or it cannot be read.
        """
        run = cls(Path(path))
        try:
            if not run.path.exists():
                raise PartinrError(f"{path} does not exist; give a run directory (a folder with a {MANIFEST})")
            if not run.file(MANIFEST).is_file():
                raise PartinrError(f"{path} is not a run directory: it has no {MANIFEST}")
        except OSError as error:  # a folder that is somebody else's, a name that is too long
            raise PartinrError(f"cannot read {path}: {error.strerror}; ask its owner, or give another") from error
        return run

    # -- files --------------------------------------------------------------------------------------------------

    def file(self, name: str) -> Path:
        """Path of one of the files named in this module."""
        return self.path / name

    def write(self, name: str, data: bytes) -> Path:
        """Write one file atomically and return its path."""
        path = self.file(name)
        write_atomically(path, data)
        return path

    def sweep(self) -> None:
        """Remove the unfinished files of a writer that was killed. Nobody may be writing."""
        for path in self.path.rglob(".*.tmp"):
            path.unlink(missing_ok=True)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write ``run.json``, with this process as its writer.

        Numbers that JSON has no word for (infinity, NaN) become null. On a full disk the file is overwritten where it
        lies, so that a run can still say that it failed, and why.
        """
        content = _manifest(manifest)
        try:
            self.write(MANIFEST, content)
        except OSError as error:
            if error.errno not in FULL:
                raise
            overwrite(self.file(MANIFEST), content)

    def manifest(self) -> dict[str, Any]:
        """Read ``run.json``.

        Raises:
            PartinrError: it is missing, damaged, or of a newer format.
        """
        path = self.file(MANIFEST)
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PartinrError(f"cannot read {path}: {error}") from error
        if not isinstance(manifest, dict) or "status" not in manifest:
            raise PartinrError(f"{path} is not a partinr manifest")
        layout = manifest.get("format", 0)
        if not isinstance(layout, int):
            raise PartinrError(f"{path} is damaged: its format is {layout!r}; a whole number was expected")
        if layout > FORMAT:
            raise PartinrError(f"{path} was written by a newer partinr; update partinr to read it")
        return manifest

    @property
    def alive(self) -> bool:
        """Whether the process that writes this run is still there, as far as can be told from here.

        Of another host's process, where it left no lock, nothing is known: it counts as alive while ``run.json`` says
        ``running``.
        """
        manifest = self.manifest()
        if manifest["status"] != "running":
            return False
        if self.file(LOCK).exists():
            return lease.is_held(self.file(LOCK))
        if manifest.get("host") != platform.node():
            return True
        try:
            process = psutil.Process(int(manifest["pid"]))
            started = datetime.fromisoformat(manifest["started"]).timestamp()
            # A process that began after the run only has the number of the one that wrote it, which is dead. Numbers
            # come again soon in a container, where every program may be the first. Two seconds: clocks are rounded.
            return bool(process.create_time() < started + 2 and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.AccessDenied:
            return True
        except (psutil.NoSuchProcess, KeyError, TypeError, ValueError, OverflowError):
            return False

    @contextmanager
    def claimed(self, force: bool = False) -> Iterator[None]:
        """Be the one process that writes this run, inside.

        Args:
            force: also where a process of another host, of which nothing is known here, was writing a minute ago.

        Raises:
            PartinrError: another process is, or the directory cannot be written.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(lease.claim(self.file(LOCK), force))
            except lease.TakenError as taken:
                raise BusyError(self.path, taken) from taken
            except OSError as error:
                raise PartinrError(
                    f"cannot write in {self.path}: {error.strerror}; its owner can, or go on in a directory of your "
                    f"own: partinr … ckpt_path={self.file(CHECKPOINT)}"
                ) from error
            yield

    def write_curve(self, rows: Iterable[Mapping[str, float]]) -> None:
        """Write ``curve.csv``; numbers keep every digit, so equal curves are equal files.

        Columns that rows have beside :data:`CURVE_COLUMNS` follow behind them, NaN where a row lacks one.
        """
        rows = list(rows)
        further = dict.fromkeys(name for row in rows for name in row if name not in CURVE_COLUMNS)
        lines = [[row[name] for name in CURVE_COLUMNS] + [row.get(name, math.nan) for name in further] for row in rows]
        self.write(CURVE, _csv([*CURVE_COLUMNS, *further], lines))

    def write_table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write a CSV file of a regime, such as ``images.csv``; all rows have the columns of the first."""
        self.write(name, _csv(list(rows[0]), [list(row.values()) for row in rows]))

    def steps(self) -> list[dict[str, Any]]:
        """Read ``steps.csv``: a row a dictionary, ``cells`` None for an image.

        Raises:
            PartinrError: it is missing or damaged.
        """
        return self._rows(STEPS, _steps_row)

    def write_rate(self, rows: Iterable[Mapping[str, Any]], image: str | None = None) -> None:
        """Write ``rate.csv``, see :data:`RATE_COLUMNS`; of one of several images where ``image`` is its name."""
        self.write(of_image(image, RATE), _csv(RATE_COLUMNS, [[row[name] for name in RATE_COLUMNS] for row in rows]))

    def rate(self, image: str | None = None) -> list[dict[str, Any]]:
        """Read ``rate.csv``: a row a dictionary, see :data:`RATE_COLUMNS`. Empty where there is none.

        Args:
            image: of a run that fitted several, the name of one; None for all together.

        Raises:
            PartinrError: the file is damaged.
        """
        kinds: dict[str, Callable[[str], Any]] = {"coder": str, "setting": str, "bpp": float, "psnr": float}
        file = of_image(image, RATE)
        if not self.file(file).is_file():
            return []
        return self._rows(file, lambda row: {name: kinds.get(name, int)(row[name]) for name in RATE_COLUMNS})

    def curve(self) -> list[dict[str, float]]:
        """Read ``curve.csv``: a row a dictionary, ``step`` and ``macs`` whole numbers. Empty before the first row.

        Raises:
            PartinrError: the file is damaged.
        """
        if not self.file(CURVE).is_file():
            return []
        whole = ("step", "macs")
        return self._rows(
            CURVE, lambda row: {name: int(value) if name in whole else float(value) for name, value in row.items()}
        )

    def image_curve(self) -> list[dict[str, Any]]:
        """Read ``images.csv``: a row a dictionary, see :data:`IMAGE_COLUMNS`. Empty where there is none.

        Raises:
            PartinrError: the file is damaged.
        """
        kinds: dict[str, Callable[[str], Any]] = {"image": str, "step": int}
        if not self.file(IMAGE_CURVE).is_file():
            return []
        return self._rows(IMAGE_CURVE, lambda row: {name: kinds.get(name, float)(value) for name, value in row.items()})

    def _rows(self, name: str, read: Callable[[dict[str, str]], dict[str, Any]]) -> list[dict[str, Any]]:
        """What a CSV file holds, row by row.

        Raises:
            PartinrError: it is missing or damaged.
        """
        path = self.file(name)
        try:
            with path.open(newline="", encoding="utf-8") as file:
                return [read(row) for row in csv.DictReader(file)]
        except (OSError, KeyError, ValueError, TypeError, csv.Error) as error:
            raise PartinrError(f"cannot read {path}: {error}") from error

    def images(self) -> list[str]:
        """Names of the images of a run that fitted several; empty for one signal.

        Raises:
            PartinrError: ``run.json`` cannot be read.
        """
        images = self.manifest().get("images")
        return list(images) if isinstance(images, dict) else []

    def config(self) -> dict[str, Any]:
        """Read the composed config as plain containers.

        Raises:
            PartinrError: it is missing or damaged.
        """
        return dict(self._yaml(CONFIG, dict))

    @property
    def learns(self) -> Learned:
        """What the run learns, see :func:`learned_by`; the signals where its config cannot be read."""
        try:
            return learned_by(self.config())
        except PartinrError:
            return "signals"

    @property
    def regime(self) -> RegimeFacts:
        """What the regime of the run says of itself; defaults where a file cannot be read."""
        found: list[dict[str, Any]] = []
        for read in (self.manifest, self.config):
            try:
                found.append(read())
            except PartinrError:
                found.append({})
        return RegimeFacts.of(*found)

    def overrides(self) -> list[str]:
        """What was given on the command line of the run; empty if unknown."""
        return list(self._yaml(OVERRIDES, list)) if self.file(OVERRIDES).is_file() else []

    def _yaml(self, name: str, kind: type) -> Any:
        path = self.file(name)
        try:
            content = yaml.load(path.read_text(encoding="utf-8"), _YAML)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise PartinrError(f"cannot read {path}: {' '.join(str(error).split())}") from error
        if not isinstance(content, kind):
            raise PartinrError(f"{path} is damaged: a {kind.__name__} was expected")
        return content


def find_runs(*paths: str | Path) -> list[RunDirectory]:
    """All run directories at or below ``paths``, in the order of their paths, each once.

    Args:
        paths: run directories, sweep directories, or folders of them. What is below a hidden folder is not looked at.

    Raises:
        PartinrError: a path does not exist, or no run is found at all.
    """
    found: dict[Path, RunDirectory] = {}
    for given in paths:
        root = Path(given)
        if not root.exists():
            raise PartinrError(f"{given} does not exist; give a run directory or a folder of runs")
        for manifest in sorted(root.rglob(MANIFEST), key=_natural):
            if any(part.startswith(".") for part in manifest.relative_to(root).parts):
                continue  # such as those that were replaced
            found.setdefault(manifest.parent.resolve(), RunDirectory(manifest.parent))
    if not found:
        listed = ", ".join(str(path) for path in paths)
        raise PartinrError(f"no run found in {listed}; a run directory is a folder with a {MANIFEST}")
    return list(found.values())


def _natural(path: Path) -> list[tuple[int, int, str]]:
    """A key by which a folder 2_x comes before 10_x."""
    parts = re.split(r"([0-9]+)", str(path))
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]


def _manifest(manifest: Mapping[str, Any]) -> bytes:
    """The content of ``run.json``."""
    whole = {"format": FORMAT, **_process(), **_finite(manifest)}
    return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def _process() -> dict[str, Any]:
    """Who writes a run."""
    who = {"host": platform.node(), "pid": os.getpid(), "started": datetime.now(UTC).isoformat(timespec="seconds")}
    job = slurm_job()
    return who if job is None else {**who, "job": job}


def in_job() -> bool:
    """Whether this process is part of a job that submitit has started."""
    return "SUBMITIT_EXECUTOR" in os.environ


def slurm_job() -> str | None:
    """The job of Slurm that this process is part of, as ``12`` or, in an array, ``12_3``; None outside of one."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")


def _csv(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_digits(value) for value in line] for line in lines)
    return text.getvalue().encode()


def _digits(value: float | str | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, (int, str)) else repr(float(value))


def _steps_row(row: Mapping[str, str]) -> dict[str, Any]:
    """A row of ``steps.csv``."""
    found: dict[str, Any] = {name: int(row[name]) for name in ("draw", "seed", "parts", "steps", "censored")}
    found |= {name: float(row[name]) for name in ("boundaries", "mse")}
    # Before there were images, step functions had no names there.
    return {**found, "signal": row.get("signal", ""), "cells": int(row["cells"]) if row["cells"] else None}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
