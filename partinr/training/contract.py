"""The interface of a regime's module to the training loop and callbacks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, Protocol

import lightning as L
import torch
from torch import Tensor

from partinr.signals.identity import SignalIdentity

ShardBy = Literal["auto", "regions", "samples"]
"""Values of ``shard`` in the configuration."""


class Evaluations(Protocol):
    """Settings of a regime for evaluation and for the check of the curve."""

    @property
    def evaluate_every(self) -> int | None:
        """Steps between two evaluations; None for a geometric sequence."""

    @property
    def evaluations_per_decade(self) -> int:
        """Evaluations in the geometric sequence while the steps grow tenfold."""

    @property
    def evaluate_at(self) -> list[int]:
        """Further steps to evaluate."""

    @property
    def collapse_db(self) -> float | None:
        """How far a curve may fall below its best, in dB; None for any distance."""


class Contract(L.LightningModule):
    """The part of a regime's module that the regime implements.

    Attributes:
        kind: kind of the regime, as in ``run.json`` and checkpoints.
        model: the model to train.
        data: the data that Lightning iterates over; None if the module holds the signals.
        about: settings of the signals that must be equal, in addition to the regime's, to continue from a checkpoint.
        begun: facts about how the run began, as entries of ``run.json``; checkpoints keep them.
        shard_by: how several processes divide the training, see ``shard`` of the configuration.
        identities: identities of the signals, by name. A checkpoint fits if they are equal, see
            :meth:`SignalIdentity.differs <partinr.signals.identity.SignalIdentity.differs>`.
        watched: the column of the curve that must not collapse. The best point is that of the PSNR in any case.
    """

    kind: str
    model: Any
    image_curve: list[dict[str, Any]]
    data: L.LightningDataModule | None = None
    shard_by: ShardBy = "auto"
    watched: str = "psnr"
    about: Mapping[str, Any] = MappingProxyType({})
    begun: Mapping[str, Any] = MappingProxyType({})
    identities: Mapping[str, SignalIdentity] = MappingProxyType({})

    # -- for the loop -------------------------------------------------------------------------------------------

    @abstractmethod
    def parameters_for(self) -> torch.optim.Optimizer:
        """The optimiser of the parameters that this process trains."""

    @abstractmethod
    def take_steps(self, steps: int, batch: Any) -> None:
        """Take and count optimiser steps, and set the last loss."""

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """The result of an evaluation: ``psnr``, ``ssim`` and further columns; before the first step also ``loss``."""

    @abstractmethod
    def weights_to_keep(self) -> dict[str, Tensor]:
        """A copy of all trained tensors, complete in every process."""

    @abstractmethod
    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Restore the result of :meth:`weights_to_keep`."""

    @abstractmethod
    def cure(self, collapsed: bool) -> str:
        """Advice to the user after a failure or a collapse of the curve."""

    @abstractmethod
    def check_devices(self, devices: int) -> None:
        """Check that each of ``devices`` processes has work.

        Raises:
            PartinrError: a process would have no work.
        """

    def useful_devices(self, devices: int) -> tuple[int, str | None]:
        """The number of devices that have work, and a note, such as that the others have none."""
        return devices, None

    def divides(self, devices: int) -> str | None:
        """What so many processes divide among each other, in one word; None for one process, or if it is not said."""
        return None

    def check_gradient(self, device: torch.device, dtype: torch.dtype) -> None:
        """Check that gradients on a device are correct, before a run directory is made.

        Raises:
            PartinrError: they are wrong.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What must be equal, in addition to signals, settings and seed, to continue from a checkpoint."""

    def after_evaluation(self) -> None:
        """Act on a new row of the curve."""

    @property
    @abstractmethod
    def points_per_step(self) -> int:
        """Number of samples in a step."""

    # -- for callbacks -------------------------------------------------------------------------------------------

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """The entries of this regime in ``run.json``: plain containers."""

    def final_metrics(self) -> Mapping[str, Any]:
        """Further entries of ``metrics`` in ``run.json`` that take time to compute; used at the end of the run only."""
        return {}

    @abstractmethod
    def weights(self) -> Iterable[tuple[str, bytes]]:
        """For each file of weights, the name of its signal (empty for a single signal) and the content."""

    def best(self) -> Iterable[tuple[str, bytes]]:
        """What :meth:`weights` gives, with the weights of the best point of the curve."""
        return ()

    def best_reconstructions(self) -> Sequence[Tensor]:
        """What the networks of the best point of the curve give, ``[*grid, C]`` each."""
        return ()

    def tables(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Rows of further CSV files, by the name of the file."""
        return {"images.csv": self.image_curve}

    @property
    def views(self) -> Sequence[Any]:
        """The signals that get pictures."""
        return ()

    def reconstructions(self) -> Sequence[Tensor]:
        """The current reconstructions of :attr:`views`, ``[*grid, C]`` each. All processes must call this."""
        return ()

    def adaptations(self) -> Sequence[Any]:
        """Fits of held-out signals, step by step."""
        return ()
