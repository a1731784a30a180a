"""The nodes of a Slurm job that execute one run."""

from __future__ import annotations

import os
from pathlib import Path

from partinr.base.errors import PartinrError
from partinr.runs.directory import in_job, slurm_job
from partinr.runs.layout import MEETING
from partinr.training.nodes import Nodes


def this_node() -> int:
    """The number of this node in its job; 0 outside a job."""
    return int(os.environ.get("SLURM_NODEID", 0)) if in_job() else 0


def nodes_for(number: int, run: Path) -> Nodes:
    """The nodes of this job for a run.

    Args:
        number: number of nodes that the run needs.
        run: run directory, on a disk that all nodes share.

    Raises:
        PartinrError: this is not a job with this number of nodes.
    """
    if number == 1:
        return Nodes()
    there = int(os.environ.get("SLURM_JOB_NUM_NODES", 1)) if in_job() else 1
    if there != number:
        raise PartinrError(
            f"trainer.num_nodes={number} needs a job on {number} nodes, and here is {there}; "
            "submit it: partinr -m hydra/launcher=submitit_slurm …"
        )
    attempt = f"{slurm_job()} {os.environ.get('SLURM_RESTART_COUNT', 0)}"
    return Nodes(number, this_node(), run / MEETING, attempt)
