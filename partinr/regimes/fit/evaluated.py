"""The reconstructions of the last evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from partinr.metrics import SEAM, seam
from partinr.partition import Partition
from partinr.training.facts import mean_seam


class Evaluated:
    """The reconstructions of the last evaluation, for pictures of the same step, and their seams.

    Args:
        partitions: partition of each signal.
    """

    def __init__(self, partitions: Sequence[Partition]) -> None:
        self._partitions = partitions
        self._pairs: Sequence[tuple[Tensor, Tensor]] = ()
        self._step: int | None = None
        self._seam: dict[str, float] | None = dict.fromkeys(SEAM, float("nan"))

    def put(self, step: int, pairs: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Keep the reconstructions of a step, each with its signal."""
        self._pairs, self._step, self._seam = pairs, step, None

    def drop(self, known: dict[str, float] | None = None) -> None:
        """Forget the reconstructions, since the weights change; ``known`` or the present seams are kept."""
        self._seam, self._pairs, self._step = known or self.seam, (), None

    def at(self, step: int) -> list[Tensor] | None:
        """The reconstructions, if they are those of this step."""
        return [values for values, _ in self._pairs] if step == self._step else None

    @property
    def seam(self) -> dict[str, float]:
        """How well regions match along their borders (:func:`partinr.metrics.seam`) at the last evaluation.

        The values are means over the signals that have borders. They are NaN before the first evaluation, or if there
        is no border. They are computed on request, since only those of the last evaluation are used.
        """
        if self._seam is None:
            pairs = zip(self._pairs, self._partitions, strict=True)
            self._seam = mean_seam([seam(*pair, partition) for pair, partition in pairs])
        return self._seam
