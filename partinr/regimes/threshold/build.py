"""Builds the module of a study of steps from the configuration of a run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from partinr.base.errors import PartinrError, named
from partinr.base.text import utf8
from partinr.model.album import Album
from partinr.partition import make
from partinr.regimes.base import RunContext
from partinr.regimes.threshold.module import ThresholdModule
from partinr.regimes.threshold.trials import Trial
from partinr.signals import EdgedImage, StepsData
from partinr.signals.identity import SignalIdentity

if TYPE_CHECKING:
    from partinr.regimes.threshold.settings import ThresholdSettings


def threshold_module(settings: ThresholdSettings, context: RunContext) -> ThresholdModule:
    """The module of a study: all step functions, or all images of a set, as one stack.

    Raises:
        PartinrError: settings contradict each other, or an image cannot be read or used in the study.
    """
    _check(context)
    data = context.data
    if isinstance(data, StepsData):
        trials, shape, identities = _of_steps(data, settings, context.seed), data.shape, None
    else:
        trials, shape, identities = _of_images(settings, context)
    grid = trials[0].signal.on_grid(shape)
    # All trials share one partition, which follows from the grid alone.
    partition = make(context.partition, grid)
    members = {trial.name: context.model(partition, grid, trial.init_seed) for trial in trials}
    return ThresholdModule(Album(members), trials, settings=settings, identities=identities, **context.training())


def _of_steps(data: StepsData, settings: ThresholdSettings, seed: int) -> list[Trial]:
    """Trials of random step functions."""
    return [
        Trial(item.name, item.signal(), item.draw, network, (seed, *item.seed))
        for item in data.train()
        for network in range(settings.networks)
    ]


def _of_images(
    settings: ThresholdSettings, context: RunContext
) -> tuple[list[Trial], list[int], dict[str, SignalIdentity]]:
    """Trials of images, their common grid, and the identities of the images.

    Raises:
        PartinrError: an image cannot be read, has no edge, or differs in shape from the first; or some are held out.
    """
    context.check_all_fitted("regime=threshold")
    trials: list[Trial] = []
    identities: dict[str, SignalIdentity] = {}
    shape: list[int] = []
    for item in context.data.train():
        with named(item.name):
            values, identities[item.name], *_ = context.read(item)
            shape = shape or [*values.shape]
            if values.ndim != 3:
                raise PartinrError("regime=threshold looks for edges in images, and this is none; choose other data")
            if [*values.shape] != shape:
                raise PartinrError(
                    f"it has the shape {[*values.shape]}, and the first image {shape}; regime=threshold cuts all "
                    "alike: give data.size, and data.channels=grey or rgb"
                )
            image = EdgedImage(values)
            if not image.boundaries:
                raise PartinrError("no edge is found, and steps are set against the length of edges; leave it out")
        # The seed follows from the name, so the steps do not depend on the other images.
        number = int.from_bytes(hashlib.sha256(utf8(item.name)).digest()[:8], "big")
        trials += [Trial(item.name, image, 0, network, (context.seed, number)) for network in range(settings.networks)]
    return trials, shape[:-1], identities


def _check(context: RunContext) -> None:
    """Check that the groups of the configuration are compatible.

    Raises:
        PartinrError: they are not.
    """
    if context.data.alone:
        raise PartinrError(
            "regime=threshold sets the steps of many signals against their borders or edges, and this data is one; "
            "choose data=steps or data=folder"
        )
    if not context.partition.free:
        raise PartinrError(
            f"partition={context.partition.title} follows the signal, and regime=threshold cuts all signals alike; "
            "choose partition=none or partition=grid"
        )
    if not context.start.random:
        raise PartinrError("init begins an ordinary fit, regime=fit; leave it out")
    if context.capacity != "equal":
        raise PartinrError(f"capacity={context.capacity}: equal parts have networks of one width; leave capacity=equal")
    if context.precision == "16-mixed":
        raise PartinrError(
            "trainer.precision=16-mixed leaves out steps, which are what is counted; choose 32-true or bf16-mixed"
        )
