"""W&B: a mirror of run directories, and the comparison of runs as workspace and report.

The run directory is authoritative: :func:`partinr.tracking.sync.rebuild` can make the W&B run from it again. A failure
of W&B therefore never ends a run.
"""

from partinr.tracking.logger import CurveOnly, Logger, Wandb

__all__ = ["CurveOnly", "Logger", "Wandb"]
