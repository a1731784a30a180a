"""Jobs of a real Slurm that are disturbed in every way, and runs that come out as if they had not been."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.slurm]


def on(node: str, gres: str = "") -> dict[str, Any]:
    return {"additional_parameters": {"nodelist": node} | ({"gres": gres} if gres else {})}


@pytest.fixture(scope="module")
def jobs(submit: Any, queued: Any) -> dict[str, Any]:
    """All at once: most of the time is waiting."""
    bad = queued("bad", "data=image", "data.path=photo.png")
    return {
        # Slurm looks at the limits every 30 seconds.
        "limit": submit([queued("limit", held=True)], timeout_min=1, signal_delay_s=45, **on("n1")),
        "preempted": submit([queued("preempted", held=True)], partition="low", **on("n1", "seat:1")),
        "grace": submit([queued("grace", held=True)], partition="grace", **on("n1", "bench:1")),
        "lost": submit([queued("lost", held=True)], **on("n2")),
        "killed": submit([queued("killed", held=True)], **on("n1")),
        "packed": submit(
            [queued("left", held=True), queued("right", "seed=1", held=True)], runs_per_job=2, at_once=2, **on("n1")
        ),
        "spread": submit(
            [
                queued("spread", "trainer.num_nodes=2", held=True),
                queued("learned", "trainer.num_nodes=2", base="meta"),
                queued("whole"),
            ],
            nodes=2,
            runs_per_job=3,
        ),
        "calm": submit([bad, queued("first"), queued("second", "seed=1")], runs_per_job=3, **on("n2")),
    }


def manifest(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_bytes())


def test_a_time_limit(jobs: dict[str, Any], until: Any, same: Any, unbroken: Any) -> None:
    job = jobs["limit"]
    until(lambda: manifest(job.runs[0])["status"] == "interrupted", job.said)
    assert manifest(job.runs[0])["message"] == "stopped by signal 12"
    job.let_go()
    job.wait_over()
    assert "Requeued job" in job.log()
    same(job.runs[0], unbroken())


def test_preempted_at_once(jobs: dict[str, Any], cluster: Any, until: Any, same: Any, unbroken: Any) -> None:
    job = jobs["preempted"]
    job.wait_under_way()
    cluster.sbatch("--partition=high", "--nodelist=n1", "--gres=seat:1", "--wrap=sleep 1")
    until(lambda: manifest(job.runs[0])["status"] == "interrupted", job.said)
    assert manifest(job.runs[0])["message"] == "stopped by signal 15"
    job.let_go()
    job.wait_over()
    assert "Requeued job" not in job.log(), "Slurm does it itself"
    same(job.runs[0], unbroken())


def test_preempted_with_time_of_grace(jobs: dict[str, Any], cluster: Any, until: Any, same: Any, unbroken: Any) -> None:
    job = jobs["grace"]
    job.wait_under_way()
    cluster.sbatch("--partition=high", "--nodelist=n1", "--gres=bench:1", "--wrap=sleep 1")
    until(lambda: manifest(job.runs[0])["status"] == "interrupted", job.said)
    job.let_go()
    job.wait_over()
    assert "Requeued job" in job.log(), "to Slurm a job that ends in this time is done"
    same(job.runs[0], unbroken())


def test_one_run_that_cannot_begin_is_no_other_runs_concern(jobs: dict[str, Any], same: Any, unbroken: Any) -> None:
    job = jobs["calm"]
    job.wait_over()
    bad, first, second = job.runs
    assert manifest(bad)["status"] == "failed"
    assert "photo.png" in manifest(bad)["message"]
    same(first, unbroken())
    same(second, unbroken("seed=1"))
    assert manifest(first)["job"] == job.job


def test_killed(jobs: dict[str, Any], cluster: Any, submit: Any, same: Any, unbroken: Any) -> None:
    job = jobs["killed"]
    job.wait_under_way()
    assert cluster.kill(SLURM_JOB_ID=job.job, SLURM_STEP_ID="0") == 1
    job.wait_over()
    assert manifest(job.runs[0])["status"] == "running"
    job.let_go()
    again = submit(job.runs, **on("n1"))
    again.wait_over()
    same(job.runs[0], unbroken())
    # Done: a job that comes late finds nothing to do, and touches nothing.
    before = (job.runs[0] / "run.json").stat()
    late = submit(job.runs, **on("n1"))
    late.wait_over()
    assert (job.runs[0] / "run.json").stat() == before, late.said()


def test_cancelled_with_runs_side_by_side(
    jobs: dict[str, Any], submit: Any, until: Any, same: Any, unbroken: Any
) -> None:
    job = jobs["packed"]
    for run in job.runs:
        job.wait_under_way(run)
    job.slurm.cancel([job.job])
    job.wait_over()
    assert [manifest(run)["status"] for run in job.runs] == ["interrupted", "interrupted"], job.said()
    job.let_go()
    submit(job.runs, runs_per_job=2, at_once=2, **on("n1")).wait_over()
    same(job.runs[0], unbroken())
    same(job.runs[1], unbroken("seed=1"))


def test_two_nodes(jobs: dict[str, Any], cluster: Any, until: Any, same: Any, unbroken: Any) -> None:
    job = jobs["spread"]
    job.wait_under_way()
    assert manifest(job.runs[0])["hardware"]["devices"] == 2
    # As at the end of its time: all processes of the job hear it.
    cluster.ask("scancel", "--signal=USR2", job.job)
    until(lambda: manifest(job.runs[0])["status"] == "interrupted", job.said)
    job.let_go()
    job.wait_over()
    assert "Requeued job" in job.log()
    same(job.runs[0], unbroken("trainer.devices=2"))
    same(job.runs[1], unbroken("trainer.devices=2", base="meta"))
    assert [manifest(run)["hardware"]["devices"] for run in job.runs] == [2, 2, 1]
    # One that needs one node is the first node's, and the second has nothing to do with it.
    same(job.runs[2], unbroken())


def test_a_node_is_lost(jobs: dict[str, Any], cluster: Any, until: Any, same: Any, unbroken: Any) -> None:
    job = jobs["lost"]
    job.wait_under_way()
    cluster.lose_node("n2")
    # Only after a while does Slurm know.
    until(lambda: job.state == "waiting", job.said)
    assert manifest(job.runs[0])["status"] == "running"
    job.let_go()
    cluster.start_node("n2")
    job.wait_over()
    same(job.runs[0], unbroken())
