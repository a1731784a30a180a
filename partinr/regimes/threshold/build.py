"""From a checked configuration to the LightningModule of ``regime=threshold``: signals and models are made."""

from __future__ import annotations

import hashlib

from partinr.base.errors import PartinrError, named
from partinr.experiment import config
from partinr.model.album import Album
from partinr.model.inr import PiecewiseINR
from partinr.partition import make
from partinr.regimes import ThresholdModule, ThresholdSettings, Trial
from partinr.regimes.fit.build import check_all_fitted
from partinr.signals import EdgedImage, SignalSet, StepsData


def threshold_module(settings: config.Settings) -> ThresholdModule:
    """The module of a study: every draw of every number of borders, or every image of a set, all as one stack.

    Raises:
        PartinrError: settings do not go together, or an image cannot be read or has no place in the study.
    """
    regime: ThresholdSettings = settings.regime
    _check(settings)
    trials = _of_steps(settings) if isinstance(settings.data, StepsData) else _of_images(settings)
    first = trials[0].signal
    shape = first.values.shape[:-1] if isinstance(first, EdgedImage) else settings.data.shape
    grid = first.on_grid(shape)
    # One for all: it follows from the grid alone.
    partition = make(settings.partition, grid)
    members = {
        trial.name: PiecewiseINR(
            partition,
            settings.backbone,
            channels=grid.shape[-1],
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


def _of_steps(settings: config.Settings) -> list[Trial]:
    """Trials of random step functions."""
    data: StepsData = settings.data
    return [
        Trial(item.name, item.signal(), item.draw, network, (settings.root.seed, *item.seed))
        for item in data.train()
        for network in range(settings.regime.networks)
    ]


def _of_images(settings: config.Settings) -> list[Trial]:
    """Trials of images.

    Raises:
        PartinrError: one of them cannot be read, has no edge, or another shape than the first; or some are held out.
    """
    data: SignalSet = settings.data
    check_all_fitted(data, "regime=threshold")
    trials: list[Trial] = []
    shape: list[int] = []
    for item in data.train():
        with named(item.name):
            values = item.load()
            shape = shape or [*values.shape]
            if values.ndim != 3:
                raise PartinrError("regime=threshold looks for edges in images, and this is none; choose other data")
            if [*values.shape] != shape:
                raise PartinrError(
                    f"it has the shape {[*values.shape]}, and the first image {shape}; regime=threshold cuts all "
                    "alike: give data.size, and images with equally many channels"
                )
            image = EdgedImage(values)
            if not image.boundaries:
                raise PartinrError("no edge is found, and steps are set against the length of edges; leave it out")
        # Of its name: it takes the same steps whatever other images there are.
        number = int.from_bytes(hashlib.sha256(item.name.encode()).digest()[:8], "big")
        trials += [
            Trial(item.name, image, 0, network, (settings.root.seed, number))
            for network in range(settings.regime.networks)
        ]
    return trials


def _check(settings: config.Settings) -> None:
    """See that what several groups say goes together.

    Raises:
        PartinrError: it does not.
    """
    if not isinstance(settings.data, SignalSet):
        raise PartinrError(
            "regime=threshold sets the steps of many signals against their borders or edges, and this data is one; "
            "choose data=steps or data=folder"
        )
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
