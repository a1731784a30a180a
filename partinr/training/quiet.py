"""Silences Lightning's greetings and advice."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's information and the warnings that users cannot act on; errors are still raised."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            # Lightning 2.6 uses a name that torch 2.13 deprecates.
            warnings.filterwarnings(
                "ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated", category=FutureWarning
            )
            # All processes log the same numbers; a checkpoint between two steps is whole; a resumed run finds its own
            # checkpoints; and a longer run may leave out the callback that ended the first.
            for message in (
                "It is recommended to use `self.log",
                "Using ModelCheckpoint with manual optimization",
                "Checkpoint directory .* exists and is not empty",
                "Be aware that when using `ckpt_path`, callbacks",
            ):
                warnings.filterwarnings("ignore", message=message)
            # Lightning warns on every machine with Slurm if a run starts without srun.
            warnings.filterwarnings("ignore", message="The `srun` command is available on your system but is not used")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
