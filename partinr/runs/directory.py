"""The run directory: made, found, claimed, written and read back. Its files are in :mod:`partinr.runs.layout`."""

from __future__ import annotations

import json
import math
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

from partinr.base import lock as lease
from partinr.base.errors import FULL, PartinrError
from partinr.base.files import overwrite, write_new
from partinr.runs.layout import CHECKPOINT, CONFIG, FORMAT, LOCK, MANIFEST, OVERRIDES, config_hash
from partinr.runs.regime_facts import RegimeFacts
from partinr.runs.tables import Tables

_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML's own is ten times slower, which counts where hundreds of runs are read; some builds have no other."""


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
class RunDirectory(Tables):
    """A run directory at ``path``. Make one with :meth:`create`, read one with :meth:`open`."""

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


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
