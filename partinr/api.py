"""What a notebook does with runs that are there already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from partinr.inr import PiecewiseINR
from partinr.run import WEIGHTS, RunDirectory


@dataclass(frozen=True)
class LoadedRun:
    """A run directory, read.

    Attributes:
        path: where it is.
        config: the composed configuration, plain containers.
        manifest: the content of ``run.json``.
        curve: a row an evaluation, see :data:`partinr.run.CURVE_COLUMNS`.
    """

    path: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    curve: list[dict[str, float]]

    @property
    def status(self) -> str:
        """``running``, ``completed``, ``failed`` or ``interrupted``."""
        return str(self.manifest["status"])

    @property
    def psnr(self) -> float | None:
        """At the last evaluation, in dB; None before the first."""
        return self.curve[-1]["psnr"] if self.curve else None

    @property
    def seconds(self) -> float:
        """Of training, up to the last evaluation."""
        return self.curve[-1]["seconds"] if self.curve else 0.0

    def model(self) -> PiecewiseINR:
        """The fitted model.

        Raises:
            PartinrError: the run has left no weights yet, or they are damaged.
        """
        return PiecewiseINR.load(self.path / WEIGHTS)


def load_run(path: str | Path) -> LoadedRun:
    """Read a run directory.

    Raises:
        PartinrError: it is none, or a file of it is damaged.
    """
    run = RunDirectory.open(path)
    return LoadedRun(run.path, run.config(), run.manifest(), run.curve())


def load(path: str | Path) -> PiecewiseINR:
    """Read a fitted model: an ``inr.safetensors``, or the run directory that holds one.

    Raises:
        PartinrError: there is none, or it is damaged.
    """
    path = Path(path)
    return PiecewiseINR.load(path / WEIGHTS if path.is_dir() else path)
