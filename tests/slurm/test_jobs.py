"""Jobs of a real Slurm that are disturbed in every way, and runs that come out as if they had not been."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.read_back import manifest

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.timeout(600)]


def on(node: str, gres: str = "") -> dict[str, Any]:
    return {"additional_parameters": {"nodelist": node} | ({"gres": gres} if gres else {})}


def status(job: Any) -> list[str]:
    return [manifest(run)["status"] for run in job.runs]


@dataclass
class Disturbed:
    """A job, and the one that went on with its runs where Slurm did not."""

    job: Any
    again: Any = None
    message: str | None = None

    def wait_over(self) -> None:
        (self.again or self.job).wait_over()


@pytest.fixture
def jobs(submit: Any, submit_array: Any, queued: Any, cluster: Any, until: Any) -> dict[str, Disturbed]:
    """All at the same time: most of it is waiting. Every run is caught in its middle."""
    # Slurm looks at the limits every 30 seconds, and warns by so much earlier: after 30 to 60 seconds.
    limit, short = submit_array(
        [[queued("limit", held=True)], [queued("short", "seed=1")]], timeout_min=2, signal_delay_s=60, **on("n1")
    )
    preempted = submit([queued("preempted", held=True)], partition="low", **on("n1", "seat:1"))
    grace = submit([queued("grace", held=True)], partition="grace", **on("n1", "bench:1"))
    killed = submit([queued("killed", held=True)], **on("n1"))
    pair = [queued("left", held=True), queued("right", "seed=1", held=True)]
    cancelled = submit(pair, runs_per_job=2, at_once=2, **on("n1"))
    two = "trainer.num_nodes=2"
    spread = [queued("spread", two, held=True), queued("learned", two, base="meta"), queued("whole")]
    spread.append(queued("divided", two, "shard=samples"))
    nodes = submit(spread, nodes=2, runs_per_job=4, **on("n[1-2]"))
    lost = submit([queued("lost", held=True)], **on("n3"))
    bad = queued("bad", "data=image", "data.path=photo.png")
    calm = submit([bad, queued("first"), queued("second", "seed=1")], runs_per_job=3, **on("n2"))

    for job in (preempted, grace, killed, cancelled, nodes, lost):
        for run in job.runs[: 1 if job is nodes else None]:
            job.wait_under_way(run)
    cluster.sbatch("--partition=high", "--nodelist=n1", "--gres=seat:1", "--wrap=sleep 1")
    cluster.sbatch("--partition=high", "--nodelist=n1", "--gres=bench:1", "--wrap=sleep 1")
    assert cluster.kill(SLURM_JOB_ID=killed.job, SLURM_STEP_ID="0") == 1
    cluster.ask("scancel", cancelled.job)
    # As at the end of its time: all processes of the job hear it.
    cluster.ask("scancel", "--signal=USR2", nodes.job)
    cluster.lose_node("n3")

    found = {"killed": Disturbed(killed), "short": Disturbed(short), "lost": Disturbed(lost), "calm": Disturbed(calm)}
    stopped = {"limit": limit, "preempted": preempted, "grace": grace, "cancelled": cancelled, "nodes": nodes}

    def all_seen() -> bool:
        # Together: the first one may be on its way again before the last one has stopped.
        for name, job in stopped.items():
            said = manifest(job.runs[0])
            if said["status"] == "interrupted":
                found.setdefault(name, Disturbed(job, message=said["message"]))
        return found.keys() >= stopped.keys()

    until(all_seen, lambda: "\n".join(job.said() for name, job in stopped.items() if name not in found))
    for job in (killed, cancelled):
        job.wait_over()
    assert status(killed) == ["running"], killed.said()
    assert status(cancelled) == ["interrupted", "interrupted"], cancelled.said()
    # Only after a while does Slurm know.
    until(lambda: lost.state == "waiting", lost.said)
    assert status(lost) == ["running"]
    # On another one: to the one that was lost, when it comes back, Slurm still sends that the job is to be ended.
    cluster.ask("scontrol", "update", f"JobId={lost.job}", "ReqNodeList=n2")

    for job in (limit, preempted, grace, killed, cancelled, nodes, lost):
        job.let_go()
    found["killed"].again = submit(killed.runs, **on("n1"))
    found["cancelled"].again = submit(pair, runs_per_job=2, at_once=2, **on("n1"))
    return found


def a_time_limit(jobs: dict[str, Disturbed], same: Any, unbroken: Any) -> None:
    limit = jobs["limit"]
    limit.wait_over()
    assert limit.message == "stopped before the end of its job"
    assert limit.job.job.endswith("_0"), "of an array"
    assert f"Requeued job {limit.job.job} " in limit.job.log()
    same(limit.job.runs[0], unbroken())
    jobs["short"].wait_over()
    same(jobs["short"].job.runs[0], unbroken("seed=1"))


def preempted_at_once(jobs: dict[str, Disturbed], same: Any, unbroken: Any) -> None:
    preempted = jobs["preempted"]
    preempted.wait_over()
    assert preempted.message == "stopped from outside (SIGTERM)"
    assert "Requeued job" not in preempted.job.log(), "Slurm does it itself"
    same(preempted.job.runs[0], unbroken())


def preempted_with_time_of_grace(jobs: dict[str, Disturbed], same: Any, unbroken: Any) -> None:
    grace = jobs["grace"]
    grace.wait_over()
    assert grace.message == "stopped from outside (SIGTERM)"
    assert "Requeued job" in grace.job.log(), "to Slurm a job that ends in this time is done"
    same(grace.job.runs[0], unbroken())


def killed(jobs: dict[str, Disturbed], same: Any, unbroken: Any) -> None:
    killed = jobs["killed"]
    killed.wait_over()
    (run,) = killed.job.runs
    same(run, unbroken())
    assert manifest(run)["job"] == killed.again.job


def cancelled_with_runs_side_by_side(jobs: dict[str, Disturbed], same: Any, unbroken: Any) -> None:
    cancelled = jobs["cancelled"]
    cancelled.wait_over()
    assert "Requeued job" not in cancelled.job.log()
    left, right = cancelled.job.runs
    same(left, unbroken())
    same(right, unbroken("seed=1"))


def one_run_that_cannot_begin_is_no_other_runs_concern(jobs: dict[str, Disturbed], same: Any, unbroken: Any) -> None:
    calm = jobs["calm"]
    calm.wait_over()
    bad, first, second = calm.job.runs
    assert manifest(bad)["status"] == "failed"
    assert "photo.png" in manifest(bad)["message"]
    same(first, unbroken())
    same(second, unbroken("seed=1"))


def two_nodes(jobs: dict[str, Disturbed], same: Any, unbroken: Any) -> None:
    nodes = jobs["nodes"]
    nodes.wait_over()
    assert "Requeued job" in nodes.job.log()
    spread, learned, whole, divided = nodes.job.runs
    same(spread, unbroken("trainer.devices=2"))
    same(learned, unbroken("trainer.devices=2", base="meta"))
    same(divided, unbroken("trainer.devices=2", "shard=samples"))
    # One that needs one node is the first node's, and the second has nothing to do with it.
    same(whole, unbroken())
    assert [manifest(run)["hardware"]["devices"] for run in nodes.job.runs] == [2, 2, 1, 2]
    assert manifest(divided)["hardware"]["shard"] == "samples"
    assert not (spread / ".hydra/meeting.json").exists()


def a_node_is_lost(jobs: dict[str, Disturbed], same: Any, unbroken: Any) -> None:
    lost = jobs["lost"]
    lost.wait_over()
    same(lost.job.runs[0], unbroken())


# One test, since a worker that took a part of several would start a Slurm of its own and disturb everything again.
def test_runs_come_out_as_if_nothing_had_happened(
    jobs: dict[str, Disturbed], submit: Any, same: Any, unbroken: Any
) -> None:
    preempted_at_once(jobs, same, unbroken)
    preempted_with_time_of_grace(jobs, same, unbroken)
    one_run_that_cannot_begin_is_no_other_runs_concern(jobs, same, unbroken)
    cancelled_with_runs_side_by_side(jobs, same, unbroken)
    two_nodes(jobs, same, unbroken)
    a_node_is_lost(jobs, same, unbroken)
    killed(jobs, same, unbroken)
    a_time_limit(jobs, same, unbroken)
    # A job that comes late finds nothing to do, and touches nothing.
    (run,) = jobs["killed"].job.runs
    before = (run / "run.json").stat().st_ino
    late = submit([run], **on("n1"))
    late.wait_over()
    assert "Job completed successfully" in late.log()
    assert (run / "run.json").stat().st_ino == before, "a file is replaced when it is written"
