"""The result of a fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from partinr.base.environment import door
from partinr.base.numbers import write
from partinr.model.album import Album
from partinr.model.inr import PiecewiseINR
from partinr.pictures.notebook import card, draw_curve, sparkline
from partinr.training.loop import StopReason, TrainingLoop

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Model = TypeVar("Model", PiecewiseINR, Album)


@dataclass(frozen=True, repr=False)
class FitResult(Generic[Model]):
    """The result of a fit.

    Attributes:
        model: the fitted model, which is the given one.
        curve: one row per evaluation, see :data:`partinr.runs.layout.CURVE_COLUMNS`.
        image_curve: for an album one row per evaluation and image, see :data:`IMAGE_COLUMNS`; else empty.
        psnr: final PSNR in dB, over data range 1 on values clamped to [0, 1]; for an album the mean over images.
        ssim: final SSIM, likewise; NaN if undefined.
        psnr_best: highest PSNR of the curve.
        steps: number of optimiser steps.
        seconds: training time without evaluation.
        stop: why training ended: ``max_steps``, ``max_seconds``, ``target_psnr``, ``all_frozen``, ``all_reached``,
            ``callback`` such as EarlyStopping; None if it was interrupted or failed.
        failure: one line that says why the fit failed, or None. The model of a failed fit has its best weights.
    """

    model: Model
    curve: list[dict[str, float]]
    image_curve: list[dict[str, Any]]
    psnr: float
    ssim: float
    psnr_best: float
    steps: int
    seconds: float
    stop: StopReason | None
    failure: str | None

    def __repr__(self) -> str:
        # Without the curves, which may have thousands of rows.
        ending = f"stop={self.stop!r}" if self.failure is None else f"failure={self.failure!r}"
        figures = f"steps={self.steps}, psnr={self.psnr:.2f}, seconds={self.seconds:.1f}"
        return f"FitResult({figures}, {ending}, model={self.model!r})"

    @door
    def _repr_html_(self) -> str:
        facts = {
            "PSNR": f"{self.psnr:.2f} dB",
            "SSIM": None if math.isnan(self.ssim) else f"{self.ssim:.3f}",
            **{
                each["heading"]: write(self.curve[-1][each["key"]], each["form"]) for each in self.model.kind(0).metrics
            },
            "steps": f"{self.steps:,}",
            "training": f"{self.seconds:.1f} s",
            "ended by": self.stop,
            "failure": self.failure,
            "networks": self.model.extra_repr(),
        }
        return card("FitResult", facts, [*self.model.pictures(), sparkline(self.curve)])

    def plot(self, metric: str = "psnr", axis: str = "step", ax: Axes | None = None, label: str | None = None) -> Axes:
        """Draw the curve.

        Args:
            metric: ``psnr``, ``ssim``, ``loss`` or ``lr``.
            axis: ``step``, ``seconds``, ``cpu_seconds`` or ``macs``.
            ax: axes of matplotlib to draw on; None for a new figure.
            label: name of the curve in a legend.

        Raises:
            PartinrError: there is no such column.
        """
        return draw_curve(self.curve, metric, axis, ax, label)

    @classmethod
    def of(cls, module: TrainingLoop) -> FitResult[Any]:
        """The result of a trained module."""
        last = module.curve[-1]
        model: Any = module.model
        return FitResult(
            model=model,
            curve=module.curve,
            image_curve=module.image_curve,
            psnr=last["psnr"],
            ssim=last["ssim"],
            psnr_best=module.best_psnr,
            steps=module.step,
            seconds=module.clock.training,
            stop=module.stop_reason,
            failure=module.failure,
        )
