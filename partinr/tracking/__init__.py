"""Loggers: W&B as a mirror of run directories, TensorBoard, MLflow, those of other packages; dashboards on W&B.

The run directory is authoritative: :func:`partinr.tracking.sync.rebuild` can make the W&B run from it again. A failure
of a logger therefore never ends a run.
"""

from partinr.tracking.logger import CurveOnly, Guest, Logger, MLflow, Several, TensorBoard, Wandb

__all__ = ["CurveOnly", "Guest", "Logger", "MLflow", "Several", "TensorBoard", "Wandb"]
