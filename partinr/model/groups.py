"""Groups of networks: those of one architecture, whose parameters are stacked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from partinr.backbones import Backbone
from partinr.engines.base import Architecture, Shape, Stack
from partinr.engines.chain import widths_of

Key = tuple[str, int, int]
"""What the networks of a group agree in: their coupling, the number of networks that it joins, their width."""


@dataclass(frozen=True, eq=False)
class NetworkGroup:
    """Networks of one width, which form a stack.

    Attributes:
        key: what they agree in; no other group of a stack has it.
        backbone: their architecture.
        networks: their numbers in the order of the stack's maker, ascending.
        prefix: prefix of their parameters' names in the whole model.
        names: names of their parameters, the first of which has a row for each network.
        architecture: the architecture of one network, for engines.
        macs_a_pass: see :meth:`Backbone.macs_a_pass`.
        in_features: coordinates per sample.
        channels: values per sample.
    """

    key: Key
    backbone: Backbone
    networks: tuple[int, ...]
    prefix: str
    names: tuple[str, ...]
    architecture: Architecture
    macs_a_pass: int
    in_features: int
    channels: int

    shares: ClassVar[bool] = False
    """Whether networks share parameters, so that the parameters that engines see are made from those of the stack."""

    def init(self, generator: torch.Generator | None) -> dict[str, Tensor]:
        """Initial parameters, by name."""
        return self.backbone.init(len(self.networks), self.in_features, self.channels, generator)

    def trains(self, name: str) -> bool:
        """Whether a parameter is trained."""
        return name.rpartition("/")[2] not in self.backbone.fixed

    @property
    def parameters(self) -> int:
        """Number of trained parameters of all networks."""
        return self.backbone.parameters(self.in_features, self.channels) * len(self.networks)

    def macs(self, samples: Sequence[int]) -> int:
        """Multiply-accumulates of a pass, forward, on so many samples of each network."""
        own = self.architecture.shape.macs
        return sum(number * own + (self.macs_a_pass if number else 0) for number in samples)

    @property
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """The names of the parameters, those with the same rows together."""
        return (self.names,)

    def stack(self, params: Mapping[str, Tensor]) -> Stack:
        """The networks as engines see them.

        Args:
            params: by name, of all networks of the group or of some.
        """
        return Stack(self.architecture, params)

    def rows(self, networks: Tensor) -> dict[str, Tensor]:
        """The rows of some networks in each parameter, int64.

        Args:
            networks: int64 ``[n]``, ascending, counted within the group.
        """
        return dict.fromkeys(self.names, networks)

    def hidden_matrices(self) -> tuple[str, ...] | None:
        """Names of the matrices between hidden layers, see :meth:`Backbone.hidden_matrices`."""
        return self.backbone.hidden_matrices()


def plain_group(
    key: Key, backbone: Backbone, networks: tuple[int, ...], prefix: str, in_features: int, channels: int
) -> NetworkGroup:
    """Networks that share nothing.

    Args:
        key: see :class:`NetworkGroup`; likewise the others.
        backbone: with a definite width.
        networks: their numbers.
        prefix: of the names of their parameters.
        in_features: coordinates per sample.
        channels: values per sample.
    """
    with torch.device("meta"):
        names = tuple(backbone.init(1, in_features, channels, None))
    architecture = architecture_of(backbone, in_features, channels)
    a_pass = backbone.macs_a_pass(in_features, channels)
    return NetworkGroup(key, backbone, networks, prefix, names, architecture, a_pass, in_features, channels)


def architecture_of(backbone: Backbone, in_features: int, channels: int) -> Architecture:
    """The architecture of one network, for engines."""
    with torch.device("meta"):
        params = backbone.init(1, in_features, channels, None)
        shape = Shape(backbone.macs(in_features, channels), widths_of(backbone.chain(params)))
    return Architecture(backbone.title, backbone.apply, backbone.chain, shape)
