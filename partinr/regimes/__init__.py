"""Regimes: how networks learn.

``fit``: ordinary training on one signal or several; ``meta``: learning to learn; ``threshold``: count the steps to a
fixed error.
"""

from typing import TYPE_CHECKING

from partinr.base import later

if TYPE_CHECKING:
    from partinr.regimes.base import RegimeSettings, RunContext
    from partinr.regimes.fit.gated import GatedFit
    from partinr.regimes.fit.module import FitModule
    from partinr.regimes.fit.settings import FitSettings
    from partinr.regimes.meta.module import Adaptation, MetaModule
    from partinr.regimes.meta.settings import MetaSettings
    from partinr.regimes.threshold.module import ThresholdModule
    from partinr.regimes.threshold.settings import ThresholdSettings
    from partinr.regimes.threshold.trials import Trial
    from partinr.training.clock import StopRule
    from partinr.training.optimizer import Optimizer
    from partinr.training.per_network import PerNetwork
    from partinr.training.result import FitResult
    from partinr.training.schedule import Constant, Cosine, Plateau, Schedule, WarmUp
    from partinr.training.trainer import make_trainer

__all__ = [
    "Adaptation",
    "Constant",
    "Cosine",
    "FitModule",
    "FitResult",
    "FitSettings",
    "GatedFit",
    "MetaModule",
    "MetaSettings",
    "Optimizer",
    "PerNetwork",
    "Plateau",
    "RegimeSettings",
    "RunContext",
    "Schedule",
    "StopRule",
    "ThresholdModule",
    "ThresholdSettings",
    "Trial",
    "WarmUp",
    "make_trainer",
]

__getattr__, __dir__ = later.exports(
    __name__,
    {
        "Adaptation": "partinr.regimes.meta.module",
        "Constant": "partinr.training.schedule",
        "Cosine": "partinr.training.schedule",
        "FitModule": "partinr.regimes.fit.module",
        "FitResult": "partinr.training.result",
        "FitSettings": "partinr.regimes.fit.settings",
        "GatedFit": "partinr.regimes.fit.gated",
        "MetaModule": "partinr.regimes.meta.module",
        "MetaSettings": "partinr.regimes.meta.settings",
        "Optimizer": "partinr.training.optimizer",
        "PerNetwork": "partinr.training.per_network",
        "Plateau": "partinr.training.schedule",
        "RegimeSettings": "partinr.regimes.base",
        "RunContext": "partinr.regimes.base",
        "Schedule": "partinr.training.schedule",
        "StopRule": "partinr.training.clock",
        "ThresholdModule": "partinr.regimes.threshold.module",
        "ThresholdSettings": "partinr.regimes.threshold.settings",
        "Trial": "partinr.regimes.threshold.trials",
        "WarmUp": "partinr.training.schedule",
        "make_trainer": "partinr.training.trainer",
    },
)
