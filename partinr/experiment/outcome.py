"""The outcome of a run. Needs no torch, so that a sweep can use it before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from partinr.base.errors import PartinrError
from partinr.runs.directory import RunDirectory


class CompletedError(PartinrError):
    """The run is completed."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        run: run directory.
        exit_code: 0 completed, 1 failed, 128 + the signal's number if it was stopped.
    """

    run: RunDirectory
    exit_code: int

    @property
    def begun(self) -> bool:
        """Whether training has begun, so that ``run.json`` has results."""
        return "metrics" in self.run.manifest()

    @property
    def psnr(self) -> float | None:
        """PSNR of a completed run, which a sweeper maximises."""
        return self.run.manifest()["metrics"]["psnr"] if self.exit_code == 0 else None
