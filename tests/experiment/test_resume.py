"""A run that is stopped, however hard, and gone on with: as if it had never been stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from partinr.base.stopping import said as said_of
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CHECKPOINT
from tests.read_back import curve, manifest, rows

TINY = ("data.size=16", "partition.regions=4", "backbone.match_params=500")
STEPS = 160
LONG = (
    f"max_steps={STEPS}",
    "regime.evaluate_every=4",
    # Drawn points, momentum and a moving rate: all that a checkpoint has to bring back.
    "regime.points_per_step=100",
    "schedule=cosine",
    "callbacks.pictures.every_seconds=0.1",
    "callbacks.checkpoint.every_seconds=0",
)


@pytest.fixture(scope="module")
def unbroken(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("unbroken") / "run"
    assert tiny(*LONG, f"hydra.run.dir={run}").code == 0
    return run


def half_way(run: Path) -> Callable[[], bool]:
    return lambda: len(rows(run)) > 8 and (run / CHECKPOINT).exists()


def same(run: Path, unbroken: Path, continued: bool = False) -> None:
    """The run ended as the unbroken one did: curve, weights and figures; the clocks only ever went on."""
    assert curve(run) == curve(unbroken)
    assert (run / "inr.safetensors").read_bytes() == (unbroken / "inr.safetensors").read_bytes()
    one, other = manifest(run), manifest(unbroken)
    assert (one["status"], one["message"], one["stop"]) == ("completed", None, "max_steps")
    for key in ("steps", "metrics", "parameters", "signal", "seed"):
        assert one[key] == other[key], key
    # What began with the checkpoint of another run is no run of the same configuration.
    assert (one["config_hash"] != other["config_hash"]) == continued
    seconds = [float(row["seconds"]) for row in rows(run)]
    assert seconds == sorted(seconds)
    assert one["seconds"]["training"] >= seconds[-1]


def test_after_sigkill(start: Any, until: Any, tiny: Any, partinr: Any, unbroken: Path, contents: Any) -> None:
    run = Path("run").resolve()
    process = start(*TINY, *LONG, f"hydra.run.dir={run}")
    until(half_way(run), process)
    process.join(0)
    os.kill(process.pid, signal.SIGSTOP)
    # Still there: it is nobody else's.
    before = contents(run)
    for answer in (partinr("resume", run), tiny(*LONG, f"hydra.run.dir={run}")):
        assert answer.code == 2
        assert "is still running (by process " in answer.err or "already holds a run; " in answer.err
    assert contents(run) == before
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    (run / "checkpoints" / ".last.ckpt.1.tmp").write_bytes(b"half")  # it may have been at it
    assert manifest(run)["status"] == "running"
    assert 8 < len(rows(run)) < STEPS // 4
    answer = partinr("resume", run)
    assert answer.code == 0, answer.err
    same(run, unbroken)
    assert set(contents(run)) == set(contents(unbroken))
    again = partinr("resume", run)
    assert again.code == 2
    assert "is completed; to make it longer: " in again.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_a_polite_signal(start: Any, until: Any, partinr: Any, unbroken: Path, number: signal.Signals) -> None:
    run = Path("run").resolve()
    # Pictures at every evaluation, so that the run lasts until the signal has come.
    slowly = ("callbacks.checkpoint.every_seconds=1000", "callbacks.pictures.every_seconds=0.001")
    process = start(*TINY, *LONG, *slowly, f"hydra.run.dir={run}")
    until(lambda: len(rows(run)) > 8, process)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 128 + number
    said = manifest(run)
    assert (said["status"], said["message"], said["stop"]) == ("interrupted", said_of(number), None)
    assert said["metrics"]["psnr"] == float(rows(run)[-1]["psnr"])
    for name in (CHECKPOINT, "inr.safetensors", "reconstruction.png", "error.png"):
        assert (run / name).exists(), name
    assert partinr("render", run, "-o", "x.png").code == 0
    assert partinr("resume", run).code == 0
    same(run, unbroken)


def test_after_the_terminal_is_closed(start: Any, until: Any) -> None:
    run = Path("run").resolve()
    here, there = os.openpty()
    words = (*TINY, *LONG, "max_steps=1000000", "callbacks.checkpoint.every_seconds=1000", f"hydra.run.dir={run}")
    process = start(*words, terminal=os.ttyname(there))
    os.close(there)
    until(lambda: len(rows(run)) > 8, process)
    os.close(here)
    process.join()
    assert process.exitcode == 128 + signal.SIGHUP
    assert manifest(run)["status"] == "interrupted"
    assert (run / CHECKPOINT).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_of_a_sweep_the_rest_is_left(start: Any, until: Any, number: signal.Signals) -> None:
    sweep = Path("sweep").resolve()
    process = start("-m", *TINY, *LONG, "seed=0,1,2", f"hydra.sweep.dir={sweep}", "hydra.sweep.subdir=${hydra.job.num}")
    until(lambda: len(rows(sweep / "1")) > 4, process)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == 128 + number
    assert (sweep / "1" / CHECKPOINT).exists()
    assert [manifest(sweep / job)["status"] for job in "012"] == ["completed", "interrupted", "queued"]


def test_killed_before_the_first_checkpoint(partinr: Any, unbroken: Path, copy_of: Any) -> None:
    run = copy_of(unbroken)
    for path in [path for path in run.rglob("*") if path.is_file() and path.parent.name != ".hydra"]:
        path.unlink()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    RunDirectory(run).write_manifest({"status": "running"})
    (run / "run.json").write_text(json.dumps({**manifest(run), "pid": dead.pid}))
    RunDirectory(run).write_curve([])
    answer = partinr("resume", run)
    assert answer.code == 0, answer.err
    same(run, unbroken)


def test_a_longer_run_in_a_new_directory(tiny: Any, unbroken: Path) -> None:
    short = [word for word in LONG if word != "schedule=cosine" and not word.startswith("max_steps")]
    assert tiny(*short, "max_steps=40", "hydra.run.dir=first").code == 0
    answer = tiny(*short, "max_steps=60", "hydra.run.dir=second", "ckpt_path=first/checkpoints/last.ckpt")
    assert answer.code == 0, answer.err
    assert tiny(*short, "max_steps=60", "hydra.run.dir=whole").code == 0
    same(Path("second"), Path("whole"), continued=True)
    assert curve(Path("first")) == curve(Path("whole"))[: len(rows(Path("first")))]
    assert rows(Path("second"))[: len(rows(Path("first")))] == rows(Path("first"))  # with the clocks
