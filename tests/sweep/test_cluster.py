"""Jobs and how they are submitted, without a cluster; tests/slurm has one."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from partinr.base.errors import PartinrError
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import CHECKPOINT, CLOCK_COLUMNS
from partinr.sweep import slurm
from partinr.sweep.cluster import Local, LocalSettings, Slurm, SlurmSettings, packed
from partinr.sweep.jobs import Job, writer_is_gone
from tests.covering import cases

Command = Callable[[str, str], None]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Puts a command of Slurm on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def make(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return make


def test_settings_that_do_not_go_together() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"at_once": 2}, "at_once=2 needs as many runs in a job, and runs_per_job=1"),
        ({"timeout_min": 2, "signal_delay_s": 120}, "leaves a job of timeout_min=2 no time to run"),
        ({"timeout_min": 0}, "timeout_min=0"),
        ({"walltime": 3}, "walltime"),
    ]
    for settings, said in wrong:
        for cls in cases(SlurmSettings, LocalSettings):
            with pytest.raises(PartinrError, match=said):
                cls(**settings)


def test_what_sbatch_is_told() -> None:
    from submitit.slurm.slurm import _make_sbatch_string

    settings = SlurmSettings(
        mem_gb=2.5, cpus_per_task=4, partition="gpu", gpus_per_node=1, additional_parameters={"hint": "nomultithread"}
    )
    script = _make_sbatch_string("run", "folder", **settings.sbatch(nodes=2))
    for line in ("--mem=2560MB", "--partition=gpu", "--gpus-per-node=1", "--requeue", "--hint=nomultithread"):
        assert f"#SBATCH {line}\n" in script
    for line in ("--nodes=2", "--ntasks-per-node=1", "--time=60", "--signal=USR2@120"):
        assert f"#SBATCH {line}\n" in script
    # Slurm 22.05 and later do not pass it on to srun.
    assert "--cpus-per-task=4 " in script.partition("srun")[2]
    assert "--account" not in script


def test_packed() -> None:
    runs = [Path(str(number)) for number in range(5)]
    assert packed(runs, 2) == [runs[:2], runs[2:4], runs[4:]]


def test_states(command: Command) -> None:
    command("squeue", 'echo "$@" >> asked; echo "7_0 RUNNING"; echo "7_1 PENDING"; echo "8 COMPLETING"')
    ids = ["7_0", "7_1", "7_2", "8", "9"]
    assert slurm.states(ids) == {"7_0": "running", "7_1": "waiting", "7_2": "gone", "8": "running", "9": "gone"}
    assert "--jobs=7,8,9" in Path("asked").read_text()
    assert slurm.states([]) == {}
    command("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert slurm.states(["9"]) == {"9": "gone"}
    command("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(PartinrError, match="Unable to contact slurm controller"):
        slurm.states(["9"])


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("JobState=RUNNING PreemptTime=2026-01-01T00:00:00", True),
        ("JobState=RUNNING PreemptTime=None", False),
        ("JobState=COMPLETING PreemptTime=2026-01-01T00:00:00", False),
        ("JobState=CANCELLED", False),
    ],
)
def test_preempted(command: Command, monkeypatch: pytest.MonkeyPatch, said: str, expected: bool) -> None:
    command("scontrol", f"echo {said}")
    assert not slurm.preempted()
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert slurm.preempted() is expected


def test_where_there_is_no_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PartinrError, match="there is no Slurm on this machine: sbatch is not on the PATH"):
        Slurm(SlurmSettings(), tmp_path)
    with pytest.raises(PartinrError, match="there is no Slurm on this machine"):
        slurm.states(["7"])


def test_what_slurm_refuses(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("srun", "squeue", "scancel"):
        command(name, "exit 0")
    command("sbatch", "echo 'sbatch: error: invalid partition specified: gpu' >&2; exit 1")
    with pytest.raises(PartinrError, match="Slurm refuses the jobs: invalid partition specified: gpu"):
        Slurm(SlurmSettings(partition="gpu"), tmp_path / "jobs").submit([[tmp_path]])
    assert capsys.readouterr().err == ""


def of_host(run: Path, **changes: Any) -> None:
    """As if a process on another host wrote the run, and its locks could not be seen here."""
    (run / ".lock").unlink(missing_ok=True)
    said = json.loads((run / "run.json").read_bytes())
    (run / "run.json").write_text(json.dumps({**said, "status": "running", "host": "elsewhere", **changes}))


def test_a_run_that_another_process_prepares_is_left_alone(finished: Path, copy_of: Any) -> None:
    run = copy_of(finished)
    said = json.loads((run / "run.json").read_bytes())
    (run / "run.json").write_text(json.dumps({**said, "status": "queued"}))
    before = (run / "run.json").read_bytes()
    with RunDirectory(run).claimed():
        assert Job((str(run),))() == {str(run): 2}
    assert (run / "run.json").read_bytes() == before


def test_a_run_of_a_job_that_is_over(
    command: Command, monkeypatch: pytest.MonkeyPatch, finished: Path, copy_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(finished)
    command("squeue", 'echo "7 RUNNING"')
    of_host(run)
    assert not writer_is_gone(run), "nothing is known"
    of_host(run, job="7")
    assert not writer_is_gone(run), "it runs"
    # Nothing is done to it, and it is not called failed.
    before = (run / "run.json").read_bytes()
    assert Job((str(run),))() == {str(run): 2}
    assert "is still running on elsewhere" in capsys.readouterr().err
    assert (run / "run.json").read_bytes() == before
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert writer_is_gone(run), "it was this job, before it was queued again"
    monkeypatch.delenv("SLURM_JOB_ID")
    of_host(run, job="6")
    assert writer_is_gone(run), "Slurm knows it no more"
    assert Job((str(run),))() == {str(run): 0}
    assert RunDirectory(run).manifest()["status"] == "completed"
    command("squeue", "exit 1")
    of_host(run, job="6")
    assert not writer_is_gone(run), "Slurm does not answer"


SLOW = """
import time
from pathlib import Path
from lightning import Callback

class Slow(Callback):
    def on_train_batch_end(self, *arguments):
        if Path("gate").exists():
            time.sleep(0.2)
"""


@pytest.mark.slow
def test_jobs_of_this_machine(
    partinr: Any, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copy_of: Any
) -> None:
    long = (
        "max_steps=100",
        "regime.evaluate_every=2",
        "engine=batched",
        "trainer.threads=1",
        "callbacks.checkpoint.every_seconds=0",
    )
    assert tiny(*long, "hydra.run.dir=unbroken").code == 0
    unbroken = RunDirectory(Path("unbroken"))
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    runs = []
    for name in ("one", "two"):
        cfg = unbroken.config()
        cfg["callbacks"]["slow"] = {"_target_": "slow.Slow"}
        runs.append(RunDirectory.create(Path(name).absolute(), cfg))
    for run in runs:
        run.write_manifest({"status": "interrupted"})
    Path("gate").touch()
    local = Local(LocalSettings(), tmp_path / "jobs")
    first, second = local.submit([[run.path] for run in runs])
    assert first == second, "of one job"
    with pytest.raises(PartinrError, match="num_nodes=2 needs a cluster"):
        local.submit([[runs[0].path]], nodes=2)

    def wait_for(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 100
        while not condition():
            assert time.monotonic() < end, [path.read_text() for path in (tmp_path / "jobs").rglob("*log*")]
            time.sleep(0.05)

    wait_for(lambda: runs[0].file(CHECKPOINT).exists())
    assert not (tmp_path / "jobs" / "%j").exists()
    assert Local(LocalSettings(), tmp_path / "jobs").states([first]) == {first: "running"}
    controller = psutil.Process(int(first))
    (task,) = controller.children()
    # Ctrl-C and the end of the terminal: they reach the group of processes that this one is in.
    for number in (signal.SIGINT, signal.SIGHUP):
        controller.send_signal(number)
    assert os.getpgid(task.pid) != os.getpgid(controller.pid)
    # As submitit does when the time is nearly up.
    task.send_signal(signal.SIGUSR2)
    wait_for(lambda: runs[0].manifest()["status"] == "interrupted")
    assert runs[0].manifest()["message"] == "stopped before the end of its job"
    wait_for(lambda: runs[0].manifest()["status"] == "running")
    # Ended from outside: both stay unchanged.
    controller.send_signal(signal.SIGTERM)
    wait_for(lambda: local.states([first]) == {first: "gone"})
    assert [run.manifest()["status"] for run in runs] == ["interrupted", "interrupted"]
    assert runs[1].curve() == []
    Path("gate").unlink()
    last, _ = local.submit([[run.path] for run in runs])
    wait_for(lambda: local.states([last]) == {last: "gone"})

    def curve(run: RunDirectory) -> list[dict[str, float]]:
        return [{name: row[name] for name in row if name not in CLOCK_COLUMNS} for row in run.curve()]

    for run in runs:
        assert run.manifest()["status"] == "completed"
        assert curve(run) == curve(unbroken)
