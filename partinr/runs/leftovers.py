"""Finds and removes what superseded, failed and killed runs have left."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from partinr.base.errors import PartinrError
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import LOCK, MANIFEST, OWN, SUPERSEDED
from partinr.runs.standing import standing
from partinr.runs.subject import native_of

KINDS = ("superseded", "failed", "orphaned")
"""``superseded``: a run that another one has replaced. ``failed``: a run that ended with an error. ``orphaned``: a
temporary file, lock or empty run directory of a process that is gone."""

PATIENCE_SECONDS = 3600.0
"""Age from which a temporary file, a lock or an empty folder counts as orphaned: no living process needs it longer."""

_TEMPORARY = re.compile(r"\..*\.tmp")
_RUN_NAME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[0-9a-f]{6}(_.*)?")


@dataclass(frozen=True)
class Leftover:
    """A file or folder that nothing needs any more.

    Attributes:
        path: its path.
        kind: one of :data:`KINDS`.
        size: bytes of its files.
        kept: why it is not removed all the same; None if it is.
    """

    path: Path
    kind: str
    size: int
    kept: str | None = None


def leftovers(root: Path) -> Iterator[Leftover]:
    """What can be removed at or below a folder. Links are not followed.

    Running and completed runs are not entered, and neither are hidden folders but those of partinr.
    """
    now = time.time()
    for place, folders, files in os.walk(root):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith(".") or name in (SUPERSEDED, ".hydra"))
        if MANIFEST in files:
            kind = _kind(RunDirectory(here), now)
            if kind is not None:
                yield Leftover(here, kind, _size(here), _kept(RunDirectory(here)))
            if kind is not None or not _is_dead(RunDirectory(here), now):
                folders.clear()
                continue
        elif not files and not folders and _RUN_NAME.fullmatch(here.name) and _is_old(here, now):
            yield Leftover(here, "orphaned", 0)
        for name in sorted(files):
            lost = _TEMPORARY.fullmatch(name) or (name == LOCK and MANIFEST not in files)
            if lost and _is_old(here / name, now):
                yield Leftover(here / name, "orphaned", _size(here / name))


def remove(left: Leftover) -> None:
    """Remove a leftover.

    Raises:
        PartinrError: the run is being written, or has been continued meanwhile.
        OSError: a file cannot be removed.
    """
    if not left.path.is_dir():
        left.path.unlink(missing_ok=True)
    elif not left.path.joinpath(MANIFEST).exists():
        left.path.rmdir()
    else:
        run = RunDirectory(left.path)
        with run.claimed():
            if _kind(run, time.time()) != left.kind:
                raise PartinrError(f"{run.path} has been continued meanwhile; it is kept")
            # run.json goes last, so that a run which is removed by half is found again.
            for entry in sorted(run.path.iterdir(), key=lambda entry: entry.name == MANIFEST):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
            run.path.rmdir()
        with suppress(OSError):  # others are left in it
            if run.path.parent.name == SUPERSEDED:
                run.path.parent.rmdir()


def _kind(run: RunDirectory, now: float) -> str | None:
    """The kind of a run that can be removed; None for another one."""
    state = standing(run, now).state
    if state == "running":
        return None
    if run.path.absolute().parent.name == SUPERSEDED:
        return "superseded"
    return "failed" if state == "failed" else None


def _is_dead(run: RunDirectory, now: float) -> bool:
    """Whether a run has no process and may have lost one while it wrote."""
    return standing(run, now).state in ("died", "interrupted")


def _kept(run: RunDirectory) -> str | None:
    """Why a run is kept: its folder has something that no run writes, or is in use."""
    if Path.cwd().is_relative_to(run.path.resolve()):
        return "the current folder is in it"
    own = {
        *OWN,
        *(file.partition("/")[0] for file in (*run.regime.files.values(), *native_of(run.manifest()).values())),
    }
    foreign = sorted(name for name in os.listdir(run.path) if name not in own and not _TEMPORARY.fullmatch(name))
    return f"{foreign[0]} is no file of a run" if foreign else None


def _is_old(path: Path, now: float) -> bool:
    try:
        return now - path.lstat().st_mtime > PATIENCE_SECONDS
    except OSError:
        return False


def _size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    size = 0
    files = [Path(place) / name for place, _, names in os.walk(path) for name in names] if path.is_dir() else [path]
    for file in files:
        with suppress(OSError):
            size += file.lstat().st_size
    return size
