"""The contract of an observation: what is seen of a signal, and how far a reconstruction is from that."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from partinr.base.later import Later
from partinr.base.section import field
from partinr.base.spec import READS, course, marked, spec

if TYPE_CHECKING:
    from scipy import ndimage

    from partinr.signals.identity import Everywhere
else:
    ndimage = Later("scipy.ndimage")

UNSEEN = 0.5
"""The value of a hidden sample in a picture."""

WEIGHTS = "inr.safetensors"
"""The file of the weights of the last step."""

FILES = {
    "observation": "observation.png",
    "best": "best.safetensors",
    "best_picture": "reconstruction_best.png",
}
"""Further files of a run, by role: what the loss sees, weights of the best point of the curve, and what they give."""

FIT = "psnr_observed"
"""The column of the curve, and the key in ``metrics``, for the fit to what is seen."""


class Observed(ABC):
    """What is seen of one signal.

    Args:
        targets: what each sample should be, as far as it is known by itself: float32 ``[*grid, C]``, of any range.
        weights: float32 ``[*grid, 1]``, weight of each sample in the error, 0 for a hidden one; None if all are 1.
        estimate: the signal as what is seen suggests it, float32 ``[*grid, C]`` in [0, 1]. Partition rules, widths of
            networks and ``begin_at_mean`` go by it, since a run must not see the signal.
        picture: what is seen, to look at: float32 ``[*any grid, C]`` in [0, 1].

    Attributes:
        joint: whether the error needs the values of all samples at once, instead of being a sum over samples.
        everywhere: what is seen between the samples; None if that is unknown.
    """

    joint: ClassVar[bool]
    everywhere: Everywhere | None = None

    def __init__(self, targets: Tensor, weights: Tensor | None, estimate: Tensor, picture: Tensor) -> None:
        self.targets, self.weights, self.estimate, self.picture = targets, weights, estimate, picture

    @abstractmethod
    def error(self, values: Tensor) -> Tensor:
        """The mean squared error of values ``[*grid, C]`` against what is seen: a scalar, differentiable."""


class Pointwise(Observed):
    """Another target for each sample, and a weight.

    The estimate is the targets, clamped; a hidden sample has the value of the nearest one that is seen. In the picture
    hidden samples are grey.

    Args:
        targets: float32 ``[*grid, C]``; may lie outside [0, 1].
        weights: float32 ``[*grid, 1]``, 0 for a hidden sample; None if all are 1.
    """

    joint = False

    def __init__(self, targets: Tensor, weights: Tensor | None = None) -> None:
        inside = 0 <= float(targets.min()) <= float(targets.max()) <= 1
        estimate = picture = targets if inside else targets.clamp(0, 1)  # a long film is not copied
        if weights is not None:
            hidden = weights == 0
            picture = picture.masked_fill(hidden, UNSEEN)
            nearest = ndimage.distance_transform_edt(
                hidden[..., 0].numpy(), return_distances=False, return_indices=True
            )
            estimate = estimate[tuple(torch.from_numpy(each).long() for each in nearest)]
        super().__init__(targets, weights, estimate, picture)

    def error(self, values: Tensor) -> Tensor:
        """The weighted mean over samples and channels."""
        error = (values - self.targets.to(values)).square()
        if self.weights is None:
            return error.mean()
        weights = self.weights.to(values)
        return (error * weights).sum() / (weights.sum() * values.shape[-1])


class Mapped(Observed):
    """A linear map of all values, such as averages or projections.

    Args:
        map: gives the data from values ``[*grid, C]``; differentiable, on any device.
        data: float32, what is seen.
        estimate: see :class:`Observed`.
        picture: see :class:`Observed`.
    """

    joint = True

    def __init__(self, map: Callable[[Tensor], Tensor], data: Tensor, estimate: Tensor, picture: Tensor) -> None:
        super().__init__(estimate, None, estimate, picture)
        self.map, self.data = map, data

    def error(self, values: Tensor) -> Tensor:
        """The mean over the data."""
        return (self.map(values) - self.data.to(values)).square().mean()


@spec
class Observation(ABC):
    """What a run sees of its signals: a spec whose fields are the keys of the group ``observe``.

    The loss compares the reconstruction with what is seen. PSNR and SSIM compare it with the signal itself. A subclass
    writes :meth:`observe`.
    """

    sees_all: ClassVar[bool] = False
    """Whether a run sees the signal as it is."""

    @property
    def title(self) -> str:
        """One word or two for the name of a run."""
        return type(self).__name__.lower()

    @abstractmethod
    def observe(self, signal: Tensor, number: int) -> Observed:
        """What is seen of a signal: the same at every call.

        Args:
            signal: float32 ``[*grid, C]`` in [0, 1], on the CPU.
            number: of the signal in its set, from 0, so that each gets random draws of its own.

        Raises:
            PartinrError: the signal cannot be observed so.
        """

    def about(self) -> dict[str, Any]:
        """What must be equal to continue from a checkpoint: plain containers without paths of files."""
        reads = marked(type(self), READS)
        return {"kind": self.title, **{key: value for key, value in course(self).items() if key not in reads}}

    def describe(self) -> dict[str, Any]:
        """Additions to the regime's entry in ``run.json``: the best and the last point, and the fit to what is seen."""
        if self.sees_all:
            return {}
        best = field("psnr_best", "PSNR dB", "metrics.psnr_best", better="high", span="Best", short="best PSNR dB")
        step = field("step_best", "at step", "metrics.step_best", "fixed:0", span="Best", short="best at step")
        fit = field(FIT, "PSNR dB", f"metrics.{FIT}", span="Observed", short="observed PSNR dB")
        last = field("psnr", "PSNR dB", "metrics.psnr"), field("ssim", "SSIM", "metrics.ssim", "fixed:4")
        further = {**best, "heading": "best dB"}, step, {**fit, "heading": "observed dB"}
        return {
            "columns": [FIT],
            "files": {"weights": WEIGHTS, **FILES},
            "table": [
                {**best, "note": "Highest PSNR of the curve, against the signal itself"},
                {**step, "note": "Where the PSNR is highest"},
                {**fit, "note": "Of the fit to what is seen, at the end of training"},
            ],
            "summary": [*last, *further],
            "result": "{metrics.psnr|fixed:2} dB after {steps|fixed:0} steps, "
            "{metrics.psnr_best|fixed:2} dB at best, at step {metrics.step_best|fixed:0}",
        }


@spec
class Identity(Observation):
    """The signal as it is."""

    sees_all: ClassVar[bool] = True

    def observe(self, signal: Tensor, number: int) -> Pointwise:
        """The signal itself."""
        return Pointwise(signal)
