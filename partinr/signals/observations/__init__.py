"""Observations: what a run sees of its signals, such as some pixels, noisy values, averages or projections."""

from partinr.signals.observations.base import Identity, Mapped, Observation, Observed, Pointwise
from partinr.signals.observations.downsample import Downsample
from partinr.signals.observations.mask import Mask
from partinr.signals.observations.noise import Noise
from partinr.signals.observations.radon import Radon

__all__ = [
    "Downsample",
    "Identity",
    "Mapped",
    "Mask",
    "Noise",
    "Observation",
    "Observed",
    "Pointwise",
    "Radon",
]
