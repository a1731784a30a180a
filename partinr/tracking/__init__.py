"""W&B: a mirror of run directories, metric definitions, media and the comparison workspace as code.

The run directory is the truth. What is on W&B can be made anew from it (:func:`partinr.tracking.sync.rebuild`), so
nothing that goes wrong with W&B ends a run.
"""

from partinr.tracking.logger import CurveOnly, Logger, Wandb

__all__ = ["CurveOnly", "Logger", "Wandb"]
