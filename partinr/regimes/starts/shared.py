"""The start from an encoder that was shared by networks of other signals (STRAINER)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from torch import Tensor, nn

from partinr.base.errors import PartinrError
from partinr.base.later import load
from partinr.base.spec import READS, spec
from partinr.regimes.starts.base import Fitted
from partinr.regimes.starts.pretrained import Pretrained, Task
from partinr.signals import FolderData, Item, SignalSet, SoundsData
from partinr.signals.channels import cure_for
from partinr.signals.identity import TOLERANCE

if TYPE_CHECKING:
    from partinr.regimes.base import RunContext

_FOLDERS: dict[int, Any] = {1: SoundsData, 2: FolderData}
"""What reads a folder, by the number of axes."""


@spec
class Shared(Pretrained):
    """Begins with the first layers of networks that were trained on other signals of the same kind.

    The signals are brought to the grid of the fitted one: resized, or a longer sound cut. They are cut into the same
    regions, so that each region of each signal has a last layer of its own, and all share the others.

    Attributes:
        signals: folder of images or sounds; or a set of signals as in the group ``data``, with its ``_target_``. The
            first ``count`` that it learns from are used.
    """

    signals: Annotated[str | dict[str, Any], READS]

    def tasks(self, fitted: Fitted, context: RunContext) -> Sequence[Task]:
        """The regions of the signals, by width."""
        model = fitted.model
        others = [_like(fitted, item) for item in self._items(fitted.signal.ndim - 1)]
        batch = model.batch(fitted.signal)
        values = torch.stack([other.flatten(0, -2) for other in others])
        tasks, first = [], 0
        for group in model.groups:
            own = (batch.network >= first) & (batch.network < first + len(group.networks))
            tasks.append(Task(batch.coords[own], batch.network[own] - first, values[:, batch.order[own]]))
            first += len(group.networks)
        return tasks

    def _items(self, axes: int) -> Sequence[Item]:
        """The signals to train on.

        Raises:
            PartinrError: there are too few, or the set cannot be made.
        """
        if isinstance(self.signals, str):
            if not Path(os.path.expanduser(self.signals)).is_dir():
                raise PartinrError(f"start.signals={self.signals} is no folder; give one that has images or sounds")
            if axes not in _FOLDERS:
                raise PartinrError(
                    f"start.signals={self.signals} is a folder, and signals of {axes} axes come from a set; "
                    "give its settings, +start.signals._target_=partinr.signals.NAME"
                )
            data = _FOLDERS[axes](path=self.signals)
        else:
            options = {name: value for name, value in self.signals.items() if name != "_target_"}
            data = load(":".join(str(self.signals.get("_target_")).rsplit(".", 1)))(**options)
        if not isinstance(data, SignalSet) or len(items := data.train()) < self.count:
            raise PartinrError(f"start.signals has fewer than start.count={self.count} signals; give fewer, or others")
        return items[: self.count]


def _like(fitted: Fitted, item: Item) -> Tensor:
    """Another signal on the grid of the fitted one: float32 ``[*grid, C]``.

    Raises:
        PartinrError: it is the fitted signal, or of another kind.
    """
    values, identity, *_ = item.read()
    shape, same = fitted.signal.shape, fitted.identity.file_sha256
    if values.ndim != len(shape) or values.shape[-1] != shape[-1]:
        raise PartinrError(
            f"{item.name} of start.signals has {values.ndim - 1} axes and {values.shape[-1]} channels, the fitted "
            f"signal {len(shape) - 1} and {shape[-1]}; {cure_for(values.shape[-1])}"
        )
    values = _on_grid(values, tuple(shape[:-1]))
    if (
        fitted.identity.differs(identity) is not None
        or (same is not None and same == identity.file_sha256)
        or float((values - fitted.signal).abs().mean()) < TOLERANCE
    ):
        raise PartinrError(
            f"{item.name} of start.signals is the signal that is fitted, which a start must not know; "
            "take it out of there"
        )
    return values


def _on_grid(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A signal on another grid: resized, or the beginning of a longer line, whose tones a smaller grid would lose."""
    if len(shape) == 1 and len(values) > shape[0]:
        return values[: shape[0]]
    if tuple(values.shape[:-1]) == shape:
        return values
    mode = ("linear", "bilinear", "trilinear")[len(shape) - 1]
    planes = nn.functional.interpolate(
        values.movedim(-1, 0)[None].float(), size=shape, mode=mode, align_corners=False, antialias=len(shape) == 2
    )
    return planes[0].movedim(0, -1).clamp(0, 1).contiguous()
