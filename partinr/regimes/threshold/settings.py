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
    """When a trial ends, and which points it learns from.

    Attributes:
        threshold: a trial ends when its mean squared error on the grid of the signal is below this. Step functions have
            values from -1 to 1. Images have values from 0 to 1, and fitted values are clamped to that range, so 0.01 is
            20 dB and 0.001 is 30 dB.
        points_per_step: points drawn for each step and trial, uniformly over the domain of the step function. None for
            all samples of the grid in every step; images need None.
        resolution: relative distance between two evaluations of a trial. With 0.01, evaluations follow each of the
            first 199 steps, and then are frequent enough that a trial's number of steps is at most 1 % too high. 0:
            after every step.
        networks: trials for each signal, each with its own initialisation and points.
    """

    kind: ClassVar[str] = "threshold"
    builder: ClassVar[str] = "partinr.regimes.threshold.build:threshold_module"

    threshold: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05
    points_per_step: Annotated[int, Field(ge=1)] | None = 5000
    resolution: Annotated[float, Field(ge=0, le=1)] = 0.01
    networks: Annotated[int, Field(ge=1)] = 1

    def describe(self) -> dict[str, Any]:
        """The regime's entry in ``run.json``."""
        return ThresholdSection.describe(dataclasses.asdict(self))
