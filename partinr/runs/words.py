"""Finds runs by words instead of paths: ``last``, ``last:2``, the start of a name or of a hash."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from partinr.base.errors import PartinrError
from partinr.base.terminal import short
from partinr.base.text import visible
from partinr.runs.directory import RunDirectory, folders_of_runs
from partinr.runs.layout import MANIFEST

OUTPUTS = Path("outputs")
"""Where runs go by default, see ``output_dir``."""

VARIABLE = "PARTINR_OUTPUTS"
"""Environment variable for other folders of runs, separated by colons."""

DEPTH = 3
"""How deep the current folder is searched, since it may be anything. Below :data:`OUTPUTS`, every folder is."""

MOST = 4
"""Limit of candidates in a message."""

_MOST_LETTERS = 255
"""A longer word is no name in any file system."""


def run_at(word: Path, folders: bool = False) -> Path:
    """The path that a word stands for.

    Args:
        word: a path, which wins if it exists; else ``last``, ``last:2`` (the run before), or the start of a run's name,
            of a part of it, or of the hash of its configuration. Runs below :func:`folders_of_outputs` and the current
            folder are known.
        folders: whether the word may also be the start of the name of a folder of runs, such as a sweep.

    Raises:
        PartinrError: no run fits the word, or several do.
    """
    text = str(word)
    if len(word.parts) != 1 or len(text) > _MOST_LETTERS or os.path.lexists(word):
        return word
    runs = known_runs()
    if number := re.fullmatch(r"last(?::([1-9][0-9]*))?", text):
        return _nth(runs, text, int(number[1] or 1))
    found = sorted(next(filter(None, _matches(text, runs, folders)), []))
    if len(found) == 1:
        return found[0]
    if found:
        raise PartinrError(f"{visible(text)} is the start of {len(found)} names: {_listed(found)}; give more of one")
    if not runs:
        raise PartinrError(f"{visible(text)} does not exist; give a run directory; there is none {_searched()}")
    called = {_name(run.path): run.path for run in runs}
    near = [called[name] for name in difflib.get_close_matches(text, called, n=MOST)]
    raise PartinrError(
        f"{visible(text)} does not exist; give a run directory, last, or the start of a run's name or hash: "
        f"{_listed(near or _begun(runs) or list(called.values()))}"
    )


def folders_of_outputs() -> list[Path]:
    """Where runs are: the folders that :data:`VARIABLE` names, else :data:`OUTPUTS`."""
    named = os.environ.get(VARIABLE, "").split(os.pathsep)
    return [Path(each).expanduser() for each in named if each] or [OUTPUTS]


def known_runs() -> list[RunDirectory]:
    """The runs that a word can stand for, each once."""
    found: dict[Path, RunDirectory] = {}
    for root, depth in (*((each, math.inf) for each in folders_of_outputs()), (Path(), DEPTH)):
        for folder in folders_of_runs(root, depth):
            found.setdefault(folder.resolve(), RunDirectory(folder))
    return list(found.values())


def _matches(text: str, runs: Sequence[RunDirectory], folders: bool) -> Iterator[list[Path]]:
    """The paths that fit a word, from the strictest sense to the widest."""
    paths = [run.path for run in runs]
    above = dict.fromkeys(path.parent for path in paths if path.parent.name) if folders else {}
    names = {path: _name(path) for path in (*paths, *above)}
    yield [path for path, name in names.items() if name == text]
    hashed = re.fullmatch("[0-9a-f]{3,16}", text) is not None
    of_hash = {run.path for run in runs if hashed and _hash(run).startswith(text)}
    yield [path for path, name in names.items() if name.startswith(text) or path in of_hash]
    # The parts of a name are settings, a date, and a hash at the end.
    yield [path for path, name in names.items() if f"_{text}" in name]


def _hash(run: RunDirectory) -> str:
    with suppress(PartinrError):
        return str(run.manifest().get("config_hash", ""))
    return ""


def _name(path: Path) -> str:
    return path.name or path.resolve().name


def _nth(runs: Sequence[RunDirectory], text: str, number: int) -> Path:
    """The run that began as the last one, or the one before."""
    begun = _begun(runs)
    if number <= len(begun):
        return begun[number - 1]
    there = f"{len(begun)} run{'s have' if len(begun) != 1 else ' has'} begun" if begun else "no run has begun"
    raise PartinrError(f"{text} does not exist; give a run directory; {there} {_searched()}")


def _searched() -> str:
    return f"below {' or '.join(map(short, folders_of_outputs()))} or here"


def _begun(runs: Sequence[RunDirectory]) -> list[Path]:
    """Runs that have begun, the last one first."""
    found = []
    for run in runs:
        with suppress(PartinrError, OSError):
            manifest = run.manifest()
            if manifest["status"] != "queued":
                # Runs of one second follow each other by their last sign.
                sign = run.file(MANIFEST).stat().st_mtime_ns
                found.append((str(manifest.get("started", "")), sign, run.path))
    return [path for *_, path in sorted(found, reverse=True)]


def _listed(paths: Sequence[Path]) -> str:
    """Candidates by name, or by path where names repeat."""
    names = [_name(path) for path in paths]
    said = [visible(name) if names.count(name) == 1 else short(path) for name, path in zip(names, paths, strict=True)]
    left = len(said) - MOST
    return ", ".join(said[:MOST]) + (f", and {left} other{'s' * (left > 1)}" if left > 0 else "")
