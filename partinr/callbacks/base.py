"""The base of the callbacks, and the protocol through which they see a regime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import lightning as L
import torch
from torch import Tensor

from partinr.runs.directory import RunDirectory


class Seconds(Protocol):
    """The clock of a regime."""

    training: float
    evaluation: float
    training_cpu: float
    evaluation_cpu: float

    @property
    def spent(self) -> float:
        """Seconds of training that count against the limit of a run."""


class Machine(Protocol):
    """What else ran on the machine."""

    def facts(self) -> dict[str, Any]:
        """Entries of ``machine`` in ``run.json``; empty before the training."""


class Kind(Protocol):
    """The pictures and files of a kind of signal (:class:`partinr.signals.kind.SignalKind`).

    Attributes:
        drawn: whether runs keep pictures of such signals.
        kept: ending of the files that a run keeps of signal and reconstruction; empty for none.
    """

    drawn: bool
    kept: str

    def picture(self, values: Any) -> Any:
        """The signal as ``[H, W, 1 or 3]`` in [0, 1]."""

    def partition_picture(self, labels: Any, values: Any) -> Any:
        """The picture of the signal with the borders of its regions."""

    def error_picture(self, signal: Any, reconstruction: Any) -> Any:
        """The error of a reconstruction."""

    def write(self, path: Path, values: Iterable[Any], shape: Sequence[int], depth: Any) -> None:
        """Write a signal into a file."""


class Signal(Protocol):
    """A signal that gets pictures.

    Attributes:
        name: name of the image if there are several; empty for the only signal of a run.
        signal: ``[*grid, C]`` in [0, 1].
        partition: the partition of the signal.
        kind: the kind of the signal.
        observation: what is seen of it, likewise; None if all is seen.
    """

    name: str
    signal: Tensor
    partition: Any
    kind: Kind
    observation: Tensor | None


class Adaptation(Protocol):
    """How inner steps fit a held-out signal, step by step.

    Attributes:
        name: name of the signal.
        signal: ``[*grid, C]`` in [0, 1].
        steps: number of inner steps for each entry of ``values``.
        values: the fitted signal after each of ``steps``, ``[*grid, C]``.
        psnr: PSNR of each entry of ``values`` [dB].
        kind: the kind of the signal.
    """

    name: str
    signal: Tensor
    steps: Sequence[int]
    values: Sequence[Tensor]
    psnr: Sequence[float]
    kind: Kind


class Regime(Protocol):
    """The attributes of partinr's LightningModules that callbacks may use.

    Attributes:
        curve: one row per evaluation, with the columns of :data:`partinr.runs.layout.CURVE_COLUMNS` and further ones.
        image_curve: for several images one row per evaluation and image (:data:`partinr.runs.layout.IMAGE_COLUMNS`);
            else empty.
        ended_by: one line about the callback that ended the run, or None.
        interrupted: whether a signal stops the run.
        begun: facts about how the run began, as entries of ``run.json``.
    """

    seed: int
    step: int
    curve: list[dict[str, float]]
    image_curve: list[dict[str, Any]]
    clock: Seconds
    machine: Machine
    stop: Any
    stop_reason: str | None
    ended_by: str | None
    interrupted: bool
    failure: str | None
    best_psnr: float
    points_per_step: int
    begun: Mapping[str, Any]
    device: torch.device

    @property
    def title(self) -> str:
        """A few words for the progress bar about what is trained."""

    @property
    def views(self) -> Sequence[Signal]:
        """The signals that get pictures."""

    def reconstructions(self) -> Sequence[Tensor]:
        """The current reconstructions of :attr:`views`, ``[*grid, C]`` each. All processes must call this."""

    def adaptations(self) -> Sequence[Adaptation]:
        """The current fits of held-out signals, for regimes that draw a sheet of pictures."""

    def tables(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Rows of further CSV files, by the name of the file."""

    def weights(self) -> Iterable[tuple[str, bytes]]:
        """The files to keep: for each, the name of a signal or an empty name, and the content."""

    def best(self) -> Iterable[tuple[str, bytes]]:
        """The same with the weights of the best point of the curve, for regimes that name a file for them."""

    def best_reconstructions(self) -> Sequence[Tensor]:
        """The reconstructions of :attr:`views` at that point; by this process alone."""

    def divides(self, devices: int) -> str | None:
        """What so many processes divide among each other, in one word; None for one process."""

    def facts(self) -> dict[str, Any]:
        """The regime's entries in ``run.json``.

        ``seconds`` joins the clocks there, ``metrics`` joins the metrics, and ``signal`` gets the signal's name.
        """

    def final_metrics(self) -> Mapping[str, Any]:
        """Further entries of ``metrics`` that take time to compute; used at the end of the run only."""


def is_number(value: object) -> bool:
    """Whether a value of the config is a number, other than True and False."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def regime(module: L.LightningModule) -> Regime:
    """The module, typed as callbacks see it."""
    return cast(Regime, module)


class RunCallback(L.Callback):
    """A callback that writes into a run directory, which :meth:`bind` sets before the fit starts.

    Only the first of several processes writes (``trainer.is_global_zero``). The first process also decides when all act
    together (:meth:`agreed`), since each has its own clock.
    """

    _run: RunDirectory | None = None

    def bind(self, run: RunDirectory) -> None:
        """Set the run directory."""
        self._run = run

    def agreed(self, trainer: L.Trainer, due: bool) -> bool:
        """The first process's value of ``due``. Every process has to call this."""
        return trainer.strategy.broadcast(due)

    @property
    def run(self) -> RunDirectory:
        """The run directory."""
        assert self._run is not None, "bind() comes before the fit"
        return self._run
