"""From a checked configuration to the LightningModule of ``regime=threshold``: signals are drawn, models made."""

from __future__ import annotations

from partinr import config
from partinr.album import Album
from partinr.data import StepsData
from partinr.errors import PartinrError
from partinr.inr import PiecewiseINR
from partinr.regimes import ThresholdModule, ThresholdSettings, Trial


def threshold_module(settings: config.Settings) -> ThresholdModule:
    """The module of a study: every draw of every number of borders, all as one stack.

    Raises:
        PartinrError: settings do not go together.
    """
    regime: ThresholdSettings = settings.regime
    _check(settings)
    data: StepsData = settings.data
    trials = [
        Trial(f"{item.name}-{network}", item.signal(), item.draw, network, (settings.root.seed, *item.seed))
        for item in data.train()
        for network in range(regime.networks)
    ]
    # One for all: it follows from the grid alone.
    partition = settings.partition(trials[0].signal.on_grid(data.shape))
    members = {
        trial.name: PiecewiseINR(
            partition,
            settings.backbone,
            channels=1,
            frame=settings.coords.frame,
            engine=settings.root.engine,
            seed=trial.init_seed,
        )
        for trial in trials
    }
    return ThresholdModule(
        Album(members),
        trials,
        optimizer=settings.optimizer,
        schedule=settings.schedule,
        stop=settings.stop,
        settings=regime,
        seed=settings.root.seed,
    )


def _check(settings: config.Settings) -> None:
    """See that what several groups say goes together.

    Raises:
        PartinrError: it does not.
    """
    if not isinstance(settings.data, StepsData):
        raise PartinrError("regime=threshold counts the borders of what it fits; choose data=steps")
    if not settings.partition.free:
        raise PartinrError(
            f"partition={settings.partition.title} follows the signal, and regime=threshold cuts all signals alike; "
            "choose partition=none or partition=grid"
        )
    if settings.root.init is not None or settings.root.init_steps:
        raise PartinrError("init begins an ordinary fit, regime=fit; leave it out")
    if settings.root.capacity != "equal":
        raise PartinrError(
            f"capacity={settings.root.capacity}: equal parts have networks of one width; leave capacity=equal"
        )
    if settings.trainer.precision == "16-mixed":
        raise PartinrError(
            "trainer.precision=16-mixed leaves out steps, which are what is counted; choose 32-true or bf16-mixed"
        )
