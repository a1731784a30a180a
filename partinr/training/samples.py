"""The samples of one step, for one pass of an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from partinr.engines.base import Observations
from partinr.model.batch import mix
from partinr.model.stack import NetworkStack


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples on the device, with the networks that contribute to them.

    Attributes:
        coords: ``[p, d]``, inputs of the networks.
        sizes: number of rows of ``coords`` for each network.
        targets: ``[m, c]``, targets of the samples.
        weights: ``[m, 1]``, weights of the samples in the loss; None if all are 1.
        place: int64 ``[p]``, which of the m samples each row contributes to; None if each row is a sample, m = p.
        blend: ``[p, 1]``, the weight of each row's value in its sample; None if all are 1.
    """

    coords: Tensor
    sizes: tuple[int, ...]
    targets: Tensor
    weights: Tensor | None
    place: Tensor | None = None
    blend: Tensor | None = None

    def squared_error(self, model: NetworkStack, params: Mapping[str, Tensor]) -> Tensor:
        """The weighted squared error, summed over samples and channels: a scalar, differentiable by the parameters."""
        if self.place is None or self.blend is None:
            return model.squared_error(self.coords, self.targets, self.sizes, self.weights, params)
        values = mix(model(self.coords, self.sizes, params), self.blend, self.place, len(self.targets))
        return self.observed.error(values)

    @property
    def observed(self) -> Observations:
        """The samples as engines take them."""
        return Observations(self.coords, self.targets, self.sizes, self.weights)
