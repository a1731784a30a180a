"""From a checked configuration to the LightningModule of its regime: signals are read, partitions and models made."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from partinr.base.errors import PartinrError, named
from partinr.base.notes import print_note
from partinr.experiment import config
from partinr.model.album import Album
from partinr.model.capacity import settle_regions, widths
from partinr.model.inr import PiecewiseINR
from partinr.partition import LabelCache, Partition, make
from partinr.regimes import FitModule
from partinr.regimes.meta import LearnedStart
from partinr.runs.directory import START
from partinr.signals import SignalSet, Source


def fit_module(settings: config.Settings) -> FitModule:
    """The module of ``regime=fit``: of one signal, or of all of a set as one stack.

    Raises:
        PartinrError: a signal cannot be read or fitted, or the set holds some of its signals out; of a set the line
            names the signal.
    """
    start = None if settings.root.init is None else LearnedStart.load(Path(settings.root.init) / START)
    model, signals = _album(settings, start) if isinstance(settings.data, SignalSet) else _single(settings, start)
    return FitModule(
        model,
        signals,
        optimizer=settings.optimizer,
        schedule=settings.schedule,
        stop=settings.stop,
        settings=settings.regime,
        seed=settings.root.seed,
        start=start,
        start_steps=settings.root.init_steps,
    )


def _single(settings: config.Settings, start: LearnedStart | None) -> tuple[PiecewiseINR, Tensor]:
    """The model of one signal, and the signal."""
    signal = settings.data.load()
    return _model(settings, settings.data.title, signal, settings.data.source, start), signal


def _album(settings: config.Settings, start: LearnedStart | None) -> tuple[Album, list[Tensor]]:
    """The models of all signals of a set, and the signals."""
    data: SignalSet = settings.data
    check_all_fitted(data, "regime=fit")
    signals, members = [], {}
    for item in data.train():
        with named(item.name):
            signal = item.load()
            members[item.name] = _model(settings, item.name, signal, item.source, start)
        signals.append(signal)
    return Album(members), signals


def check_all_fitted(data: SignalSet, regime: str) -> None:
    """See that a set holds nothing out.

    Raises:
        PartinrError: it does.
    """
    if held_out := len(data.val()):
        raise PartinrError(
            f"data holds {held_out} of its signals out, and {regime} fits all that it is given; "
            "hold none out: leave data.val_… out, or set it to null or 0"
        )


def _model(
    settings: config.Settings, name: str, signal: Tensor, source: Source | None, start: LearnedStart | None
) -> PiecewiseINR:
    """A fresh model of one signal, or one that begins where it was learned to begin."""
    partition = _partition(settings, name, signal, source)
    model = PiecewiseINR(
        partition,
        settings.backbone,
        widths=widths(settings.root.capacity, settings.backbone, partition, signal),
        channels=signal.shape[-1],
        frame=settings.coords.frame,
        overlap=settings.root.overlap,
        global_network=settings.root.global_network,
        engine=settings.root.engine,
        seed=settings.root.seed,
    )
    if start is not None:
        start.begin(model)
    return model


def _partition(settings: config.Settings, name: str, signal: Tensor, source: Source | None) -> Partition:
    """The partition, made or found; its notice goes to whoever watches."""
    rule = settle_regions(settings.partition, settings.backbone, signal, _device_type(settings))
    partition = make(rule, signal, source, LabelCache.at(settings.root.cache_dir))
    if partition.notice is not None:
        print_note(f"{name}: {partition.notice}")
    return partition


def _device_type(settings: config.Settings) -> str:
    """Whether a run is one for a CPU or for a GPU."""
    wanted = settings.trainer.accelerator
    gpu = wanted in ("gpu", "cuda") or (wanted == "auto" and torch.cuda.is_available())
    return "cuda" if gpu else "cpu"
