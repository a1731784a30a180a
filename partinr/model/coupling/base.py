"""Couplings: what the networks of a signal's regions have in common (the key ``global_network``).

A coupling that shares parameters keeps those of each network (one row a network) and those of each signal (one row a
signal, names that begin with :data:`SHARED`). From the two it makes the parameters of an ordinary architecture, one row
a network, at every evaluation. Engines, optimisers, shards and files need not know of it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from partinr.backbones import Backbone, Mlp
from partinr.backbones.base import width_between
from partinr.base.errors import PartinrError
from partinr.engines.base import Architecture, Stack
from partinr.model.groups import Key, NetworkGroup, plain_group

GlobalNetwork = bool | Literal["add", "layers", "modulate"]
"""Values of the key ``global_network``; ``true`` means ``add``."""

SHARED = "shared/"
"""Prefix of the names of parameters with a row for each signal, within a group."""

DENSE = "init", "apply", "shapes", "layer"
"""Methods of :class:`Mlp` that a backbone of dense layers inherits."""

Params = Mapping[str, Tensor]


class Places(NamedTuple):
    """The frames of networks in global coordinates.

    Attributes:
        centre: ``[N, d]``.
        extent: ``[N, d]``, half the size of each frame.
    """

    centre: Tensor
    extent: Tensor


class Coupling:
    """Networks that have nothing in common; the base of the other couplings.

    Attributes:
        said: value of ``global_network`` in files.
        everywhere: number of networks, besides those of the regions, that cover the whole signal in the global frame.
            Their values are added to those of the regions.
    """

    said: ClassVar[GlobalNetwork] = False
    everywhere: ClassVar[int] = 0

    def sized(self, backbone: Backbone, regions: int, in_features: int, channels: int) -> Backbone:
        """The backbone with the width for which all networks of a signal are nearest to ``match_params`` together.

        Raises:
            PartinrError: the budget is too small, or the backbone cannot be coupled.
        """
        return backbone.sized(regions + self.everywhere, in_features, channels)

    def key(self, networks: int, width: int) -> Key:
        """The group of a signal's networks, see :class:`NetworkGroup`."""
        return "", 0, width

    def group(
        self,
        key: Key,
        backbone: Backbone,
        networks: tuple[int, ...],
        prefix: str,
        in_features: int,
        channels: int,
        places: Places | None,
    ) -> NetworkGroup:
        """The networks of one key as a group.

        Args:
            key: see :class:`NetworkGroup`; likewise the others.
            backbone: with a definite width.
            networks: their numbers, signal by signal.
            prefix: of the names of their parameters.
            in_features: coordinates per sample.
            channels: values per sample.
            places: frames of the networks; None if all are global.
        """
        return plain_group(key, backbone, networks, prefix, in_features, channels)


NONE = Coupling()


class Added(Coupling):
    """One more network of the same architecture covers the whole signal; its values are added."""

    said = True
    everywhere = 1


class Sharing(Coupling):
    """The base of couplings with shared parameters."""

    said: ClassVar[GlobalNetwork]

    @abstractmethod
    def init(
        self, backbone: Mlp, networks: int, signals: int, features: tuple[int, int], generator: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Initial parameters by name: those of each network, then those of each signal.

        Args:
            backbone: with a definite width.
            networks: number of networks of all signals, equally many for each.
            signals: number of signals.
            features: coordinates and values per sample.
            generator: draws them.
        """

    @abstractmethod
    def architecture(self, backbone: Mlp, regions: int, features: tuple[int, int]) -> Architecture:
        """The architecture of one network, with the parameters of :meth:`of_networks`."""

    @abstractmethod
    def of_networks(self, backbone: Mlp, params: Params, places: Places | None) -> Params:
        """The parameters of each network, from its own and those of its signal, all with one row a network."""

    @abstractmethod
    def hidden_matrices(self, backbone: Mlp) -> tuple[str, ...]:
        """Names of the matrices between hidden layers."""

    def sized(self, backbone: Backbone, regions: int, in_features: int, channels: int) -> Backbone:
        """See :meth:`Coupling.sized`; every parameter counts, shared ones once."""
        own, features = self._dense(backbone), (in_features, channels)
        if own.hidden_features is not None:
            return own
        assert own.match_params is not None  # checked by the backbone

        def cost(width: int) -> int:
            return self.parameters(own.with_width(width), regions, 1, features)

        if cost(1) > own.match_params:
            raise PartinrError(
                f"backbone.match_params={own.match_params} is too few: with global_network={self.said}, {regions} "
                f"networks one feature wide have {cost(1)} parameters; give more, or fewer regions"
            )
        return own.with_width(max(1, math.ceil(width_between(own.match_params, cost) - 0.5)))

    def _dense(self, backbone: Backbone) -> Mlp:
        """The backbone as a chain of dense layers with real features and no trained encoding."""
        kind = type(backbone)
        if isinstance(backbone, Mlp) and all(getattr(kind, each) is getattr(Mlp, each) for each in DENSE):
            # Factors of weights are part of them; nothing else may belong to a layer.
            further = {name for layer in range(backbone.hidden_layers + 1) for name in backbone.further(layer)}
            if further <= {"scale"} and backbone.fixed.issuperset(backbone.encoding):
                return backbone
        raise PartinrError(
            f"global_network={self.said} joins the dense layers of networks, and backbone {backbone.title} is not made "
            "of these alone; choose backbone=siren (without batch_norm), finer, gauss, relu_pe or fourier, or give "
            "global_network=add"
        )

    def parameters(self, backbone: Mlp, networks: int, signals: int, features: tuple[int, int]) -> int:
        """Number of trained parameters of all networks."""
        with torch.device("meta"):
            params = self.init(backbone, networks, signals, features, None)
        return sum(value.numel() for name, value in params.items() if name.rpartition("/")[2] not in backbone.fixed)

    def key(self, networks: int, width: int) -> Key:
        """The coupling, so many networks and the width."""
        return str(self.said), networks, width

    def group(
        self,
        key: Key,
        backbone: Backbone,
        networks: tuple[int, ...],
        prefix: str,
        in_features: int,
        channels: int,
        places: Places | None,
    ) -> CoupledGroup:
        """See :meth:`Coupling.group`."""
        own, (_, regions, _), features = self._dense(backbone), key, (in_features, channels)
        with torch.device("meta"):
            names = tuple(self.init(own, regions, 1, features, None))
        architecture = self.architecture(own, regions, features)
        a_pass = own.macs_a_pass(*features)
        return CoupledGroup(key, own, networks, prefix, names, architecture, a_pass, *features, self, places)


@dataclass(frozen=True, eq=False)
class CoupledGroup(NetworkGroup):
    """Networks of several signals, equally many for each, that share parameters with the others of their signal.

    Attributes:
        coupling: how.
        places: frames of the networks; None if all are global.
    """

    coupling: Sharing
    places: Places | None
    _placed: dict[tuple[torch.device, torch.dtype], Places] = field(default_factory=dict)

    shares: ClassVar[bool] = True

    @cached_property
    def _mlp(self) -> Mlp:
        assert isinstance(self.backbone, Mlp)
        return self.backbone

    @property
    def regions(self) -> int:
        """Number of networks of each signal."""
        return self.key[1]

    def init(self, generator: torch.Generator | None) -> dict[str, Tensor]:
        """See :meth:`NetworkGroup.init`."""
        count = len(self.networks)
        return self.coupling.init(self._mlp, count, count // self.regions, (self.in_features, self.channels), generator)

    @property
    def parameters(self) -> int:
        """See :attr:`NetworkGroup.parameters`; shared ones count once for each signal."""
        count = len(self.networks)
        return self.coupling.parameters(self._mlp, count, count // self.regions, (self.in_features, self.channels))

    @property
    def parts(self) -> tuple[tuple[str, ...], ...]:
        """See :attr:`NetworkGroup.parts`."""
        own = tuple(name for name in self.names if not name.startswith(SHARED))
        return own, self.names[len(own) :]

    def stack(self, params: Params) -> Stack:
        """The networks with parameters of their own, as engines see them; differentiable by ``params``."""
        regions, like = self.regions, params[self.names[0]]
        spread = {
            name: value.unsqueeze(1).expand(len(value), regions, *value.shape[1:]).flatten(0, 1)
            if name.startswith(SHARED)
            else value
            for name, value in params.items()
        }
        return Stack(self.architecture, self.coupling.of_networks(self._mlp, spread, self._places(like)))

    def _places(self, like: Tensor) -> Places | None:
        """The frames on the device and in the precision of a tensor; copied once, not at each step."""
        if self.places is None:
            return None
        key = like.device, like.dtype
        if key not in self._placed:
            self._placed[key] = Places(*(each.to(like) for each in self.places))
        return self._placed[key]

    def rows(self, networks: Tensor) -> dict[str, Tensor]:
        """See :meth:`NetworkGroup.rows`."""
        signals = torch.unique(networks // self.regions)
        return {name: signals if name.startswith(SHARED) else networks for name in self.names}

    def hidden_matrices(self) -> tuple[str, ...]:
        """See :meth:`NetworkGroup.hidden_matrices`."""
        return self.coupling.hidden_matrices(self._mlp)


class Team(NamedTuple):
    """The networks of one signal, which have successive numbers in a stack.

    Attributes:
        networks: how many.
        coupling: what they have in common.
        places: their frames; None if all are global.
    """

    networks: int
    coupling: Coupling = NONE
    places: Places | None = None


def groups_of(
    backbone: Backbone, teams: Sequence[Team], widths: Sequence[int] | None, in_features: int, channels: int
) -> tuple[NetworkGroup, ...]:
    """The groups of the networks of some signals, narrowest first.

    Args:
        backbone: their architecture, with a definite width.
        teams: the signals.
        widths: hidden features of each network; None for those of the backbone.
        in_features: coordinates per sample.
        channels: values per sample.
    """
    members: dict[Key, tuple[Coupling, list[int], list[Places]]] = {}
    number = 0
    for team in teams:
        for width in [backbone.hidden_features] * team.networks if widths is None else widths[number:][: team.networks]:
            assert width is not None  # set by sized()
            _, numbers, places = members.setdefault(team.coupling.key(team.networks, width), (team.coupling, [], []))
            numbers.append(number)
            number += 1
        if team.places is not None:
            places.append(team.places)
    found = []
    for key, (coupling, numbers, places) in sorted(members.items(), key=lambda item: item[0]):
        name, networks, width = key
        prefix = "" if len(members) == 1 else f"{name}-{networks}-{width}/" if name else f"{width}/"
        placed = Places(*map(torch.cat, zip(*places, strict=True))) if places else None
        own = backbone if width == backbone.hidden_features else backbone.with_width(width)
        found.append(coupling.group(key, own, tuple(numbers), prefix, in_features, channels, placed))
    return tuple(found)
