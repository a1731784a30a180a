"""The command line in this process (torch takes seconds to import), and images and runs to use it on."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tifffile
from PIL import Image

from partinr.cli import main

TINY = ("data.size=16", "partition.regions=4", "backbone.match_params=500", "max_steps=3")
"""A run of a few milliseconds."""


class Answer(NamedTuple):
    """What a command gave."""

    code: int
    out: str
    err: str


Partinr = Callable[..., Answer]
Start = Callable[..., ForkServerProcess]


def call(*arguments: str | Path) -> Answer:
    """Run ``partinr`` in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else -1
    return Answer(code, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line sets for its own process is taken back; the terminal of the tests is nobody's."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def partinr() -> Partinr:
    """``partinr("render", run, "-o", "x.png")``: code, out and err of the command."""
    return call


@pytest.fixture(scope="session")
def tiny() -> Partinr:
    """The same with the overrides of a tiny run before the others: ``tiny("seed=1")``."""
    return lambda *arguments: call(*TINY, *arguments)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with a completed run, for reading only."""
    run = tmp_path_factory.mktemp("finished") / "run"
    answer = call(*TINY, f"hydra.run.dir={run}")
    assert answer.code == 0, answer.err
    return run


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a run directory, to do what one likes with."""

    def copy(run: Path) -> Path:
        return Path(shutil.copytree(run, tmp_path / f"copy-of-{run.name}"))

    return copy


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of image files, good and bad."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (24, 20, 3), dtype=np.uint8)).save(folder / "good.png")
    Image.fromarray(rng.integers(0, 255, (24, 20, 4), dtype=np.uint8)).save(folder / "alpha.png")
    (folder / "truncated.png").write_bytes((folder / "good.png").read_bytes()[:300])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("hello, I am no picture")
    values = rng.random((8, 8), dtype=np.float32)
    tifffile.imwrite(folder / "bright.tif", 5 * values)
    values[3, 4] = np.nan
    tifffile.imwrite(folder / "nan.tif", values, byteorder="<")
    # What a camera never writes: a TIFF of 8 × 8 whose header says 0 × 0.
    flat = bytearray((folder / "nan.tif").read_bytes())
    for tag in (256, 257):
        at = flat.index(tag.to_bytes(2, "little") + b"\x04\x00\x01\x00\x00\x00")
        flat[at + 8 : at + 10] = b"\x00\x00"
    (folder / "flat.tif").write_bytes(flat)
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts ``partinr`` as a process of its own, forked from one that has imported everything but used nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["partinr.cli.app", "partinr.experiment.execute"])
    started: list[ForkServerProcess] = []

    def begin(*arguments: str | Path, terminal: str | None = None) -> ForkServerProcess:
        process = context.Process(target=_main, args=([str(argument) for argument in arguments], terminal))
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()


def _main(arguments: list[str], terminal: str | None) -> None:
    """``partinr``; in a terminal of its own, if there is one."""
    if terminal is not None:
        os.setsid()
        for descriptor in (0, 1, 2):  # the first that is opened becomes the session's
            os.dup2(os.open(terminal, os.O_RDWR), descriptor)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    main(arguments)


def wait_until(condition: Callable[[], bool], process: ForkServerProcess, seconds: float = 120) -> None:
    """Wait for a process to get somewhere.

    Raises:
        AssertionError: it ended before, or took too long.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert process.is_alive(), f"the process ended with {process.exitcode}"
        assert time.monotonic() < end, "the process takes too long"
        time.sleep(0.002)


@pytest.fixture(scope="session")
def until() -> Callable[..., None]:
    """:func:`wait_until`."""
    return wait_until


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder, by its path, and every folder as nothing."""

    def read(folder: Path) -> dict[str, bytes]:
        found = {}
        for path in sorted(folder.rglob("*")):
            found[str(path.relative_to(folder)) + os.sep * path.is_dir()] = b"" if path.is_dir() else path.read_bytes()
        return found

    return read
