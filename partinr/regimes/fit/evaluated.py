"""The signals of a fit with their kinds, and the reconstructions of the last evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.metrics import SEAM, psnr, seam
from partinr.model.batch import RegionBatch
from partinr.partition import Partition
from partinr.signals.kind import SignalKind
from partinr.training.facts import mean_of, mean_seam
from partinr.training.ranks import Ranks

SSIM = "ssim"
"""The column of every curve that is NaN for kinds without it."""


@dataclass(frozen=True)
class View:
    """One signal of a run, as callbacks see it.

    Attributes:
        name: name of an image of a set; empty if the run fits one signal.
        signal: float32 ``[*grid, C]``, on the device.
        partition: partition of the signal.
        kind: kind of the signal.
        observation: what is seen of it, to be drawn as such a signal; None if all is seen.
    """

    name: str
    signal: Tensor
    partition: Partition
    kind: SignalKind
    observation: Tensor | None = None


class Evaluated:
    """The reconstructions of the last evaluation, for pictures of the same step, and what is measured at the end.

    Args:
        partitions: partition of each signal.
        kinds: kind of each signal.
    """

    def __init__(self, partitions: Sequence[Partition], kinds: Sequence[SignalKind]) -> None:
        for kind in kinds:
            kind.check()
        self._partitions, self._kinds = partitions, kinds
        self._pairs: Sequence[tuple[Tensor, Tensor]] = ()
        self._step: int | None = None
        self._at_end: dict[str, Any] | None = {"seam": dict.fromkeys(SEAM, float("nan"))}

    def put(self, step: int, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Keep the reconstructions of a step, each with its signal."""
        self._pairs, self._step, self._at_end = pairs, step, None

    def drop(self, known: dict[str, Any] | None = None) -> None:
        """Forget the reconstructions, since the weights change; ``known`` or the present :attr:`at_end` is kept."""
        self._at_end, self._pairs, self._step = known or self.at_end, (), None

    def at(self, step: int) -> list[Tensor] | None:
        """The reconstructions, if they are those of this step."""
        return [values for values, _ in self._pairs] if step == self._step else None

    @property
    def squared_errors(self) -> list[Tensor]:
        """Squared error of each sample at the last evaluation, mean over channels: float64 ``[*grid]``, on the CPU."""
        return [(values.float() - signal.float()).square().mean(-1).double().cpu() for values, signal in self._pairs]

    @property
    def at_end(self) -> dict[str, Any]:
        """What takes time to measure, at the last evaluation.

        ``seam`` is how well regions match along their borders (:func:`partinr.metrics.seam`): means over the signals
        that have borders, NaN before the first evaluation, or if there is no border. The other entries are those of the
        kind (:meth:`SignalKind.final <partinr.signals.kind.SignalKind.final>`), of several signals the means of
        numbers. They are computed on request, since only those of the last evaluation are used.
        """
        if self._at_end is None:
            pairs = list(zip(self._pairs, self._partitions, strict=True))
            found = [kind.final(*pair) for kind, pair in zip(self._kinds, self._pairs, strict=True)]
            further = found[0] if len(found) == 1 else mean_of(found)
            self._at_end = {"seam": mean_seam([seam(*pair, partition) for pair, partition in pairs]), **further}
        return self._at_end


def check_kinds(names: Sequence[str], kinds: Sequence[SignalKind]) -> None:
    """Check that signals that are fitted together are of one kind.

    Raises:
        PartinrError: they are not.
    """
    for name, kind in zip(names, kinds, strict=True):
        if type(kind) is not type(kinds[0]):
            raise PartinrError(
                f"{name} is of the kind {kind.name}, and {names[0]} of {kinds[0].name}; fit them in runs of their own"
            )


def measured(
    pairs: Sequence[tuple[Tensor, Tensor]], kinds: Sequence[SignalKind], ranks: Ranks
) -> list[dict[str, float]]:
    """PSNR, SSIM and the metrics of its kind for each signal, equal in all processes, which act on them together.

    Args:
        pairs: reconstruction and signal.
        kinds: kind of each signal.
        ranks: the processes.
    """
    rows = [
        {"psnr": psnr(*pair), SSIM: math.nan, **kind.measure(*pair)} for pair, kind in zip(pairs, kinds, strict=True)
    ]
    numbers = iter(ranks.first(*(value for row in rows for value in row.values())))
    return [{key: next(numbers) for key in row} for row in rows]


def error_by_network(values: Tensor, targets: Tensor, batch: RegionBatch) -> Tensor:
    """Mean squared error of each network on its own samples, values clamped: float64 ``[N]``, on the CPU.

    Args:
        values: ``[M, C]``, in the order of the batch.
        targets: likewise.
        batch: the samples.
    """
    error = (values.float().clamp(0, 1) - targets.float()).square().mean(1).double().cpu()
    sizes = torch.tensor(batch.sizes, dtype=torch.float64)
    return torch.zeros_like(sizes).index_add_(0, batch.network.cpu(), error) / sizes
