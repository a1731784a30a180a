"""Makes, finds, claims, writes and reads run directories. Their files are in :mod:`partinr.runs.layout`."""

from __future__ import annotations

import json
import math
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

from partinr.base import lock as lease
from partinr.base.errors import FULL, PartinrError
from partinr.base.files import overwrite, write_new
from partinr.base.text import decoded, for_shell, natural, utf8
from partinr.runs.layout import CHECKPOINT, CONFIG, FORMAT, LOCK, MANIFEST, OVERRIDES, config_hash
from partinr.runs.regime_facts import RegimeFacts
from partinr.runs.tables import Tables

_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The fast loader if PyYAML has it. The other is ten times slower, which matters for hundreds of runs."""


class BusyError(PartinrError):
    """The run is being written by another process.

    Attributes:
        seconds: seconds until the claim of an unreachable machine expires; None if the process is alive.
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
                f"or if you know that it was: partinr resume --force {for_shell(path)}"
            )
        self.seconds = taken.seconds


@dataclass(frozen=True)
class RunDirectory(Tables):
    """A run directory at ``path``. Make one with :meth:`create`, read one with :meth:`open`."""

    # -- create and find ----------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | Path,
        config: Mapping[str, Any],
        overrides: Sequence[str] = (),
        queued: Mapping[str, Any] | None = None,
        *,
        facts: Mapping[str, Any] | None = None,
    ) -> RunDirectory:
        """A new run directory with the config frozen in it.

        Args:
            path: the directory; made with its parents. It may exist if it holds no run.
            config: the resolved config, plain containers.
            overrides: overrides from the command line.
            queued: entries of ``run.json`` until a later process executes the run; None if the run starts now.
            facts: entries of ``run.json`` that the run keeps, such as those of its regime.

        Raises:
            PartinrError: the directory holds a run (which stays untouched), or cannot be written.
        """
        run = cls(Path(path))
        run.check_free()
        claimed = False
        run.make()
        try:
            # The claim: if two runs start together, only one can make this file.
            status = {"status": "running"} if queued is None else {**queued, "status": "queued"}
            known = {"config_hash": config_hash(config), **(facts or {})}
            write_new(run.file(MANIFEST), _manifest({**known, **status}))
            claimed = True
            run.write_config(config)
            run.write(OVERRIDES, yaml.safe_dump(list(overrides), allow_unicode=True).encode())
        except OSError as error:
            if claimed:
                # Without its config, the run could not be resumed.
                run.file(MANIFEST).unlink(missing_ok=True)
            else:
                run.check_free()
            raise run._not_written(error) from error
        return run

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the config."""
        self.write(CONFIG, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True).encode())

    def make(self) -> None:
        """Make the folder if it does not exist.

        Raises:
            PartinrError: the folder cannot be made.
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
            PartinrError: the directory holds a run.
        """
        if os.path.lexists(self.file(MANIFEST)):
            raise PartinrError(
                f"{self.path} already holds a run; give another hydra.run.dir, or delete it"
                + ("" if self._completed else f", or continue it with: partinr resume {for_shell(self.path)}")
            )

    @property
    def _completed(self) -> bool:
        """Whether ``run.json`` can be read and says so."""
        with suppress(PartinrError):
            return bool(self.manifest()["status"] == "completed")
        return False

    @classmethod
    def open(cls, path: str | Path) -> RunDirectory:
        """The run directory at ``path``, which must hold a ``run.json``.

        Raises:
            PartinrError: the directory has no ``run.json``, or cannot be read.
        """
        run = cls(Path(path))
        try:
            if not run.path.exists():
                raise PartinrError(f"{path} does not exist; give a run directory (a folder with a {MANIFEST})")
            if not run.file(MANIFEST).is_file():
                raise PartinrError(f"{path} is not a run directory: it has no {MANIFEST}")
        except OSError as error:  # no permission, or the name is too long
            raise PartinrError(f"cannot read {path}: {error.strerror}; ask its owner, or give another") from error
        return run

    # -- files --------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Remove the unfinished files of a killed writer. No process may be writing."""
        for path in self.path.rglob(".*.tmp"):
            path.unlink(missing_ok=True)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write ``run.json``, with this process as its writer.

        Numbers without a JSON form (infinity, NaN) become null. On a full disk the file is overwritten in place, so
        that a run can still record its failure.
        """
        content = _manifest(manifest)
        try:
            self.write(MANIFEST, content)
        except OSError as error:
            if error.errno not in FULL:
                raise
            overwrite(self.file(MANIFEST), content)

    def manifest(self) -> dict[str, Any]:
        """The content of ``run.json``.

        Raises:
            PartinrError: the file is missing, damaged, or of a newer format.
        """
        path = self.file(MANIFEST)
        try:
            manifest = json.loads(decoded(path.read_bytes()))
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
        """Whether the process that writes this run is alive, as far as is known here.

        Nothing is known about a process of another host without a lock. It counts as alive while ``run.json`` says
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
            # A process that began after the run only reuses the number of the writer, which is dead. In a container,
            # numbers repeat soon. The two seconds allow for rounded clocks.
            return bool(process.create_time() < started + 2 and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.AccessDenied:
            return True
        except (psutil.NoSuchProcess, KeyError, TypeError, ValueError, OverflowError):
            return False

    @contextmanager
    def claimed(self, force: bool = False) -> Iterator[None]:
        """Claim the run for this process within the context.

        Args:
            force: claim the run even if an unreachable process of another host wrote it a minute ago.

        Raises:
            PartinrError: another process has claimed the run, or the directory cannot be written.
        """
        with ExitStack() as stack:
            try:
                stack.enter_context(lease.claim(self.file(LOCK), force))
            except lease.TakenError as taken:
                raise BusyError(self.path, taken) from taken
            except OSError as error:
                raise PartinrError(
                    f"cannot write in {self.path}: {error.strerror}; its owner can, or continue in a directory of your "
                    f"own: partinr … ckpt_path={self.file(CHECKPOINT)}"
                ) from error
            yield

    def images(self) -> list[str]:
        """Names of the images of a run with several; empty for one signal.

        Raises:
            PartinrError: ``run.json`` cannot be read.
        """
        images = self.manifest().get("images")
        return list(images) if isinstance(images, dict) else []

    def config(self) -> dict[str, Any]:
        """The composed config as plain containers.

        Raises:
            PartinrError: the file is missing or damaged.
        """
        return dict(self._yaml(CONFIG, dict))

    @property
    def regime(self) -> RegimeFacts:
        """The facts of the run's regime; defaults if a file cannot be read."""
        found: list[dict[str, Any]] = []
        for read in (self.manifest, self.config):
            try:
                found.append(read())
            except PartinrError:
                found.append({})
        return RegimeFacts.of(*found)

    def check_allows(self, command: str) -> None:
        """Refuse a command that does not apply to runs of this regime, see :attr:`RegimeFacts.instead`.

        Raises:
            PartinrError: it does not apply.
        """
        if command in (regime := self.regime).instead:
            regime.check_allows(command, self.manifest(), self.config(), self.path)

    def overrides(self) -> list[str]:
        """Overrides from the command line of the run; empty if unknown."""
        return list(self._yaml(OVERRIDES, list)) if self.file(OVERRIDES).is_file() else []

    def _yaml(self, name: str, kind: type) -> Any:
        path = self.file(name)
        try:
            text = decoded(path.read_bytes())
            # LibYAML refuses the escape of a byte that is no text.
            content = yaml.load(text, yaml.SafeLoader if "\\uDC" in text else _YAML)
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise PartinrError(f"cannot read {path}: {' '.join(str(error).split())}") from error
        if not isinstance(content, kind):
            raise PartinrError(f"{path} is damaged: a {kind.__name__} was expected")
        return content


def find_runs(*paths: str | Path) -> list[RunDirectory]:
    """All run directories at or below ``paths``, in the order of their paths, each once; single runs by their time.

    Args:
        paths: run directories, sweep directories, or folders of them. Symbolic links are followed, hidden folders
            are skipped.

    Raises:
        PartinrError: a path does not exist, or no run is found at all.
    """
    found: dict[Path, RunDirectory] = {}
    for given in paths:
        root = Path(given)
        if not root.exists():
            raise PartinrError(f"{given} does not exist; give a run directory or a folder of runs")
        for folder in sorted(folders_of_runs(root), key=_in_order):
            found.setdefault(folder.resolve(), RunDirectory(folder))
    if not found:
        listed = ", ".join(str(path) for path in paths)
        raise PartinrError(f"no run found in {listed}; a run directory is a folder with a {MANIFEST}")
    return list(found.values())


def folders_of_runs(root: Path, depth: float = math.inf) -> Iterator[Path]:
    """Each folder at or below ``root`` that holds a run, once: under its own name where links lead there too.

    Args:
        root: a folder.
        depth: how many folders below it are searched.
    """
    seen: set[tuple[int, int]] = set()
    folders, links = [root], list[Path]()
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        try:
            about = folder.stat()
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda each: each.name):
                    if entry.name == MANIFEST:
                        yield folder
                    elif entry.name.startswith(".") or len(folder.parts) - len(root.parts) >= depth:
                        continue  # such as the folder of those that were replaced
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(folder / entry.name)
                    elif entry.is_symlink() and entry.is_dir():
                        links.append(folder / entry.name)
        except OSError:
            continue  # a folder of somebody else's, or that is gone by now


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{2}-[0-9]{2}-[0-9]{2}")
"""The time in the name of a single run."""


def _in_order(path: Path) -> list[list[tuple[float, str]]]:
    """A sort key that puts the folder 2_x before 10_x, and single runs of a folder in the order of their times."""
    *parents, name = map(natural, path.parts)
    return [*parents, [*((-1.0, time) for time in _TIME.findall(path.name)[-1:]), *name]]


def _manifest(manifest: Mapping[str, Any]) -> bytes:
    """The content of ``run.json``."""
    whole = {"format": FORMAT, **_process(), **_finite(manifest)}
    return utf8(json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)) + b"\n"


def _process() -> dict[str, Any]:
    """The process that writes a run, as entries of ``run.json``."""
    who = {"host": platform.node(), "pid": os.getpid(), "started": datetime.now(UTC).isoformat(timespec="seconds")}
    job = slurm_job()
    return who if job is None else {**who, "job": job}


def in_job() -> bool:
    """Whether this process is part of a job that submitit started."""
    return "SUBMITIT_EXECUTOR" in os.environ


def slurm_job() -> str | None:
    """The Slurm job of this process, as ``12`` or, in an array, ``12_3``; None outside a job."""
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
