"""A piecewise implicit neural representation: a partition and a stack of networks, one a region."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from partinr.backbones import Backbone
from partinr.coords import Frame, grid_coords, region_frames, scaled_shape, to_frame
from partinr.errors import PartinrError
from partinr.partition import Partition
from partinr.stack import (
    ENGINES,
    Chain,
    Engine,
    RegionBatch,
    check_fused,
    check_grouped,
    compile_network,
    fused_error,
    fuses,
    groups,
    make_plan,
    run_fused,
    run_grouped,
    run_stack,
    run_tiled,
    sort_by_network,
    tiled_error,
    tiles,
)

FORMAT = 2
"""Version of the layout of ``inr.safetensors``. 2: networks of several widths."""

CHUNK = 2**18
"""Samples that are evaluated at once outside training, so that memory does not grow with the picture."""


@dataclass(frozen=True)
class WidthGroup:
    """Networks of one width: a stack of their own.

    Attributes:
        backbone: their architecture.
        regions: of the networks, ascending.
        prefix: before the names of their parameters in the whole model.
        names: of their parameters.
    """

    backbone: Backbone
    regions: tuple[int, ...]
    prefix: str
    names: tuple[str, ...]


class PiecewiseINR(nn.Module):
    """One small network a region, trained and evaluated as one stack.

    Where the regions' networks have several widths there is a stack a width. Networks, and the samples of a batch, are
    sorted by stack, then by region; with one width that is by region.

    Args:
        partition: which sample belongs to which region.
        backbone: the architecture that every region's network has; ``match_params`` counts over all regions.
        widths: hidden features of each region's network, such as :func:`partinr.capacity.widths` gives; None for the
            backbone's own everywhere.
        channels: values a sample, C; 3 for RGB, 1 for grey.
        frame: ``global``, one [-1, 1] for the whole signal, or ``local``, one for each region's bounding box.
        engine: how the stack is evaluated (:mod:`partinr.stack.engine`).
        seed: of the initialisation. 0 or more.

    Raises:
        PartinrError: an argument is out of range, or ``match_params`` is too small.
    """

    def __init__(
        self,
        partition: Partition,
        backbone: Backbone,
        *,
        widths: Sequence[int] | None = None,
        channels: int = 3,
        frame: Frame = "global",
        engine: Engine = "auto",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if frame not in get_args(Frame):
            raise PartinrError(f"coords.frame={frame!r} is unknown; choose from {', '.join(get_args(Frame))}")
        if engine not in ENGINES:
            raise PartinrError(f"engine={engine!r} is unknown; choose from {', '.join(ENGINES)}")
        if not 0 <= seed < 2**63:
            raise PartinrError(f"seed={seed} is out of range; give a whole number from 0 on, below 2^63")
        if channels < 1:
            raise PartinrError(f"channels={channels}; give 1 or more values a sample")
        if widths is not None and (len(widths) != partition.regions or min(widths) < 1):
            raise PartinrError(f"widths={list(widths)} for {partition.regions} regions; give one a region, 1 or more")
        self.partition = partition
        self.channels = channels
        self.frame = frame
        self.engine = engine
        self.in_features = len(partition.shape)
        self.backbone = backbone.sized(partition.regions, self.in_features, channels)
        self.widths = None if widths is None or len(set(widths)) == 1 else tuple(widths)
        if widths is not None and self.widths is None:
            self.backbone = self.backbone.with_width(widths[0])
        self.groups = self._width_groups()
        if engine in ("fused", "tiled") and not self.fusible:
            raise PartinrError(
                f"engine={engine} is for chains of sines, such as backbone=siren, not for {self.backbone.title}; "
                "choose engine=auto"
            )
        self._network_of = torch.argsort(torch.tensor([region for group in self.groups for region in group.regions]))
        generator = torch.Generator().manual_seed(seed)
        self.stack = nn.ParameterDict(
            {
                f"{group.prefix}{name}": value
                for group in self.groups
                for name, value in group.backbone.init(
                    len(group.regions), self.in_features, channels, generator
                ).items()
            }
        )
        self._frames = region_frames(partition.labels, partition.regions) if frame == "local" else None

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

    def _width_groups(self) -> tuple[WidthGroup, ...]:
        """The stacks, narrowest first."""
        with torch.device("meta"):
            names = tuple(self.backbone.init(1, self.in_features, self.channels, None))
        if self.widths is None:
            return (WidthGroup(self.backbone, tuple(range(self.partition.regions)), "", names),)
        return tuple(
            WidthGroup(
                self.backbone.with_width(width),
                tuple(region for region, own in enumerate(self.widths) if own == width),
                f"{width}/",
                names,
            )
            for width in sorted(set(self.widths))
        )

    # -- figures ------------------------------------------------------------------------------------------------

    @property
    def parameter_count(self) -> int:
        """Learned numbers over all regions."""
        return sum(value.numel() for value in self.stack.values())

    @cached_property
    def macs_per_sample(self) -> int:
        """Multiply-accumulates for one sample, forward: those of its own region's network; mean over the samples."""
        sizes = self.partition.sizes.tolist()
        regions = (region for group in self.groups for region in group.regions)
        total = sum(sizes[region] * macs for region, macs in zip(regions, self.macs_of_networks, strict=True))
        return round(total / sum(sizes))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(iter(self.stack.values())).device

    def architecture(self) -> dict[str, Any]:
        """What must be equal for weights of one model to fit another: plain containers."""
        return {
            "backbone": f"{type(self.backbone).__module__}.{type(self.backbone).__qualname__}",
            "options": dataclasses.asdict(self.backbone),
            "widths": None if self.widths is None else list(self.widths),
            "frame": self.frame,
            "channels": self.channels,
            "shape": list(self.partition.shape),
            "regions": self.partition.regions,
            "labels_sha256": hashlib.sha256(self.partition.labels.numpy().tobytes()).hexdigest(),
        }

    # -- evaluation ---------------------------------------------------------------------------------------------

    def coords_at(self, labels: Tensor) -> Tensor:
        """What the networks see of each sample of a grid, in the frame of the model.

        Args:
            labels: int64 ``[*grid]``, at any resolution.

        Returns:
            float32 ``[M, d]``, row-major.
        """
        coords = grid_coords(labels.shape)
        if self._frames is not None:
            coords = to_frame(coords, *self._frames, labels.reshape(-1))
        return coords.float()

    def batch(self, signal: Tensor) -> RegionBatch:
        """The signal as a ragged region batch.

        Args:
            signal: float32 ``[*grid, C]``.

        Raises:
            PartinrError: grid or channels are not the model's.
        """
        if tuple(signal.shape[:-1]) != self.partition.shape:
            raise PartinrError(
                f"the signal lies on a grid of {list(signal.shape[:-1])}, the partition on one of "
                f"{list(self.partition.shape)}; make the partition from this signal"
            )
        if signal.shape[-1] != self.channels:
            raise PartinrError(
                f"the signal has {signal.shape[-1]} channels, the model {self.channels}; "
                f"give PiecewiseINR(…, channels={signal.shape[-1]})"
            )
        networks = self._network_of[self.partition.labels.reshape(-1)]
        order, sizes = sort_by_network(networks, self.partition.regions)
        coords = self.coords_at(self.partition.labels)[order]
        return RegionBatch(coords, signal.reshape(-1, self.channels)[order], networks[order], order, sizes)

    def forward(self, coords: Tensor, sizes: Sequence[int], params: Mapping[str, Tensor] | None = None) -> Tensor:
        """Evaluate each region's network on its own samples.

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

    def squared_error(
        self,
        coords: Tensor,
        targets: Tensor,
        sizes: Sequence[int],
        weights: Tensor | None = None,
        params: Mapping[str, Tensor] | None = None,
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
        """
        total = targets.new_zeros(())
        for backbone, own, samples, own_sizes in self._by_width(sizes, params):
            weight = None if weights is None else weights[samples]
            chain = backbone.chain(own)
            if chain is not None and fuses(self.engine, chain, coords) and not coords.requires_grad:
                total = total + fused_error(chain, coords[samples], targets[samples], weight, own_sizes)
            elif chain is not None and tiles(self.engine, chain, coords[samples], own_sizes):
                total = total + tiled_error(chain, coords[samples], targets[samples], weight, own_sizes)
            else:
                # Under autocast the values are narrower than the targets; the difference has the targets' precision.
                error = (self._run(backbone, own, coords[samples], own_sizes) - targets[samples]).square()
                total = total + (error if weight is None else error * weight).sum()
        return total

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

    def rows(self, networks: Tensor) -> dict[str, Tensor]:
        """Where some of the networks lie in the parameters.

        Args:
            networks: int64 ``[n]``, ascending, in the order of :meth:`batch`.

        Returns:
            for each parameter of the stack, int64 indices along its first axis.
        """
        found, start = {}, 0
        for group in self.groups:
            stop = start + len(group.regions)
            own = networks[(networks >= start) & (networks < stop)] - start
            found.update({f"{group.prefix}{name}": own for name in group.names})
            start = stop
        return found

    @cached_property
    def macs_of_networks(self) -> tuple[int, ...]:
        """Multiply-accumulates of each network for one of its samples, forward."""
        return tuple(
            macs
            for group in self.groups
            for macs in [group.backbone.macs(self.in_features, self.channels)] * len(group.regions)
        )

    def _run(self, backbone: Backbone, params: Mapping[str, Tensor], coords: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """One stack, by the engine that suits it."""
        chain = backbone.chain(params)
        if chain is not None and fuses(self.engine, chain, coords):
            return run_fused(chain, coords, sizes)
        if chain is not None and tiles(self.engine, chain, coords, sizes):
            return run_tiled(chain, coords, sizes)
        if groups(self.engine, coords):
            return run_grouped(backbone.apply, params, coords, sizes)
        plan = make_plan(sizes, self.engine, backbone.macs(self.in_features, self.channels), coords.device)
        network = compile_network(backbone.apply) if self.engine == "compiled" else backbone.apply
        return run_stack(network, params, coords, plan)

    @torch.no_grad()
    def evaluate(self, coords: Tensor, sizes: Sequence[int], chunk: int = CHUNK) -> Tensor:
        """:meth:`forward` without gradients, at most ``chunk`` samples at once."""
        if coords.shape[0] <= chunk:
            return self(coords, sizes)
        ends = torch.tensor(sizes).cumsum(0)
        pieces = []
        for start in range(0, coords.shape[0], chunk):
            stop = min(start + chunk, coords.shape[0])
            inside = ends.clamp(start, stop)
            part = torch.diff(inside, prepend=torch.tensor([start])).tolist()
            pieces.append(self(coords[start:stop], part))
        return torch.cat(pieces)

    def render(self, scale: float = 1, *, shape: Sequence[int] | None = None, smooth: bool = False) -> Tensor:
        """The fitted signal at any resolution.

        A new sample belongs to the region of the old sample whose cell holds it (exact for a grid partition), or to
        the one that its neighbours vote for, see :meth:`Partition.labels_at <partinr.partition.Partition.labels_at>`.

        Args:
            scale: times the resolution of the signal that was fitted.
            shape: the grid to render on, instead of ``scale``.
            smooth: smooth the borders between regions.

        Returns:
            float32 ``[*shape, C]`` in [0, 1], on the CPU.

        Raises:
            PartinrError: ``scale`` or ``shape`` is out of range.
        """
        grid = scaled_shape(self.partition.shape, scale) if shape is None else tuple(shape)
        if len(grid) != self.in_features or min(grid) < 1:
            raise PartinrError(f"cannot render on a grid of {list(grid)}; give {self.in_features} sizes of 1 or more")
        labels = self.partition.labels_at(grid, smooth)
        order, sizes = sort_by_network(self._network_of[labels.reshape(-1)], self.partition.regions)
        # In the precision of the parameters: a model that was trained in double precision stays in it.
        coords = self.coords_at(labels)[order].to(next(iter(self.stack.values())))
        values = self.evaluate(coords, sizes).float().cpu()
        picture = torch.empty_like(values)
        picture[order] = values
        return picture.reshape(*grid, self.channels).clamp(0, 1)

    # -- keeping ------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The model as the content of a safetensors file: weights, label map, and the architecture in its header."""
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.stack.items()}
        tensors["partition.labels"] = self.partition.labels.int()
        header = {"format": FORMAT, "engine": self.engine, **self.architecture()}
        return serialise(tensors, {"partinr": json.dumps(header)})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an ``inr.safetensors``.

        Raises:
            PartinrError: no such file, not one of partinr's, damaged, or of a newer format.
        """
        path = Path(path)
        if not path.is_file():
            raise PartinrError(f"{path} does not exist; give the inr.safetensors of a run directory")
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {})["partinr"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            if header["format"] > FORMAT:
                raise PartinrError(f"{path} was written by a newer partinr; update partinr to read it")
            model = cls(
                Partition(tensors.pop("partition.labels")),
                _backbone(header["backbone"], header["options"]),
                widths=header.get("widths"),
                channels=header["channels"],
                frame=header["frame"],
                engine=header["engine"],
            )
            model.stack.load_state_dict(tensors)
            if model.architecture()["labels_sha256"] != header["labels_sha256"]:
                raise PartinrError(f"{path} is damaged: its label map is not the one that was saved; take another copy")
        except PartinrError:
            raise
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise PartinrError(f"{path} is not a readable partinr model: {reason}") from error
        return model


def _backbone(name: str, options: dict[str, Any]) -> Backbone:
    module, _, qualified = name.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), qualified)
    except (ImportError, AttributeError) as error:
        raise PartinrError(
            f"the model's backbone {name} is not installed here; install the package it is from"
        ) from error
    if not (isinstance(kind, type) and issubclass(kind, Backbone)):
        raise PartinrError(f"{name} is no backbone; the model file is damaged")
    return kind(**options)
