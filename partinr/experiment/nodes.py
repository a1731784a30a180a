"""The machines of a Slurm job that a run is spread over."""

from __future__ import annotations

import os
from pathlib import Path

from partinr.base.errors import PartinrError
from partinr.runs.directory import in_job, slurm_job
from partinr.runs.layout import MEETING
from partinr.training.nodes import Nodes


def this_node() -> int:
    """Which of the nodes of a job this is; 0 outside of one."""
    return int(os.environ.get("SLURM_NODEID", 0)) if in_job() else 0


def nodes_for(number: int, run: Path) -> Nodes:
    """The nodes of this job, for a run that is spread over them.

    Args:
        number: how many it needs.
        run: its directory, which all of them see.

    Raises:
        PartinrError: this is no job with so many nodes.
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
