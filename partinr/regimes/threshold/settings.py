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
    """When a trial is over, and what it learns from.

    Attributes:
        threshold: mean squared error on the grid of the signal; below it a trial is over. Step functions have values
            from -1 to 1. Those of images are from 0 to 1, and what is fitted to them is clamped to that, so that
            0.01 is 20 dB, 0.001 is 30 dB.
        points_per_step: points drawn for each step and trial, evenly and anew every time, anywhere in the step
            function; None for the samples of its grid, all of them in every step, which images need.
        resolution: a trial is looked at after every so large a part of its steps: with 0.01 after each of the first
            199 steps, and then so often that its number of steps is at most 1 % too high. 0 for after every step.
        networks: trials for each signal, each with an initialisation and points of its own.
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
