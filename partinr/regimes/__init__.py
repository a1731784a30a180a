"""Regimes: how networks learn.

``fit``: ordinary learning of a signal or several; ``meta``: learning to learn; ``threshold``: steps to a fixed error.
"""

from partinr.regimes.fit.module import FitModule, FitSettings
from partinr.regimes.meta.module import Adaptation, MetaModule, MetaSettings
from partinr.regimes.threshold.module import ThresholdModule, ThresholdSettings, Trial
from partinr.training.clock import StopRule
from partinr.training.optimizer import Optimizer
from partinr.training.per_network import PerNetwork
from partinr.training.schedule import Constant, Cosine, Plateau, Schedule, WarmUp
from partinr.training.trainer import FitResult, make_trainer

__all__ = [
    "Adaptation",
    "Constant",
    "Cosine",
    "FitModule",
    "FitResult",
    "FitSettings",
    "MetaModule",
    "MetaSettings",
    "Optimizer",
    "PerNetwork",
    "Plateau",
    "Schedule",
    "StopRule",
    "ThresholdModule",
    "ThresholdSettings",
    "Trial",
    "WarmUp",
    "make_trainer",
]
