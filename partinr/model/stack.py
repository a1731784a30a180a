"""A stack of networks: N small networks of one architecture as one module, with one forward pass.

A stack does not know what a network represents: a region, a region of one of several images, or an initialisation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property

import torch
from torch import Tensor, nn

from partinr.backbones import Backbone
from partinr.base.environment import door, follows_caller
from partinr.base.errors import PartinrError
from partinr.engines import EngineName, plan, registry
from partinr.engines.base import (
    AdamRun,
    AdamSettings,
    Engine,
    InTurns,
    Moments,
    Observations,
    Precision,
    Stack,
)
from partinr.model.computed import Coords, every
from partinr.model.coupling import Team, groups_of
from partinr.model.groups import NetworkGroup

CHUNK = 2**18
"""Limit of samples per evaluation outside training, so that memory does not grow with the picture."""


@door
class NetworkStack(nn.Module):
    """N networks, trained and evaluated as one stack.

    Networks of several widths form one stack per width. Networks, and the samples of a batch, are sorted by stack, then
    by number (:attr:`position`); with one width, by number.

    Args:
        backbone: the architecture of every network; ``match_params`` counts over all networks.
        networks: number of networks, N.
        in_features: coordinates per sample, d.
        channels: values per sample, C.
        widths: hidden features of each network; None for those of the backbone.
        engine: how the stack is evaluated (:mod:`partinr.engines.registry`).
        seed: seed of the initialisation, 0 or more; None for parameters without values on torch's device ``meta``, to
            be filled in later.
        teams: the networks of each signal and what they share; None if no two share anything.

    Attributes:
        stack: the parameters by name, each with an axis of networks in front, or of signals if the networks of a signal
            share it. The parameters that the backbone does not train (:attr:`Backbone.fixed
            <partinr.backbones.Backbone.fixed>`) are among them, without gradients.
        position: int64 ``[N]``, the place of each network among all.

    Raises:
        PartinrError: an argument is out of range, or ``match_params`` is too small.
    """

    def __init__(
        self,
        backbone: Backbone,
        networks: int,
        *,
        in_features: int,
        channels: int = 3,
        widths: Sequence[int] | None = None,
        engine: EngineName = "auto",
        seed: int | None = 0,
        teams: Sequence[Team] | None = None,
    ) -> None:
        super().__init__()
        registry.engines(engine)
        if seed is not None and not 0 <= seed < 2**63:
            raise PartinrError(f"seed={seed} is out of range; give a whole number from 0 on, below 2^63")
        if channels < 1:
            raise PartinrError(f"channels={channels}; give 1 or more values a sample")
        if widths is not None and (len(widths) != networks or min(widths) < 1):
            raise PartinrError(f"widths={list(widths)} for {networks} regions; give one a region, 1 or more")
        self.networks = networks
        self.in_features = in_features
        self.channels = channels
        self.engine = engine
        self.backbone = backbone.sized(networks, in_features, channels)
        self.widths = None if widths is None or len(set(widths)) == 1 else tuple(widths)
        if widths is not None and self.widths is None:
            self.backbone = self.backbone.with_width(widths[0])
        self.teams = (Team(networks),) if teams is None else tuple(teams)
        self.groups = groups_of(self.backbone, self.teams, self.widths, in_features, channels)
        self.check_engine()
        self.position = torch.argsort(torch.tensor([number for group in self.groups for number in group.networks]))
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        with nullcontext() if seed is not None else torch.device("meta"):
            self.stack = nn.ParameterDict(
                {
                    f"{group.prefix}{name}": nn.Parameter(value, group.trains(name))
                    for group in self.groups
                    for name, value in group.init(generator).items()
                }
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def extra_repr(self) -> str:
        """A description of the networks, for printing the model."""
        narrowest, widest = (self.groups[end].backbone.hidden_features for end in (0, -1))
        width = f"width {widest}" if len(self.groups) == 1 else f"widths {narrowest} to {widest}"
        return f"{self.backbone.title}, {width}, {self.parameter_count:,} parameters"

    def check_engine(self, device: torch.device | None = None, precision: str = "32-true", tf32: bool = False) -> None:
        """Check that the engine can evaluate the stack, before anything is moved or trained.

        Args:
            device: the device of evaluation; None if it is not known yet.
            precision: Lightning's precision flag.
            tf32: whether products on CUDA may round to TF32.

        Raises:
            PartinrError: the engine refuses the networks, the device or the precision.
        """
        for group in self.groups:
            registry.check(self.engine, group.architecture, device, Precision.named(precision, tf32))

    # -- facts -------------------------------------------------------------------------------------------------

    @property
    def parameter_count(self) -> int:
        """Number of trained parameters over all networks."""
        return sum(group.parameters for group in self.groups)

    @cached_property
    def macs_of_networks(self) -> tuple[int, ...]:
        """Forward multiply-accumulates of each network for one of its samples."""
        return tuple(group.architecture.shape.macs for group in self.groups for _ in group.networks)

    def mean_macs(self, samples: Sequence[int], among: int | None = None) -> int:
        """Multiply-accumulates for one sample, forward, mean over samples in a pass on all of them.

        Args:
            samples: number of samples of each network, in the order of the stack's maker.
            among: number of samples if several networks contribute to one; None for the sum of ``samples``.
        """
        total = sum(group.macs([samples[number] for number in group.networks]) for group in self.groups)
        return round(total / (sum(samples) if among is None else among))

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(iter(self.stack.values())).device

    # -- evaluation ---------------------------------------------------------------------------------------------

    @follows_caller
    def forward(
        self, coords: Tensor, sizes: Sequence[int], params: Mapping[str, Tensor] | None = None, plain: bool = False
    ) -> Tensor:
        """Evaluate each network on its own samples.

        Args:
            coords: ``[M, d]`` in the frame of the model, sorted by network.
            sizes: samples of each network; 0 is allowed.
            params: parameters instead of the model's own, by the same names: fast weights of an inner loop, or the
                parameters of some networks, as :meth:`rows` selects them; ``sizes`` then refers to these networks.
            plain: use torch's own operations alone, which can be differentiated by the coordinates any number of times.

        Returns:
            values ``[M, C]``, not clamped.
        """
        values = []
        for _, own, samples, own_sizes in self._by_width(sizes, params):
            x = coords[samples]
            values.append(plan.values(registry.usable(self.engine, own, x, own_sizes, plain), own, x, own_sizes))
        return values[0] if len(values) == 1 else torch.cat(values)

    @follows_caller
    def squared_error(
        self,
        coords: Tensor,
        targets: Tensor,
        sizes: Sequence[int],
        weights: Tensor | None = None,
        params: Mapping[str, Tensor] | None = None,
        twice: bool = False,
    ) -> Tensor:
        """The squared error of :meth:`forward`, summed over samples and channels: a scalar.

        Some engines compute the error and its gradient in one pass. It is differentiable by the parameters, not by
        targets and weights.

        Args:
            coords: as for :meth:`forward`.
            targets: ``[M, C]``, in the same order.
            sizes: as for :meth:`forward`.
            weights: ``[M, 1]``, weight of each sample; None if all are 1.
            params: as for :meth:`forward`.
            twice: whether the gradient will be differentiated again. This always works, but is wasteful with an engine
                that computes value and gradient in one pass.
        """
        total, whole = targets.new_zeros(()), Observations(coords, targets, tuple(sizes), weights)
        for _, own, samples, own_sizes in self._by_width(sizes, params):
            observed = whole.of(samples, own_sizes)
            engines = registry.usable(self.engine, own, observed.coords, own_sizes, plain=twice)
            total = total + plan.squared_error(engines, own, observed)
        return total

    @follows_caller
    def has_hessian_vector(self, coords: Tensor, sizes: Sequence[int], params: Mapping[str, Tensor]) -> bool:
        """Whether the engine has kernels for :meth:`hessian_vector` with such parameters."""
        return all(
            registry.hessian_vector(self.engine, own, coords[samples], own_sizes) is not None
            for _, own, samples, own_sizes in self._by_width(sizes, params)
        )

    @follows_caller
    def hessian_vector(
        self, observed: Observations, params: Mapping[str, Tensor], along: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The Hessian of :meth:`squared_error` at ``params`` times the direction ``along``, by name.

        Requires :meth:`has_hessian_vector`; not differentiable.
        """
        sizes = observed.sizes
        product: dict[str, Tensor] = {}
        directions = self._by_width(sizes, along)
        for (group, own, samples, own_sizes), (_, way, *_) in zip(
            self._by_width(sizes, params), directions, strict=True
        ):
            kernel = registry.hessian_vector(self.engine, own, observed.coords[samples], own_sizes)
            assert kernel is not None, "ask has_hessian_vector() first"
            found = kernel(own.chain, way.chain, observed.of(samples, own_sizes))
            product.update({f"{group.prefix}{name}": each for name, each in zip(group.names, found, strict=True)})
        return product

    @follows_caller
    def adam(
        self, turns: Sequence[Observations], params: Mapping[str, Tensor], moments: Moments, settings: AdamSettings
    ) -> AdamRun | None:
        """Steps of Adam on :meth:`squared_error`, taken by the engine; None if it only gives gradients.

        Args:
            turns: the sets of samples that take turns, see :meth:`Engine.adam <partinr.engines.base.Engine.adam>`.
            params: the parameters to change, by name.
            moments: likewise.
            settings: settings of Adam.
        """
        if any(group.shares for group in self.groups):
            return None  # an engine would move the parameters of networks, not those that they are made from
        stacks: dict[Engine, list[InTurns]] = {}
        for in_turns in zip(*(list(self._by_width(turn.sizes, params)) for turn in turns), strict=True):
            _, own, *_ = in_turns[0]
            observed = [turn.of(samples, sizes) for turn, (*_, samples, sizes) in zip(turns, in_turns, strict=True)]
            coords, sizes = observed[0].coords, observed[0].sizes
            engines = registry.usable(self.engine, own, coords, sizes)
            engine = plan.only_engine(engines, own, sizes, coords.device)
            if engine is None:
                return None
            stacks.setdefault(engine, []).append(InTurns(own, observed))
        runs = [engine.adam(own, moments, settings) for engine, own in stacks.items()]
        parts = [run for run in runs if run is not None]
        return plan.JointRun(parts) if len(parts) == len(runs) else None

    def _by_width(
        self, sizes: Sequence[int], params: Mapping[str, Tensor] | None
    ) -> Iterator[tuple[NetworkGroup, Stack, slice, tuple[int, ...]]]:
        """Each group with its networks, the slice of its samples, and the number of samples of each network."""
        given: Mapping[str, Tensor] = dict(self.stack) if params is None else params
        network, sample = 0, 0
        for group in self.groups:
            own = {name: given[f"{group.prefix}{name}"] for name in group.names}
            own_sizes = tuple(sizes[network : network + len(own[group.names[0]])])
            if own_sizes:
                stop = sample + sum(own_sizes)
                yield group, group.stack(own), slice(sample, stop), own_sizes
                network, sample = network + len(own_sizes), stop

    @torch.no_grad()
    def begin_at_mean(self, targets: Tensor, sizes: Sequence[int]) -> None:
        """Set each network's bias of the output layer to the mean of its targets.

        Args:
            targets: ``[M, C]``, sorted by network.
            sizes: number of samples of each network; a network without samples keeps its bias.
        """
        name = self.backbone.output_bias()
        assert name is not None, "ask output_bias() first"
        counts = torch.tensor(sizes, device=targets.device)
        network = torch.repeat_interleave(torch.arange(len(sizes), device=targets.device), counts)
        total = targets.new_zeros(len(sizes), targets.shape[1]).index_add_(0, network, targets)
        means = (total / counts.clamp(min=1).unsqueeze(1)).split([len(group.networks) for group in self.groups])
        seen = (counts > 0).split([len(group.networks) for group in self.groups])
        for group, mean, some in zip(self.groups, means, seen, strict=True):
            bias = self.stack[f"{group.prefix}{name}"]
            bias[some] = mean[some].to(bias)

    def hidden_matrices(self) -> frozenset[str] | None:
        """The names of the matrices between hidden layers, see :meth:`Backbone.hidden_matrices`, or None."""
        found = ((group.prefix, name) for group in self.groups for name in group.hidden_matrices() or ())
        return frozenset(map("".join, found)) or None

    def rows(self, networks: Tensor) -> dict[str, Tensor]:
        """The indices of some networks, or of their signals, along the first axis of each parameter, int64.

        Args:
            networks: int64 ``[n]``, ascending, in the order of a batch.
        """
        found, start = {}, 0
        for group in self.groups:
            stop = start + len(group.networks)
            own = networks[(networks >= start) & (networks < stop)] - start
            found.update({f"{group.prefix}{name}": each for name, each in group.rows(own).items()})
            start = stop
        return found

    @torch.no_grad()
    def evaluate(
        self,
        coords: Coords,
        sizes: Sequence[int],
        chunk: int = CHUNK,
        params: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """:meth:`forward` without gradients, at most ``chunk`` samples at once; ``params`` as there."""
        if len(coords) <= chunk:
            return self(every(coords), sizes, params)
        own_params = self.stack if params is None else params
        found = next(iter(own_params.values())).new_empty(len(coords), self.channels)
        for piece, own in pieces(sizes, chunk):
            found[piece] = self(coords[piece], own, params)
        return found


def pieces(sizes: Sequence[int], longest: int) -> Iterator[tuple[slice, list[int]]]:
    """Pieces of at most ``longest`` of the samples of a stack: where each lies, and how many each network has in it.

    Args:
        sizes: samples of each network.
        longest: 1 or more.
    """
    ends = torch.tensor(sizes).cumsum(0)
    for start in range(0, sum(sizes), longest):
        stop = min(start + longest, sum(sizes))
        yield slice(start, stop), torch.diff(ends.clamp(start, stop), prepend=torch.tensor([start])).tolist()
