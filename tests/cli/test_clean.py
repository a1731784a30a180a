"""What killed, failed and superseded runs leave, and what must stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from partinr.runs.directory import RunDirectory
from partinr.runs.leftovers import leftovers


def make(path: str, status: str, **entries: Any) -> RunDirectory:
    run = RunDirectory.create(Path("outputs", path), {"max_steps": 3})
    run.write("curve.csv", b"x" * 1000)
    run.write_manifest({**run.manifest(), "status": status, **entries})
    return run


def old(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (time.time() - 7200,) * 2)
    return path


@pytest.fixture(autouse=True)
def _runs() -> None:
    """A run in each state, and what others have left."""
    for status in ("completed", "interrupted", "queued"):
        make(f"runs/{status}", status)
    make("runs/running", "running")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    make("runs/died", "running", pid=dead.pid)
    make("runs/failed", "failed")
    make("sweeps/a/.superseded/x.1", "completed")
    make("sweeps/a/x", "completed")
    for name in ("runs/died/.1.tmp", "runs/running/.2.tmp", "runs/completed/.3.tmp", "sweeps/.4.tmp", "sweeps/.lock"):
        old(Path("outputs", name))
    Path("outputs/sweeps/.young.tmp").touch()
    for name in ("2026-01-31_12-00-00_a1b2c3", "2026-01-31_12-00-00_a1b2c4_seed-0", "of_a_user"):
        Path("outputs/runs", name).mkdir()
    for name in ("2026-01-31_12-00-00_a1b2c3", "of_a_user"):
        os.utime(Path("outputs/runs", name), (time.time() - 7200,) * 2)


REMOVED = {
    "runs/failed": "failed",
    "sweeps/a/.superseded/x.1": "superseded",
    "runs/died/.1.tmp": "orphaned",
    "sweeps/.4.tmp": "orphaned",
    "sweeps/.lock": "orphaned",
    "runs/2026-01-31_12-00-00_a1b2c3": "orphaned",
}


def test_a_list_first(partinr: Any, contents: Any) -> None:
    before = contents(Path())
    answer = partinr("clean")
    assert (answer.code, answer.err) == (0, "")
    *lines, _, last = answer.out.splitlines()
    kinds = {line.split()[-1].removeprefix("outputs/"): line.split()[0] for line in lines}
    assert kinds == REMOVED
    assert all(" kB " in line for line in lines if line.split()[0] in ("failed", "superseded"))
    assert last.startswith("6 items, ")
    assert contents(Path()) == before
    # What it tells to type works.
    command = last.partition("To remove: partinr ")[2].split()
    answer = partinr(*command)
    assert answer.code == 0
    assert answer.out.endswith(" removed\n")
    gone = {path for path in before if path not in contents(Path())}
    assert {path.rstrip("/").removeprefix("outputs/") for path in gone} >= REMOVED.keys()
    for path in gone:
        kept = path.removeprefix("outputs/").rstrip("/")
        assert any(kept == left or kept.startswith(f"{left}/") for left in [*REMOVED, "sweeps/a/.superseded"]), path
    assert not Path("outputs/sweeps/a/.superseded").exists()
    assert partinr(*command).out == "nothing to remove\n"


def test_some_kinds_and_places(partinr: Any) -> None:
    lines = partinr("clean", "a", "--only", "superseded").out.splitlines()
    assert len(lines) == 3
    assert lines[-1].endswith("To remove: partinr clean outputs/sweeps/a --only=superseded --force")
    answer = partinr("clean", "--only", "fialed")
    assert (answer.code, "choose from superseded, failed, orphaned" in answer.err) == (2, True)


def test_what_a_user_has_put_there_stays(partinr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("outputs/runs/failed/notes.txt").touch()
    make("runs/failed_too", "failed")
    monkeypatch.chdir("outputs/runs/failed_too")
    out = partinr("clean", "../..", "--only", "failed", "--force").out
    assert "failed: notes.txt is no file of a run\n" in out
    assert ": the current folder is in it\n" in out
    assert out.endswith("nothing to remove\n")
    assert Path("run.json").exists()


def test_a_run_that_has_been_continued_meanwhile_stays(partinr: Any) -> None:
    run = RunDirectory(Path("outputs/runs/failed"))
    with run.claimed():
        answer = partinr("clean", "--only", "failed", "--force")
    assert (answer.code, answer.err.count("\n")) == (1, 1)
    assert "is still running" in answer.err
    assert run.file("curve.csv").exists()


def test_links_are_not_followed() -> None:
    Path("elsewhere").mkdir()
    Path("elsewhere/link").symlink_to(Path("outputs").absolute())
    assert not list(leftovers(Path("elsewhere")))
