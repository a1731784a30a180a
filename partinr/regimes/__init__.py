"""Regimes: how networks learn. ``fit``, ordinary learning of a signal, or of several as one stack."""

from partinr.regimes.base import StopRule
from partinr.regimes.fit import FitModule, FitResult, FitSettings, make_trainer
from partinr.regimes.optimizer import Optimizer
from partinr.regimes.schedule import Constant, Cosine, Plateau, Schedule, WarmUp

__all__ = [
    "Constant",
    "Cosine",
    "FitModule",
    "FitResult",
    "FitSettings",
    "Optimizer",
    "Plateau",
    "Schedule",
    "StopRule",
    "WarmUp",
    "make_trainer",
]
