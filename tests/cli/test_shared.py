"""A run beside a busy neighbour is marked wherever its seconds are shown, a quiet one is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from partinr.experiment.outcome import Outcome
from partinr.experiment.show import show_finished
from partinr.runs.directory import RunDirectory
from partinr.runs.sharing import sharing

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="Linux tells how long threads wait")

FIT = (
    *("experiment=demo", "data.size=64", "max_steps=null", "max_seconds=1", "trainer.threads=1", "optimizer.lr=1e-5"),
    *("regime.collapse_db=null", "callbacks.pictures=null"),
)


@contextmanager
def one_core() -> Iterator[int]:
    """This thread, and the processes that it starts, have only one core."""
    before = os.sched_getaffinity(0)
    core = min(before)
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, before)


@pytest.fixture(scope="module")
def busy(partinr: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of one thread that has to share its core, and what its command said."""
    path = tmp_path_factory.mktemp("shared") / "busy"
    with one_core(), subprocess.Popen([sys.executable, "-c", "while True: pass"]) as neighbour:
        try:
            answer = partinr(*FIT, f"hydra.run.dir={path}")
        finally:
            neighbour.kill()
    assert answer.code == 0, answer.err
    return path, answer.out


@pytest.fixture(scope="module")
def quiet(busy: tuple[Path, str]) -> Path:
    """The same run on a machine of its own: as it would say."""
    run = RunDirectory.create(busy[0].with_name("quiet"), {**RunDirectory(busy[0]).config(), "seed": 1}, [])
    run.write_curve(RunDirectory(busy[0]).curve())
    manifest = RunDirectory(busy[0]).manifest()
    alone = {moment: {"load": 1.0, "others": 0, "mhz": None} for moment in ("start", "middle", "end")}
    run.write_manifest({**manifest, "seed": 1, "machine": {**manifest["machine"], **alone, "waited": 0.01}})
    return run.path


def test_the_facts(busy: tuple[Path, str]) -> None:
    said = RunDirectory(busy[0]).manifest()
    machine = said["machine"]
    assert machine["waited"] > 0.2 * machine["ran"]
    assert all(machine[moment]["others"] >= 1 for moment in ("start", "middle", "end"))
    assert 0 < said["cpu_seconds"]["training"] < said["seconds"]["training"]
    curve = RunDirectory(busy[0]).curve()
    assert curve[0]["cpu_seconds"] == 0
    assert curve[-1]["cpu_seconds"] == said["cpu_seconds"]["training"]


def test_it_is_marked_wherever_its_seconds_are(busy: tuple[Path, str], partinr: Any, tmp_path: Path) -> None:
    path, said = busy
    seconds = f"{RunDirectory(path).manifest()['seconds']['training']:.1f}†"
    assert seconds in said.split()
    note = "† Shared machine: its threads spent "
    assert note in said
    listed = partinr("runs", path).out
    assert seconds in listed.split()
    assert note in listed
    table = partinr("table", path).out
    assert any(word.endswith("†") and word != "†" for word in table.split())
    assert note in table
    assert partinr("report", path, "-o", tmp_path / "report.html").code == 0
    page = (tmp_path / "report.html").read_text()
    assert note in page
    assert "†</td>" in page


def test_the_line_of_a_sweep(busy: tuple[Path, str], quiet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (busy[0], quiet):
        show_finished(Outcome(RunDirectory(path), 0))
    marked, plain = capsys.readouterr().out.splitlines()
    assert marked.endswith(" s†")
    assert plain.endswith(" s")


def test_a_quiet_one_is_not(quiet: Path, partinr: Any, tmp_path: Path) -> None:
    assert partinr("report", quiet, "-o", tmp_path / "report.html").code == 0
    page = (tmp_path / "report.html").read_text()
    for text in (partinr("runs", quiet).out, partinr("table", quiet).out, page.replace('data-sign="†"', "")):
        assert "†" not in text


def test_both_together_are_counted(busy: tuple[Path, str], quiet: Path, partinr: Any) -> None:
    told = json.loads(partinr("runs", quiet.parent, "--json").out)["runs"]
    assert [each["shared"] is None for each in told] == [False, True]
    assert "† Shared machine: 1 of 2 runs, such as " in partinr("table", quiet.parent).out


@pytest.mark.alone
@pytest.mark.slow
def test_a_real_quiet_run_is_not_marked(partinr: Any, tmp_path: Path) -> None:
    for name, words in {"one": ("trainer.threads=1",), "all": ("trainer.threads=null",)}.items():
        answer = partinr(*FIT, *words, f"hydra.run.dir={tmp_path / name}")
        assert answer.code == 0, answer.err
        assert sharing(RunDirectory(tmp_path / name).manifest()) is None
        assert "†" not in answer.out
