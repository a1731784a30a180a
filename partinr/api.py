"""What a notebook calls: fits, runs and models."""

from __future__ import annotations

import signal as signals
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from partinr import regimes
from partinr.base.environment import door
from partinr.base.errors import PartinrError, named
from partinr.base.later import Later
from partinr.base.text import normal
from partinr.model.inr import PiecewiseINR
from partinr.model.signal_stack import SignalStack
from partinr.partition import Live
from partinr.pictures.notebook import SIDE, Shown, card, draw_curve, sparkline
from partinr.report.run_table import RunTable, pandas
from partinr.report.thumbnails import PictureStore
from partinr.runs.directory import RunDirectory
from partinr.runs.layout import BEST, ERROR, IMAGE, MANIFEST, OBSERVATION, PARTITION, RECONSTRUCTION, WEIGHTS, of_image
from partinr.runs.records import RunRecord, collect
from partinr.signals import Given, signal_from

if TYPE_CHECKING:
    import lightning as L
    from matplotlib.axes import Axes

    from partinr.callbacks import progress as bars
    from partinr.partition import Gate
    from partinr.regimes import FitResult, FitSettings, Optimizer, Schedule
    from partinr.regimes.meta.learned import LearnedStart
    from partinr.report.curves import Metric
    from partinr.runs.records import Axis
    from partinr.samplers import Sampler
    from partinr.signals.observations import Observation
    from partinr.training import guests
    from partinr.training import trainer as trainers
    from partinr.training.clock import Counted
    from partinr.training.contract import ShardBy
    from partinr.training.result import Model
else:
    # Lightning takes seconds to import, and reading a model does not need it.
    bars = Later("partinr.callbacks.progress")
    guests = Later("partinr.training.guests")
    trainers = Later("partinr.training.trainer")

_MOST_NAMES = 12
"""Limit of image names in a message."""

_PICTURES = {
    "image": IMAGE,
    "seen": OBSERVATION,
    "regions": PARTITION,
    "reconstruction": RECONSTRUCTION,
    "best reconstruction": f"{BEST}.png",
    "error": ERROR,
}
"""Pictures of a run by their captions."""

_BYTES = 40_000
"""Limit of a picture in a notebook."""

# -- fits -----------------------------------------------------------------------------------------------------------


@door
def fit(
    model: Model,
    signal: Given | Sequence[Given],
    *,
    steps: int | None = 1500,
    lr: float = 1e-4,
    seconds: float | None = None,
    clock: Counted = "wall",
    target_psnr: float | None = None,
    optimizer: str | Optimizer = "adam",
    schedule: Schedule | None = None,
    settings: FitSettings | None = None,
    seed: int = 0,
    start: LearnedStart | None = None,
    start_steps: int = 0,
    callbacks: L.Callback | Sequence[L.Callback] = (),
    progress: bool = True,
    trainer: L.Trainer | None = None,
    ckpt_path: str | Path | None = None,
    shard: ShardBy = "auto",
    observe: Observation | None = None,
    gate: Gate | None = None,
    sampler: Sampler | None = None,
    live: Live | None = None,
) -> FitResult[Model]:
    """Fit a model to a signal, or an album to several signals.

    Args:
        model: trained in place.
        signal: a file of any kind of signal, such as a picture or a sound; or a NumPy array or tensor ``[*grid, C]``,
            where C = 1 may be left out: floats in [0, 1], or unsigned integers, of which the largest is 1. For an album
            a list with one per image, in the order of its names.
        steps: limit of optimiser steps.
        lr: learning rate if ``optimizer`` is a name.
        seconds: limit of training time.
        clock: the seconds that are limited: ``wall``, or ``cpu``, those of all threads together.
        target_psnr: stop when the PSNR of an evaluation reaches this value in dB; for an album the mean over images.
        optimizer: name of an optimiser, or an optimiser with options.
        schedule: schedule of the learning rate; constant by default.
        settings: loss, points per step, evaluations.
        seed: seed for drawing points; the model has its own seed.
        start: the learned initialisation that the model began with, see :meth:`LearnedStart.begin
            <partinr.regimes.meta.LearnedStart.begin>`.
        start_steps: number of first steps that are inner steps with the learning rates of ``start``.
        callbacks: Lightning callbacks.
        progress: whether to show a progress bar on a terminal or in a notebook.
        trainer: a Lightning Trainer, which has callbacks of its own; by default one on the best available device.
        ckpt_path: continue from this checkpoint.
        shard: what several devices divide among each other: ``regions``, or the ``samples`` of every region; ``auto``
            takes regions if there are at least as many networks as devices and no two share samples.
        observe: what the loss sees of the signal (:mod:`partinr.signals.observations`); None for all of it. PSNR and
            SSIM are against the signal itself. Make partition and model from ``observe.observe(signal, 0).estimate``,
            as they would else know what the loss does not see.
        gate: moves the regions of the model's partition while it is trained, as ``rule.gate(partition)`` of
            :class:`partinr.partition.Experts` or :class:`partinr.partition.SoftCells` gives it.
        sampler: which samples the steps see (:mod:`partinr.samplers`); None for all of them, or for
            ``settings.points_per_step`` drawn uniformly.
        live: changes partitions during training, such as :class:`partinr.partition.Adaptive`; None to leave them. The
            result has another model then, since the one that is given has the partitions of the beginning.

    Returns:
        the result, even if the fit failed (see :attr:`FitResult.failure`).

    Raises:
        PartinrError: the input is invalid, or a callback cannot work; raised before training.
    """
    if not isinstance(model, SignalStack):
        raise PartinrError(
            f"the model is of type {type(model).__name__}; give a PiecewiseINR or Album, then the signal"
        )
    own: dict[str, L.Callback] = guests.given(callbacks)
    if own and trainer is not None:
        raise PartinrError("callbacks and trainer exclude each other; give make_trainer(callbacks=…) the callbacks")
    made = regimes.FitModule if gate is None else partial(regimes.GatedFit, gate=gate)
    module = made(
        model,
        _signals(model, signal),
        optimizer=regimes.Optimizer(name=optimizer, lr=lr) if isinstance(optimizer, str) else optimizer,
        schedule=schedule if schedule is not None else regimes.Constant(),
        stop=regimes.StopRule(max_steps=steps, max_seconds=seconds, target_psnr=target_psnr, clock=clock),
        settings=settings if settings is not None else regimes.FitSettings(),
        seed=seed,
        start=start,
        start_steps=start_steps,
        observe=observe,
        sampler=sampler,
        lives=None if live is None else [live] * len(model.names),
    )
    module.shard_by = shard
    if trainer is None:
        shown: list[L.Callback] = [bars.Progress()] if progress else []
        trainer = trainers.make_trainer(callbacks=[*guests.hosted(own), *shown])
    with _interruptible(), guests.guests_named(own, module):
        return trainers.run_fit(module, trainer, ckpt_path)


def _signals(model: SignalStack, given: Given | Sequence[Given]) -> list[Any]:
    """The signals of a model as tensors.

    Raises:
        PartinrError: one is invalid.
    """
    several = list(given) if isinstance(given, (list, tuple)) else [given]
    names = model.names if len(model.names) == len(several) else [""] * len(several)
    found = []
    for name, each in zip(names, several, strict=True):
        with named(name):
            found.append(signal_from(each, model.in_features))
    return found


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C and a notebook's stop button interrupt a fit as they interrupt other code.

    Lightning would end the process, and ignore further interrupts.
    """
    handler = signals.getsignal(signals.SIGINT)
    try:
        yield
    except SystemExit as end:
        if not isinstance(end.__context__, KeyboardInterrupt):
            raise
        signals.signal(signals.SIGINT, handler)
        raise KeyboardInterrupt from None


# -- runs -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LoadedRun:
    """The content of a run directory.

    Attributes:
        path: path of the run directory.
        config: the composed configuration, plain containers.
        manifest: the content of ``run.json``.
        curve: one row per evaluation, see :data:`partinr.runs.layout.CURVE_COLUMNS`.
    """

    path: Path
    config: dict[str, Any]
    manifest: dict[str, Any]
    curve: list[dict[str, float]]

    @property
    def status(self) -> str:
        """``running``, ``completed``, ``failed`` or ``interrupted``."""
        return str(self.manifest["status"])

    @property
    def psnr(self) -> float | None:
        """PSNR in dB at the last evaluation; None before the first."""
        return self.curve[-1]["psnr"] if self.curve else None

    @property
    def seconds(self) -> float:
        """Seconds of training up to the last evaluation."""
        return self.curve[-1]["seconds"] if self.curve else 0.0

    def to_pandas(self) -> Any:
        """The curve as a pandas DataFrame, one row per evaluation.

        Raises:
            PartinrError: pandas is not installed.
        """
        return pandas().DataFrame(self.curve)

    def plot(
        self, metric: Metric = "psnr", axis: Axis = "step", ax: Axes | None = None, label: str | None = None
    ) -> Axes:
        """Draw the curve, see :meth:`FitResult.plot <partinr.FitResult.plot>`."""
        return draw_curve(self.curve, metric, axis, ax, label)

    def _repr_html_(self) -> str:
        record = RunRecord(self.path, "completed", manifest=self.manifest, config=self.config)
        shape, leading = record.numbers("signal.shape"), record.subject.leading
        quality = self.curve[-1].get(leading.key) if self.curve else None
        facts = {
            "state": self.status,
            "signal": record.at("signal.name"),
            "shape": "×".join(f"{n:.0f}" for n in shape) or None,
            "regions": record.regions,
            "parameters": f"{record.number('parameters'):,.0f}",
            leading.name: None if quality is None else leading.written(quality),
            "training": f"{self.seconds:.1f} s",
        }
        store, name = PictureStore(len(_PICTURES), len(_PICTURES) * _BYTES), next(iter(record.images), None)
        files = {caption: store.add(self.path / of_image(name, file), SIDE) for caption, file in _PICTURES.items()}
        word = record.subject.words[0]
        pictures = [
            Shown(word if caption == "image" else caption, store.uris[file["key"]])
            for caption, file in files.items()
            if file is not None
        ]
        return card(record.name, facts, [*pictures, *([sparkline(self.curve)] if self.curve else [])])

    def model(self, image: str | None = None) -> PiecewiseINR:
        """The fitted model.

        Args:
            image: name of one image of a run with several.

        Raises:
            PartinrError: the run has no weights yet, they are damaged, the image is unknown, or the run learned an
                initialisation.
        """
        return PiecewiseINR.load(weights_of(RunDirectory(self.path), image))


def load_run(path: str | Path) -> LoadedRun:
    """Read a run directory.

    Raises:
        PartinrError: it is not a run directory, or a file is damaged.
    """
    run = RunDirectory.open(path)
    return LoadedRun(run.path, run.config(), run.manifest(), run.curve())


def load_runs(*paths: str | Path) -> Runs:
    """Read all runs at or below some paths.

    Args:
        paths: run directories, sweeps, or folders of them.

    Raises:
        PartinrError: a path does not exist, or there is no run.
    """
    if not paths:
        raise PartinrError("load_runs needs a path; give a run, a sweep or a folder of runs, such as outputs")
    return Runs(tuple(collect(paths)))


class Runs(RunTable):
    """Several runs, as :func:`load_runs` reads them. Each item is a :class:`LoadedRun`."""

    def __getitem__(self, number: int) -> LoadedRun:
        return load_run(self.records[number].path)

    def __iter__(self) -> Iterator[LoadedRun]:
        return (self[number] for number in range(len(self)))


# -- models ---------------------------------------------------------------------------------------------------------


def load(path: str | Path, image: str | None = None) -> PiecewiseINR:
    """Read a fitted model: an ``inr.safetensors``, or the run directory that holds one.

    Args:
        path: path of the file or directory.
        image: name of one image of a run with several.

    Raises:
        PartinrError: there is no model, it is damaged, the image is unknown, or the run learned an initialisation.
    """
    path = Path(path)
    if (path / MANIFEST).is_file():
        return PiecewiseINR.load(weights_of(RunDirectory.open(path), image))
    return PiecewiseINR.load(path / WEIGHTS if path.is_dir() else path)


def weights_of(run: RunDirectory, image: str | None) -> Path:
    """The file with the weights of a run, or of one of its images.

    Raises:
        PartinrError: ``image`` is missing or unknown for a run of several images, given for a run of one signal, or the
            run learned an initialisation.
    """
    run.check_allows("render")
    names = run.images()
    if image is None and not names:
        return run.file(WEIGHTS)
    if not names:
        raise PartinrError(f"{run.path} fitted one image; leave out the image {image!r}")
    forms = {normal(name): name for name in names}
    if image is None or normal(image) not in forms:
        shown = ", ".join(names[:_MOST_NAMES]) + (" …" if len(names) > _MOST_NAMES else "")
        missing = "" if image is None else f", and {image!r} is none of them"
        raise PartinrError(
            f"{run.path} fitted {len(names)} images{missing}; choose one with --image NAME, in Python with "
            f"image=NAME: {shown}"
        )
    return run.file(of_image(forms[normal(image)], WEIGHTS))
