"""What the callbacks share."""

from __future__ import annotations

from typing import Any, Protocol, cast

import lightning as L
from torch import Tensor

from partinr.run import RunDirectory


class Seconds(Protocol):
    """The clock of a regime."""

    training: float
    evaluation: float


class Model(Protocol):
    """What is fitted."""

    partition: Any
    parameter_count: int
    macs_per_sample: int

    def to_bytes(self) -> bytes:
        """The model as the content of a file."""
        ...


class Regime(Protocol):
    """What a callback may ask of a LightningModule of partinr."""

    model: Model
    signal: Tensor
    seed: int
    step: int
    curve: list[dict[str, float]]
    clock: Seconds
    stop: Any
    stop_reason: str | None
    failure: str | None
    best_psnr: float
    points_per_step: int
    frozen: Tensor

    @property
    def seconds_saved(self) -> float | None:
        """Seconds of training saved by frozen regions; None if none is."""
        ...

    def reconstruction(self) -> Tensor:
        """The signal as it is fitted now, ``[*grid, C]``."""
        ...


def is_number(value: object) -> bool:
    """Whether a value of the config is a number; True and False are none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def regime(module: L.LightningModule) -> Regime:
    """The module as what callbacks know of it."""
    return cast(Regime, module)


class RunCallback(L.Callback):
    """A callback that writes into a run directory, which it is given before the fit starts.

    Of several processes only the first writes (``trainer.is_global_zero``). What all of them have to do together is
    done when the first one says so (:meth:`agreed`): each has a clock of its own.
    """

    _run: RunDirectory | None = None

    def bind(self, run: RunDirectory) -> None:
        """Say where to write."""
        self._run = run

    def agreed(self, trainer: L.Trainer, due: bool) -> bool:
        """What the first process thinks; all have to ask."""
        return trainer.strategy.broadcast(due)

    @property
    def run(self) -> RunDirectory:
        """Where to write."""
        assert self._run is not None, "bind() comes before the fit"
        return self._run
