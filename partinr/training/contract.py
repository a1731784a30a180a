"""What the module of a regime gives to the training loop and to callbacks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import lightning as L
import torch
from torch import Tensor


class Evaluations(Protocol):
    """When a regime evaluates, and what it makes of the curve: fields of its settings."""

    @property
    def evaluate_every(self) -> int | None:
        """Steps between two evaluations; None for a geometric sequence."""

    @property
    def evaluations_per_decade(self) -> int:
        """Of that sequence."""

    @property
    def evaluate_at(self) -> list[int]:
        """Further steps."""

    @property
    def collapse_db(self) -> float | None:
        """How far below its best a curve may lie; None for any distance."""


class Contract(L.LightningModule):
    """The part of a regime's module that the regime writes.

    Attributes:
        kind: of the regime, as ``run.json`` and checkpoints name it.
        model: what learns.
        data: what Lightning iterates over; None for signals that the module holds itself.
    """

    kind: str
    model: Any
    image_curve: list[dict[str, Any]]
    data: L.LightningDataModule | None = None

    # -- what a regime says -------------------------------------------------------------------------------------

    @abstractmethod
    def parameters_for(self) -> torch.optim.Optimizer:
        """The optimiser, made for what is trained in this process."""

    @abstractmethod
    def take_steps(self, steps: int, batch: Any) -> None:
        """Take optimiser steps; counts them, and sets the last loss."""

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """What an evaluation finds: ``psnr``, ``ssim`` and further columns; before the first step also ``loss``."""

    @abstractmethod
    def weights_to_keep(self) -> dict[str, Tensor]:
        """A copy of everything that is learned, all of it in every process."""

    @abstractmethod
    def restore(self, weights: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`weights_to_keep` gave."""

    @abstractmethod
    def cure(self, collapsed: bool) -> str:
        """What a user may do about a failure, or a curve that has collapsed."""

    @abstractmethod
    def check_devices(self, devices: int) -> None:
        """Check that each of so many processes has something to do.

        Raises:
            PartinrError: one would have nothing.
        """

    def useful_devices(self, devices: int) -> tuple[int, str | None]:
        """How many of some devices have work, and a note where that is not all of them."""
        return devices, None

    def check_gradient(self, device: torch.device, dtype: torch.dtype) -> None:
        """Check, before a run directory is made, that gradients on a device are what the regime asks for.

        Raises:
            PartinrError: they are not.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What, beside settings and seed, must be equal for a checkpoint to be continued here."""

    def after_evaluation(self) -> None:
        """What a regime does once the curve has a new row."""

    @property
    @abstractmethod
    def points_per_step(self) -> int:
        """Samples that a step sees."""

    # -- what callbacks ask -------------------------------------------------------------------------------------

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What ``run.json`` says of this regime's runs: plain containers."""

    @abstractmethod
    def weights(self) -> Iterable[tuple[str, bytes]]:
        """The content of each file of weights, with the name of its signal; empty where it stands for itself."""

    def tables(self) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """Rows of further CSV files, by the name of the file."""
        return {"images.csv": self.image_curve}

    @property
    def views(self) -> Sequence[Any]:
        """The signals that there are pictures of."""
        return ()

    def reconstructions(self) -> Sequence[Tensor]:
        """Those signals as they are fitted now, ``[*grid, C]`` each; all processes have a part in it."""
        return ()

    def adaptations(self) -> Sequence[Any]:
        """What is made of held-out signals, step by step."""
        return ()
