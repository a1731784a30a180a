"""W&B: a mirror of run directories, and the comparison of runs as workspace and report.

The run directory is the truth, and :func:`partinr.tracking.sync.rebuild` makes the W&B run from it again. So nothing
that goes wrong with W&B ends a run.
"""

from partinr.tracking.logger import CurveOnly, Logger, Wandb

__all__ = ["CurveOnly", "Logger", "Wandb"]
