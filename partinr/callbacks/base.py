"""What the callbacks share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

import lightning as L
import torch
from torch import Tensor

from partinr.runs.directory import RunDirectory


class Seconds(Protocol):
    """The clock of a regime."""

    training: float
    evaluation: float


class Signal(Protocol):
    """One signal that is looked at."""

    @property
    def name(self) -> str | None:
        """The image's, where there are several; None for the one signal of a run."""
        ...

    @property
    def signal(self) -> Tensor:
        """``[*grid, C]`` in [0, 1]."""
        ...

    @property
    def partition(self) -> Any:
        """Its partition."""
        ...


class Adaptation(Protocol):
    """How a held-out signal is fitted from what is learned, step by step."""

    @property
    def name(self) -> str:
        """Of the signal."""
        ...

    @property
    def signal(self) -> Tensor:
        """``[*grid, C]`` in [0, 1]."""
        ...

    @property
    def steps(self) -> Sequence[int]:
        """Inner steps behind each of the values."""
        ...

    @property
    def values(self) -> Sequence[Tensor]:
        """``[*grid, C]`` each."""
        ...

    @property
    def psnr(self) -> Sequence[float]:
        """Of each of them, in dB."""
        ...


class Regime(Protocol):
    """What a callback may ask of a LightningModule of partinr.

    Attributes:
        learns: ``signals``, which it fits, an ``initialisation``, from which others are fitted, or how many ``steps``
            signals take.
        curve: a row an evaluation, with the columns of :data:`partinr.runs.directory.CURVE_COLUMNS`, and further ones.
        image_curve: where there are several images, a row an evaluation and image
            (:data:`partinr.runs.directory.IMAGE_COLUMNS`); else empty.
    """

    learns: str
    seed: int
    step: int
    curve: list[dict[str, float]]
    image_curve: list[dict[str, Any]]
    clock: Seconds
    stop: Any
    stop_reason: str | None
    failure: str | None
    best_psnr: float
    points_per_step: int
    device: torch.device

    @property
    def title(self) -> str:
        """What is trained, in a few words, for the progress bar."""
        ...

    @property
    def views(self) -> Sequence[Signal]:
        """The signals that there are pictures of."""
        ...

    def reconstructions(self) -> Sequence[Tensor]:
        """Those signals as they are fitted now, ``[*grid, C]`` each; all processes have a part in it."""
        ...

    def adaptations(self) -> Sequence[Adaptation]:
        """Of a regime that learns an initialisation: what it makes of signals that are held out."""
        ...

    def steps_rows(self) -> Sequence[Mapping[str, float]]:
        """Of a study of steps: a row a trial (:data:`partinr.runs.directory.STEPS_COLUMNS`)."""
        ...

    def weights(self) -> Iterable[tuple[str | None, bytes]]:
        """What is kept of the training: the name of a signal, or None, and the content of its file."""
        ...

    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says of this regime's runs beside what it says of all.

        ``seconds`` joins the clocks there and ``metrics`` the metrics, ``signal`` gets the signal's name.
        """
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
