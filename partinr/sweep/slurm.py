"""Queries to Slurm: states of jobs, and why this job must end. Uses Slurm's commands without accounting."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable
from typing import Literal

from partinr.base.errors import PartinrError
from partinr.runs.directory import slurm_job

State = Literal["waiting", "running", "gone"]
"""State of a job: in the queue; on a node or just leaving it; neither."""

_WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}

ANSWER_SECONDS = 60
"""Seconds to wait for an answer, since a busy controller is slow."""


def states(jobs: Iterable[str]) -> dict[str, State]:
    """The states of jobs; ``12_3`` is one job of the array 12.

    Raises:
        PartinrError: Slurm does not answer.
    """
    asked = list(dict.fromkeys(jobs))
    if not asked:
        return {}
    arrays = ",".join(dict.fromkeys(job.partition("_")[0] for job in asked))
    answer = _command("squeue", "--noheader", "--array", "--format=%i %T", f"--jobs={arrays}")
    if answer.returncode and "Invalid job id" not in answer.stderr:  # the error for forgotten jobs
        raise PartinrError(f"squeue does not answer: {_last_line(answer.stderr)}; is this machine part of the cluster?")
    found = dict(line.split() for line in answer.stdout.splitlines() if len(line.split()) == 2)
    return {job: "gone" if job not in found else "waiting" if found[job] in _WAITING else "running" for job in asked}


def preempted() -> bool:
    """Whether Slurm has announced a preemption of this job, with a grace time.

    A job that ends within the grace time counts as done, and Slurm does not queue it again.
    """
    job = slurm_job()
    if job is None:
        return False
    try:
        answer = _command("scontrol", "show", "job", "--oneliner", job)
    except PartinrError:
        return False
    return bool(re.search(r"\bJobState=RUNNING\b", answer.stdout) and re.search(r"\bPreemptTime=[0-9]", answer.stdout))


def _command(*words: str) -> subprocess.CompletedProcess[str]:
    # Users may have configured another output format.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("SQUEUE_")}
    try:
        return subprocess.run(
            words, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False, env=environment
        )
    except FileNotFoundError as error:
        raise PartinrError(f"there is no Slurm on this machine: {words[0]} is not on the PATH") from error
    except subprocess.TimeoutExpired as error:
        raise PartinrError(f"{words[0]} has not answered for {ANSWER_SECONDS} seconds; try again later") from error


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no reason given"
