"""A stack of networks: N small networks of one architecture as one module, with one forward pass.

What a network stands for (a region, an image and its region, a cell that others are copied from) is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from partinr.backbones import Backbone
from partinr.base.errors import PartinrError
from partinr.engines import (
    ENGINES,
    Chain,
    Engine,
    Network,
    Tables,
    check_fused,
    check_grouped,
    check_tables,
    check_tcnn,
    compile_network,
    curvature,
    fused_error,
    fuses,
    groups,
    has_curvature,
    make_plan,
    run_fused,
    run_grouped,
    run_stack,
    run_tcnn,
    run_tiled,
    takes_tables,
    tiled_error,
    tiles,
)

CHUNK = 2**18
"""Samples that are evaluated at once outside training, so that memory does not grow with the picture."""


@dataclass(frozen=True)
class WidthGroup:
    """Networks of one width: a stack of their own.

    Attributes:
        backbone: their architecture.
        networks: their numbers, as whoever makes the stack counts them, ascending.
        prefix: before the names of their parameters in the whole model.
        names: of their parameters.
    """

    backbone: Backbone
    networks: tuple[int, ...]
    prefix: str
    names: tuple[str, ...]


class NetworkStack(nn.Module):
    """N networks, trained and evaluated as one stack.

    Where they have several widths there is a stack a width. Networks, and the samples of a batch, are sorted by stack,
    then by their number (:attr:`position`); with one width that is by their number.

    Args:
        backbone: the architecture that every network has; ``match_params`` counts over all networks.
        networks: how many, N.
        in_features: coordinates a sample, d.
        channels: values a sample, C.
        widths: hidden features of each network; None for the backbone's own everywhere.
        engine: how the stack is evaluated (:mod:`partinr.engines.plan`).
        seed: of the initialisation, 0 or more; None for parameters on torch's device ``meta``: shapes without values,
            for whoever has the values already.

    Attributes:
        stack: the parameters, by name, each with an axis of networks in front; what the backbone does not train
            (:attr:`Backbone.fixed <partinr.backbones.Backbone.fixed>`) is among them, without gradients.
        position: int64 ``[N]``, where each network lies among all.

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
        engine: Engine = "auto",
        seed: int | None = 0,
    ) -> None:
        super().__init__()
        if engine not in ENGINES:
            raise PartinrError(f"engine={engine!r} is unknown; choose from {', '.join(ENGINES)}")
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
        self.groups = self._width_groups()
        if engine in ("fused", "tiled") and not self.fusible:
            raise PartinrError(
                f"engine={engine} is for chains of sines, such as backbone=siren, not for {self.backbone.title}; "
                "choose engine=auto"
            )
        if engine == "grouped" and not backbone.products_only:
            raise PartinrError(
                f"engine=grouped is for networks whose parameters go into products alone, not for {backbone.title}; "
                "choose engine=auto"
            )
        for tables in self._tables() if engine == "tcnn" else []:
            check_tables(tables, in_features)
        self.position = torch.argsort(torch.tensor([number for group in self.groups for number in group.networks]))
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        with nullcontext() if seed is not None else torch.device("meta"):
            self.stack = nn.ParameterDict(
                {
                    f"{group.prefix}{name}": nn.Parameter(value, requires_grad=name not in backbone.fixed)
                    for group in self.groups
                    for name, value in group.backbone.init(
                        len(group.networks), in_features, channels, generator
                    ).items()
                }
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.extra_repr()})"

    def extra_repr(self) -> str:
        """What the networks are, for whoever prints the model."""
        narrowest, widest = (self.groups[end].backbone.hidden_features for end in (0, -1))
        width = f"width {widest}" if len(self.groups) == 1 else f"widths {narrowest} to {widest}"
        return f"{self.backbone.title}, {width}, {self.parameter_count:,} parameters"

    @property
    def fusible(self) -> bool:
        """Whether the backbone is of the kind that the fused and the tiled engine evaluate."""
        return self._chain(self.backbone) is not None

    def check_device(self, device: torch.device) -> None:
        """Refuse a device on which the engine cannot evaluate this model, before anything is moved there.

        Raises:
            PartinrError: there are no kernels for such networks there, or no grouped product.
        """
        if self.engine == "grouped":
            check_grouped(device)
        for tables in self._tables() if self.engine == "tcnn" else []:
            check_tcnn(tables, self.in_features, device)
        if self.engine == "tiled" and device.type != "cpu":
            raise PartinrError("engine=tiled is for the CPU; choose engine=auto, or trainer.accelerator=cpu")
        chains = [self._chain(group.backbone) for group in self.groups] if self.engine == "fused" else []
        for chain in chains:
            assert chain is not None  # or __init__ would have refused
            check_fused(chain, device)

    def _chain(self, backbone: Backbone) -> Chain | None:
        """One network as a chain, without its numbers."""
        with torch.device("meta"):
            return backbone.chain(backbone.init(1, self.in_features, self.channels, None))

    def _tables(self) -> list[Tables]:
        """The tables of one network of each stack, without their numbers.

        Raises:
            PartinrError: the backbone has none.
        """
        found = []
        for group in self.groups:
            with torch.device("meta"):
                tables = group.backbone.tables(group.backbone.init(1, self.in_features, self.channels, None))
            if tables is None:
                raise PartinrError(
                    f"engine=tcnn is for backbone=hash_grid, not for {self.backbone.title}; choose engine=auto"
                )
            found.append(tables)
        return found

    def _width_groups(self) -> tuple[WidthGroup, ...]:
        """The stacks, narrowest first."""
        with torch.device("meta"):
            names = tuple(self.backbone.init(1, self.in_features, self.channels, None))
        if self.widths is None:
            return (WidthGroup(self.backbone, tuple(range(self.networks)), "", names),)
        return tuple(
            WidthGroup(
                self.backbone.with_width(width),
                tuple(number for number, own in enumerate(self.widths) if own == width),
                f"{width}/",
                names,
            )
            for width in sorted(set(self.widths))
        )

    # -- figures ------------------------------------------------------------------------------------------------

    @property
    def parameter_count(self) -> int:
        """Learned numbers over all regions."""
        own = (
            group.backbone.parameters(self.in_features, self.channels) * len(group.networks) for group in self.groups
        )
        return sum(own)

    @cached_property
    def macs_of_networks(self) -> tuple[int, ...]:
        """Multiply-accumulates of each network for one of its samples, forward."""
        return tuple(
            macs
            for group in self.groups
            for macs in [group.backbone.macs(self.in_features, self.channels)] * len(group.networks)
        )

    def mean_macs(self, samples: Sequence[int], among: int | None = None) -> int:
        """Multiply-accumulates for one sample, forward, mean over samples.

        Args:
            samples: how many each network has, as whoever makes the stack counts the networks.
            among: how many there are, where several networks have a part in one; None for the sum.
        """
        numbers = (number for group in self.groups for number in group.networks)
        total = sum(samples[number] * macs for number, macs in zip(numbers, self.macs_of_networks, strict=True))
        return round(total / (sum(samples) if among is None else among))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.stack.values())).device

    # -- evaluation ---------------------------------------------------------------------------------------------

    def forward(self, coords: Tensor, sizes: Sequence[int], params: Mapping[str, Tensor] | None = None) -> Tensor:
        """Evaluate each network on its own samples.

        Args:
            coords: ``[M, d]`` in the frame of the model, sorted by network.
            sizes: how many samples each of the networks has; 0 is allowed.
            params: other parameters than the model's own, by the same names: fast weights of an inner loop, or those
                of some of the networks only, as :meth:`rows` picks them; ``sizes`` are then theirs.

        Returns:
            values ``[M, C]``, not clamped.
        """
        values = [
            self._run(backbone, own, coords[samples], own_sizes)
            for backbone, own, samples, own_sizes in self._by_width(sizes, params)
        ]
        return values[0] if len(values) == 1 else torch.cat(values)

    def differentiable(self, coords: Tensor, sizes: Sequence[int], params: Mapping[str, Tensor]) -> Tensor:
        """:meth:`forward` by torch's own operations alone, to be differentiated by the coordinates, again and again."""
        values = [
            self._plain(backbone, own, coords[samples], own_sizes)
            for backbone, own, samples, own_sizes in self._by_width(sizes, params)
        ]
        return torch.cat(values)

    def squared_error(
        self,
        coords: Tensor,
        targets: Tensor,
        sizes: Sequence[int],
        weights: Tensor | None = None,
        params: Mapping[str, Tensor] | None = None,
        twice: bool = False,
    ) -> Tensor:
        """What :meth:`forward` is off by: squared, summed over samples and channels; a scalar.

        The same as written out, but an engine that can takes values and gradients in one pass. Differentiable by the
        parameters; by targets and weights it is not.

        Args:
            coords: as for :meth:`forward`.
            targets: ``[M, C]``, in the same order.
            sizes: as for :meth:`forward`.
            weights: ``[M, 1]``, of each sample; None where all are 1.
            params: as for :meth:`forward`.
            twice: its gradient will be differentiated in its turn. It can be in any case; but an engine that takes
                values and gradients in one pass would do so in vain.
        """
        total = targets.new_zeros(())
        for backbone, own, samples, own_sizes in self._by_width(sizes, params):
            weight = None if weights is None else weights[samples]
            chain = backbone.chain(own)
            if chain is not None and not twice and fuses(self.engine, chain, coords) and not coords.requires_grad:
                total = total + fused_error(chain, coords[samples], targets[samples], weight, own_sizes)
            elif chain is not None and not twice and tiles(self.engine, chain, coords[samples], own_sizes):
                total = total + tiled_error(chain, coords[samples], targets[samples], weight, own_sizes)
            else:
                # Under autocast the values are narrower than the targets; the difference has the targets' precision.
                # Of compiled code there is no second derivative: torch's own operations have them.
                evaluate = self._plain if twice else self._run
                values = evaluate(backbone, own, coords[samples], own_sizes)
                error = (values - targets[samples]).square()
                total = total + (error if weight is None else error * weight).sum()
        return total

    def curvature(
        self,
        coords: Tensor,
        targets: Tensor,
        sizes: Sequence[int],
        weights: Tensor | None,
        params: Mapping[str, Tensor],
        along: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """The Hessian of :meth:`squared_error` times a direction in the parameters.

        For an engine that has kernels for it: :meth:`has_curvature` says so.

        Args:
            coords: as for :meth:`squared_error`.
            targets: likewise.
            sizes: likewise.
            weights: likewise.
            params: where.
            along: the direction, by the same names.

        Returns:
            the product by name, not differentiable.
        """
        product: dict[str, Tensor] = {}
        directions = self._by_width(sizes, along)
        for (backbone, own, samples, own_sizes), (_, way, *_), group in zip(
            self._by_width(sizes, params), directions, self.groups, strict=True
        ):
            chain, chain_along = backbone.chain(own), backbone.chain(way)
            assert chain is not None
            assert chain_along is not None
            weight = None if weights is None else weights[samples]
            of_chain = curvature(self.engine, chain, chain_along, coords[samples], targets[samples], weight, own_sizes)
            product.update({f"{group.prefix}{name}": each for name, each in zip(group.names, of_chain, strict=True)})
        return product

    def has_curvature(self, coords: Tensor, sizes: Sequence[int], params: Mapping[str, Tensor]) -> bool:
        """Whether the engine has kernels for :meth:`curvature` at such parameters."""
        for backbone, own, samples, own_sizes in self._by_width(sizes, params):
            chain = backbone.chain(own)
            if chain is None or not has_curvature(self.engine, chain, coords[samples], own_sizes):
                return False
        return True

    def _by_width(
        self, sizes: Sequence[int], params: Mapping[str, Tensor] | None
    ) -> Iterator[tuple[Backbone, dict[str, Tensor], slice, tuple[int, ...]]]:
        """Each stack: its architecture, its parameters, where its samples are, how many each network has."""
        given: Mapping[str, Tensor] = dict(self.stack) if params is None else params
        network, sample = 0, 0
        for group in self.groups:
            own = {name: given[f"{group.prefix}{name}"] for name in group.names}
            own_sizes = tuple(sizes[network : network + len(own[group.names[0]])])
            if own_sizes:
                stop = sample + sum(own_sizes)
                yield group.backbone, own, slice(sample, stop), own_sizes
                network, sample = network + len(own_sizes), stop

    @torch.no_grad()
    def begin_at_mean(self, targets: Tensor, sizes: Sequence[int]) -> None:
        """Let the values of each network begin around the mean of its targets: that is its bias of the output layer.

        Args:
            targets: ``[M, C]``, sorted by network.
            sizes: how many samples each of the networks has; one without any keeps its bias.
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
        """The names of the matrices between the layers of the networks; None if there are none, see the backbone's."""
        found = self.backbone.hidden_matrices()
        if found is None:
            return None
        return frozenset(f"{group.prefix}{name}" for group in self.groups for name in found)

    def rows(self, networks: Tensor) -> dict[str, Tensor]:
        """Where some of the networks lie in the parameters.

        Args:
            networks: int64 ``[n]``, ascending, in the order of :meth:`batch`.

        Returns:
            for each parameter of the stack, int64 indices along its first axis.
        """
        found, start = {}, 0
        for group in self.groups:
            stop = start + len(group.networks)
            own = networks[(networks >= start) & (networks < stop)] - start
            found.update({f"{group.prefix}{name}": own for name in group.names})
            start = stop
        return found

    def _run(self, backbone: Backbone, params: Mapping[str, Tensor], coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """One stack, by the engine that suits it."""
        chain = backbone.chain(params)
        if chain is not None and fuses(self.engine, chain, coords):
            return run_fused(chain, coords, sizes)
        if chain is not None and tiles(self.engine, chain, coords, sizes):
            return run_tiled(chain, coords, sizes)
        if groups(self.engine, coords):
            return run_grouped(backbone.apply, params, coords, sizes)
        tables = backbone.tables(params) if self.engine == "tcnn" else None
        if tables is not None and takes_tables(tables, coords):
            encoded = run_tcnn(tables, coords, sizes)
            return self._plain(backbone, tables.rest, encoded, sizes, tables.network)
        network = compile_network(backbone.apply) if self.engine == "compiled" else backbone.apply
        return self._plain(backbone, params, coords, sizes, network)

    def _plain(
        self,
        backbone: Backbone,
        params: Mapping[str, Tensor],
        coords: Tensor,
        sizes: tuple[int, ...],
        network: Network | None = None,
    ) -> Tensor:
        """One stack, block by block, by torch's own operations unless ``network`` has better ones."""
        plan = make_plan(sizes, self.engine, backbone.macs(self.in_features, self.channels), coords.device)
        return run_stack(backbone.apply if network is None else network, params, coords, plan)

    @torch.no_grad()
    def evaluate(
        self,
        coords: Tensor,
        sizes: Sequence[int],
        chunk: int = CHUNK,
        params: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """:meth:`forward` without gradients, at most ``chunk`` samples at once; ``params`` as there."""
        if coords.shape[0] <= chunk:
            return self(coords, sizes, params)
        ends = torch.tensor(sizes).cumsum(0)
        pieces = []
        for start in range(0, coords.shape[0], chunk):
            stop = min(start + chunk, coords.shape[0])
            inside = ends.clamp(start, stop)
            part = torch.diff(inside, prepend=torch.tensor([start])).tolist()
            pieces.append(self(coords[start:stop], part, params))
        return torch.cat(pieces)
