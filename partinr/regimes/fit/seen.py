"""What a fit sees of its signals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from partinr.model.batch import joined
from partinr.partition import Partition
from partinr.signals.observations import Observation, Observed
from partinr.signals.observations.base import FIT
from partinr.training.facts import signal_sha256
from partinr.training.loss import seen_weights, total_variation
from partinr.training.ranks import Ranks

if TYPE_CHECKING:
    from partinr.regimes.fit.settings import FitSettings


@dataclass(frozen=True)
class Seen:
    """What is seen of the signals of a fit, and the loss by it.

    Attributes:
        observation: how the signals are observed.
        signals: what is seen of each.
        partitions: partition of each.
        settings: settings of the regime.
        seed: seed of the run.
    """

    observation: Observation
    signals: Sequence[Observed]
    partitions: Sequence[Partition]
    settings: FitSettings
    seed: int

    @classmethod
    def of(
        cls,
        observation: Observation,
        known: Sequence[Observed] | None,
        signals: Sequence[Tensor],
        partitions: Sequence[Partition],
        settings: FitSettings,
        seed: int,
    ) -> Seen:
        """What is seen of the signals, unless it is known already.

        Raises:
            PartinrError: a signal cannot be observed so.
        """
        if known is None:
            known = [observation.observe(each.cpu(), number) for number, each in enumerate(signals)]
        return cls(observation, known, partitions, settings, seed)

    @property
    def watched(self) -> str:
        """The column of the curve that must not collapse."""
        return "psnr" if self.observation.sees_all else FIT

    @cached_property
    def joint(self) -> str | None:
        """The setting by which the loss needs the values of all samples at once; None if it is a sum over samples."""
        if any(each.joint for each in self.signals):
            return f"observe={self.observation.title}"
        return None if self.settings.total_variation is None else "regime.total_variation"

    @property
    def together(self) -> tuple[str, str] | None:
        """Why all networks are trained together, and what to give so that they are not; see ``StackLoop.together``."""
        return (
            None
            if self.joint is None
            else (f"{self.joint} needs the values of all regions at once", "trainer.devices=1")
        )

    @property
    def targets(self) -> Tensor:
        """Targets ``[M, C]``, sorted by signal, each row-major."""
        return joined([each.targets.reshape(-1, each.targets.shape[-1]) for each in self.signals])

    @property
    def estimates(self) -> Tensor:
        """Estimates ``[M, C]``, likewise."""
        return joined([each.estimate.reshape(-1, each.estimate.shape[-1]) for each in self.signals])

    @cached_property
    def weights(self) -> Tensor | None:
        """Weights ``[M, 1]`` of the samples in the loss, likewise; None if all are 1."""
        whole = self.settings.sample_weights(self.partitions, self.seed)
        visible = [each.weights for each in self.signals]
        return seen_weights(whole, visible, self.partitions, by_region=self.settings.loss == "region")

    def error(self, values: Tensor) -> Tensor:
        """The loss by the values ``[M, C]`` of all samples: a scalar, differentiable."""
        parts, smooth = self.by_signal(values), self.settings.total_variation
        pairs = list(zip(self.signals, parts, strict=True))
        if any(each.joint for each in self.signals):
            total = reduce(add, (each.error(part) for each, part in pairs))
        else:
            squares = torch.cat([(part - each.targets.to(part)).square().flatten(0, -2) for each, part in pairs])
            total = (squares if self.weights is None else squares * self.weights.to(squares)).mean()
        return total if smooth is None else total + smooth * reduce(add, map(total_variation, parts))

    @property
    def pictures(self) -> list[Tensor | None]:
        """A picture of what is seen of each signal; None if all is seen."""
        return [None if self.observation.sees_all else each.picture for each in self.signals]

    def by_signal(self, values: Tensor) -> list[Tensor]:
        """Values ``[M, C]`` as one grid ``[*grid, C]`` per signal."""
        parts = values.split([partition.labels.numel() for partition in self.partitions])
        return [part.reshape(*partition.shape, -1) for part, partition in zip(parts, self.partitions, strict=True)]

    def measured(self, reconstructions: Sequence[Tensor], ranks: Ranks, untrained: bool) -> dict[str, float]:
        """The columns of an evaluation that follow from what is seen.

        Args:
            reconstructions: of each signal, ``[*grid, C]``.
            ranks: the processes, which must agree.
            untrained: whether no step has been taken, so that the loss of the last is that of the networks as they are.
        """
        if self.observation.sees_all and not untrained:
            return {}
        pairs = zip(self.signals, reconstructions, strict=True)
        errors = ranks.first(*(float(each.error(values.float())) for each, values in pairs))
        found = {"loss": sum(errors) / len(errors)} if untrained else {}
        if not self.observation.sees_all:
            decibels = [-10 * math.log10(error) if error > 0 else math.inf for error in errors]
            found[FIT] = sum(decibels) / len(decibels)
        return found

    def metrics(self, curve: Sequence[Mapping[str, float]]) -> dict[str, Any]:
        """Further entries of ``metrics`` in ``run.json``: the fit to what is seen, and the step of the best PSNR."""
        if self.observation.sees_all or not curve:
            return {}
        best = max(curve, key=lambda row: (not math.isnan(row["psnr"]), row["psnr"]))
        return {"step_best": best["step"], FIT: curve[-1][FIT]}

    def identity(self) -> dict[str, Any]:
        """What must be equal to continue from a checkpoint; empty for the signals as they are."""
        if self.observation.sees_all:
            return {}
        masks = [each.weights for each in self.signals if each.weights is not None]
        digest = {"mask_sha256": signal_sha256(torch.cat([each.reshape(-1) for each in masks]))} if masks else {}
        return {"observe": {**self.observation.about(), **digest}}


def unseen(observed: Observed, partition: Partition) -> str | None:
    """A notice of regions of which nothing is seen, so that their networks learn nothing; None if there are none.

    Args:
        observed: what is seen of a signal.
        partition: its partition.
    """
    if observed.weights is None:
        return None
    visible = torch.bincount(partition.labels.reshape(-1), weights=observed.weights.reshape(-1) > 0)
    dark = int((visible == 0).sum())
    if not dark:
        return None
    return (
        f"nothing is seen of {dark:,} of {partition.regions:,} regions, whose networks learn nothing; "
        "fewer regions, overlap or global_network=true cover them"
    )
