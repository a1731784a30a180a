"""Learning to learn: an initialisation from which a few steps fit any signal (Finn et al., "MAML", 2017).

Pure functions on stacked parameters, without Lightning and without config: B tasks of R regions are B·R networks in one
pass, and each sees the samples of its own region only.
"""

from typing import TYPE_CHECKING

from partinr.base import later

if TYPE_CHECKING:
    from partinr.regimes.meta.inner import adapt
    from partinr.regimes.meta.inner_rates import RATE_KINDS, InnerRates, RateKind
    from partinr.regimes.meta.learned import Algorithm, LearnedStart, outer_gradients
    from partinr.regimes.meta.selftest import check_meta_gradient
    from partinr.regimes.meta.tasks import Context, InnerLoss, TaskBatch

__all__ = [
    "RATE_KINDS",
    "Algorithm",
    "Context",
    "InnerLoss",
    "InnerRates",
    "LearnedStart",
    "RateKind",
    "TaskBatch",
    "adapt",
    "check_meta_gradient",
    "outer_gradients",
]

__getattr__, __dir__ = later.exports(
    __name__,
    {
        "Algorithm": "partinr.regimes.meta.learned",
        "Context": "partinr.regimes.meta.tasks",
        "InnerLoss": "partinr.regimes.meta.tasks",
        "InnerRates": "partinr.regimes.meta.inner_rates",
        "LearnedStart": "partinr.regimes.meta.learned",
        "RATE_KINDS": "partinr.regimes.meta.inner_rates",
        "RateKind": "partinr.regimes.meta.inner_rates",
        "TaskBatch": "partinr.regimes.meta.tasks",
        "adapt": "partinr.regimes.meta.inner",
        "check_meta_gradient": "partinr.regimes.meta.selftest",
        "outer_gradients": "partinr.regimes.meta.learned",
    },
)
