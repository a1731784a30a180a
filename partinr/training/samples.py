"""The error of networks that are blended: what they give together in each sample, against its target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from partinr.model.batch import RegionBatch, mix
from partinr.model.stack import NetworkStack


@dataclass(frozen=True, eq=False)
class Samples:
    """Some samples, with the networks that have a part in them.

    Most samples are one network's alone, and an engine can take their errors and gradients in one pass. Where several
    have a part, their values have to be put together first.

    Attributes:
        coords: ``[p, d]``, what the networks see of the samples.
        sizes: how many of them each network has.
        targets: ``[m, c]``, of the samples.
        weights: ``[m, 1]``, what the samples count; None where all count 1.
        blend: ``[p, 1]``, what the networks' values count; None where each sample is one network's alone, m = p.
        sample: int64 ``[p]``, to which of the m samples a value belongs; None likewise.
    """

    coords: Tensor
    sizes: tuple[int, ...]
    targets: Tensor
    weights: Tensor | None
    blend: Tensor | None = None
    sample: Tensor | None = None

    @classmethod
    def take(
        cls, batch: RegionBatch, coords: Tensor, targets: Tensor, weights: Tensor | None, drawn: Tensor | None
    ) -> list[Samples]:
        """Those of a batch, apart: the samples that are one network's alone, and the others.

        Args:
            batch: with blended networks, on the CPU.
            coords: those of the batch, on the device.
            targets: of all samples, in the order of the signals, on the device.
            weights: likewise, or None.
            drawn: int64, the samples that are meant, on the CPU; None for all of them.
        """
        assert batch.blend is not None
        meant = torch.ones(batch.samples, dtype=torch.bool)
        if drawn is not None:
            meant = torch.zeros_like(meant)
            meant[drawn] = True
        alone = torch.bincount(batch.order)[batch.order] == 1
        found = []
        for pick in (alone, ~alone):
            pairs = torch.nonzero(pick & meant[batch.order]).squeeze(1)
            if len(pairs) == 0:
                continue
            sample, place = batch.order[pairs], None
            if pick is not alone:
                sample, place = torch.unique(sample, return_inverse=True)
            at, of = pairs.to(coords.device), sample.to(coords.device)
            own = None if weights is None else weights[of]
            mixed = () if place is None else (batch.blend[pairs].to(coords), place.to(coords.device))
            found.append(cls(coords[at], batch.count(pairs), targets[of], own, *mixed))
        return found

    def squared_error(self, model: NetworkStack, params: Mapping[str, Tensor]) -> Tensor:
        """Summed over samples and channels; a scalar, differentiable by the parameters."""
        if self.blend is None or self.sample is None:
            return model.squared_error(self.coords, self.targets, self.sizes, self.weights, params)
        values = mix(model(self.coords, self.sizes, params), self.blend, self.sample, len(self.targets))
        error = (values - self.targets).square()
        return (error if self.weights is None else error * self.weights).sum()
