"""Regimes: how networks learn.

``fit``: ordinary learning of a signal or several; ``meta``: learning to learn; ``threshold``: steps to a fixed error.
"""

from partinr.regimes.base import StopRule
from partinr.regimes.fit import FitModule, FitSettings
from partinr.regimes.maml import Adaptation, MetaModule, MetaSettings
from partinr.regimes.optimizer import Optimizer
from partinr.regimes.per_network import PerNetwork
from partinr.regimes.schedule import Constant, Cosine, Plateau, Schedule, WarmUp
from partinr.regimes.threshold import ThresholdModule, ThresholdSettings, Trial
from partinr.regimes.training import FitResult, make_trainer

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
