"""Settings of the study of steps to a fixed error."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, ClassVar

from pydantic import Field

from partinr.base.spec import spec
from partinr.regimes.base import RegimeSettings
from partinr.regimes.threshold.report import ThresholdSection


@spec
class ThresholdSettings(RegimeSettings):
    """The end of a trial, and the points that it learns from.

    Attributes:
        threshold: mean squared error on the grid of the signal; below it a trial is over. Step functions have values
            from -1 to 1. Images have values from 0 to 1, and what is fitted to them is clamped to that range, so 0.01
            is 20 dB and 0.001 is 30 dB.
        points_per_step: points drawn for each step and trial, evenly and anew every time, anywhere in the step
            function; None for the samples of its grid, all of them in every step, which images need.
        resolution: relative distance between two evaluations of a trial. With 0.01 they come after each of the first
            199 steps, and then so often that a trial's number of steps is at most 1 % too high. 0: after every step.
        networks: trials for each signal, each with its own initialisation and points.
    """

    kind: ClassVar[str] = "threshold"
    builder: ClassVar[str] = "partinr.regimes.threshold.build:threshold_module"

    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05
    points_per_step: Annotated[int, Field(ge=1)] | None = 5000
    resolution: Annotated[float, Field(ge=0, le=1)] = 0.01
    networks: Annotated[int, Field(ge=1)] = 1

    def describe(self) -> dict[str, Any]:
        """What ``run.json`` says of the regime."""
        return ThresholdSection.describe(dataclasses.asdict(self))
