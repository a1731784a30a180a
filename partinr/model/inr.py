"""A piecewise implicit neural representation: a partition and a stack of networks, one per region."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Self, get_args

import torch
from torch import Tensor

from partinr.backbones import Backbone, backbone_name, load_backbone
from partinr.base.environment import door
from partinr.base.errors import PartinrError, check_choice
from partinr.coords import AxisSamples, Frame, Layout, axis_samples, scaled_shape
from partinr.engines import EngineName
from partinr.model.batch import RegionBatch, mix, sort_by_network
from partinr.model.coupling import NONE, GlobalNetwork, Team, coupling_of
from partinr.model.derivatives import Field, derivatives
from partinr.model.frames import Frames
from partinr.model.quantise import Bits, Per, pack, unpack
from partinr.model.serialise import check_said, check_tensors, deserialise, serialise
from partinr.model.signal_stack import SignalStack
from partinr.partition import Partition

FORMAT = 4
"""Version of ``inr.safetensors``. 2: several widths. 3: checksum, quantised weights, blending. 4: shared parameters."""

UNSEALED = 2
"""The last version without a checksum."""

LABELS = "partition.labels"
"""The name of the label map in ``inr.safetensors``."""

MOST_OVERLAP = 32
"""Largest ``overlap``, in samples. Blending weights at a point depend on the (2 overlap + 1)^d samples around it."""

BAND = 2**20
"""Samples that are rendered at once. Smaller pictures are evaluated exactly as in training."""

Crop = Sequence[tuple[float | Fraction, float | Fraction]]
"""Begin and end of a part of a signal along each axis."""


@door
class PiecewiseINR(SignalStack):
    """One small network per region, trained and evaluated as one stack.

    Networks of several widths form one stack per width. Networks, and the samples of a batch, are sorted by stack, then
    by region; with one width, by region.

    Args:
        partition: assigns samples to regions.
        backbone: the architecture of every region's network; ``match_params`` counts over all regions.
        widths: hidden features of each region's network (:func:`capacity.widths`); None for those of the backbone.
        channels: values per sample, C; 3 for RGB, 1 for grey.
        frame: ``global``, one [-1, 1] for the whole signal, or ``local``, one for each region's bounding box.
        overlap: number of samples that each region's network reaches beyond the region's border. Networks are blended
            there smoothly, with weights that sum to 1 (:meth:`Partition.cover_on
            <partinr.partition.Partition.cover_on>`). A local frame grows by the same number.
        global_network: what the networks have in common (:mod:`partinr.model.coupling`). ``add`` or True: one more
            network of the same architecture covers the whole signal in the global frame, and its values are added to
            those of the regions. ``layers``: the features of a global network enter each layer. ``modulate``: the
            networks share all layers but the last. It takes part in the budget ``match_params``. A single region has
            nothing of it.
        layout: layout of the coordinates (:func:`partinr.coords.layout_coords`); None for the right one.
        engine: how the stack is evaluated (:mod:`partinr.engines.registry`).
        seed: seed of the initialisation, 0 or more; None for weights without values, which :meth:`load` fills in.
        kind: kind of the signal, kept in files and not used here (:meth:`partinr.signals.kind.SignalKind.plain`); None
            for an image, or a grid of other than two axes.

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
        overlap: int = 0,
        global_network: GlobalNetwork = False,
        layout: Layout | None = None,
        engine: EngineName = "auto",
        seed: int | None = 0,
        kind: Mapping[str, Any] | None = None,
    ) -> None:
        check_choice("coords.frame", frame, get_args(Frame))
        if not 0 <= overlap <= MOST_OVERLAP:
            raise PartinrError(f"overlap={overlap}; give 0 to {MOST_OVERLAP} samples")
        self.overlap = overlap if partition.regions > 1 else 0
        coupling = coupling_of(global_network) if partition.regions > 1 else NONE
        if coupling.said and widths is not None:
            raise PartinrError(
                f"with global_network={str(global_network).lower()} all networks have one width; leave capacity=equal"
            )
        own = Frames.of(partition, frame, self.overlap, coupling, layout)
        team = Team(partition.regions + coupling.everywhere, coupling, own.places)
        super().__init__(
            coupling.sized(backbone, partition.regions, len(partition.shape), channels),
            team.networks,
            in_features=len(partition.shape),
            channels=channels,
            widths=widths,
            engine=engine,
            seed=seed,
            teams=[team],
        )
        self.global_network = coupling.said
        self.partition = partition
        self.frame = frame
        self._frames = own
        self.names, self.partitions, self.frames, self.kinds = ("",), (partition,), (self._frames,), (kind,)
        self.parameter_counts = [self.parameter_count]

    def extra_repr(self) -> str:
        """Grid and channels of the signal, number of regions, and a description of the networks."""
        size = "×".join(map(str, (*self.partition.shape, self.channels)))
        regions = "1 region" if self.partition.regions == 1 else f"{self.partition.regions:,} regions"
        return f"{size}, {regions}, {super().extra_repr()}"

    # -- facts -------------------------------------------------------------------------------------------------

    def architecture(self) -> dict[str, Any]:
        """What must be equal for one model to load the weights of another: plain containers."""
        return {
            "backbone": backbone_name(self.backbone),
            "options": dataclasses.asdict(self.backbone),
            "widths": None if self.widths is None else list(self.widths),
            "frame": self.frame,
            **self._frames.options,
            "channels": self.channels,
            "shape": list(self.partition.shape),
            "regions": self.partition.regions,
            "labels_sha256": hashlib.sha256(self.partition.labels.contiguous().numpy().data).hexdigest(),
        }

    @property
    def untrained(self) -> frozenset[str]:
        """Names of the parameters that the backbone does not train."""
        return frozenset(name for name in self.stack if name.rpartition("/")[2] in self.backbone.fixed)

    # -- evaluation ---------------------------------------------------------------------------------------------

    def coords_at(self, labels: Tensor, axes: Sequence[AxisSamples] | None = None) -> Tensor:
        """The coordinates of some points in the frame of the model.

        Args:
            labels: int64 ``[*grid]``, the region of each point.
            axes: the points along each axis; None for the samples of a grid of that shape, at any resolution.

        Returns:
            float32 ``[M, d]``, row-major.
        """
        return self._frames.coords(labels, axes)

    def member(self, number: int) -> Self:
        """This model, which is the model of its only signal, number 0."""
        return self

    def batch(self, signal: Tensor) -> RegionBatch:
        """The signal as a ragged region batch.

        Args:
            signal: float32 ``[*grid, C]``.

        Raises:
            PartinrError: grid or channels differ from the model's.
        """
        return self.batch_of([signal])

    def raster(
        self, scale: float = 1, *, shape: Sequence[int] | None = None, crop: Crop | None = None
    ) -> tuple[AxisSamples, ...]:
        """The sample positions of a picture of the fitted signal.

        Args:
            scale: factor on the resolution of the fitted signal.
            shape: number of samples along each axis, instead of ``scale``.
            crop: the part to draw: its begin and end along each axis, in samples of the fitted signal, not necessarily
                whole; sample i extends from i to i + 1. None for all of it.

        Returns:
            the samples along each axis.

        Raises:
            PartinrError: an argument is out of range.
        """
        grid = self.partition.shape
        exact = [(Fraction(0), Fraction(n)) for n in grid] if crop is None else _within(crop, grid)
        if shape is None:
            shape = scaled_shape([high - low for low, high in exact], scale)
        if len(shape) != len(grid) or min(shape) < 1:
            raise PartinrError(f"cannot render on a grid of {list(shape)}; give {len(grid)} sizes of 1 or more")
        return tuple(axis_samples(n, m, low, high) for n, m, (low, high) in zip(grid, shape, exact, strict=True))

    def render(
        self,
        scale: float = 1,
        *,
        shape: Sequence[int] | None = None,
        crop: Crop | None = None,
        smooth: bool = False,
        field: Field = "value",
    ) -> Tensor:
        """The fitted signal, or its derivatives, at any resolution.

        A new sample belongs to the region of the old sample whose cell contains it (exact for a grid partition), or to
        the region that its neighbours vote for, see :meth:`Partition.labels_at
        <partinr.partition.Partition.labels_at>`.

        Args:
            scale: see :meth:`raster`.
            shape: likewise.
            crop: likewise.
            smooth: smooth the borders between regions; overlapping regions are smooth anyway.
            field: ``value``; or ``gradient`` or ``laplacian`` of each region's function before clamping. The unit of
                length is a sample of the fitted signal at any resolution. Jumps between regions are not included.
                Blended networks support ``value`` only.

        Returns:
            float32 on the CPU: ``[*shape, C]``, with values in [0, 1]; ``[*shape, C, d]`` for the gradient.

        Raises:
            PartinrError: an argument is out of range.
        """
        axes = self.raster(scale, shape=shape, crop=crop)
        bands = self.bands(axes, smooth=smooth, field=field)
        first = next(bands)
        if len(first) == len(axes[0]):
            return first
        picture = first.new_empty(len(axes[0]), *first.shape[1:])
        stop = 0
        for band in itertools.chain([first], bands):
            picture[stop : stop + len(band)] = band
            stop += len(band)
        return picture

    def bands(
        self,
        axes: Sequence[AxisSamples],
        *,
        smooth: bool = False,
        field: Field = "value",
        samples: int | None = None,
    ) -> Iterator[Tensor]:
        """:meth:`render` piece by piece along the first axis, in memory that does not grow with the picture.

        Args:
            axes: from :meth:`raster`.
            smooth: see :meth:`render`.
            field: likewise.
            samples: approximate number of samples in a piece, which has at least one row of the picture; None for
                :data:`BAND`.
        """
        check_choice("field", field, get_args(Field))
        if self.blended and field != "value":
            raise PartinrError(
                f"there is no {field} of networks that are blended (overlap, global_network); "
                "give the value, or fit without them"
            )
        if not (self.backbone.between or all(axis.on_samples for axis in axes)):
            raise PartinrError(
                f"backbone={self.backbone.title} has no values between the samples that it was fitted to; "
                "render at scale 1, all of it or whole samples, or fit another backbone"
            )
        rows = max(1, (BAND if samples is None else samples) // math.prod(len(axis) for axis in axes[1:]))
        for start in range(0, len(axes[0]), rows):
            yield self._band([axes[0].part(start, start + rows), *axes[1:]], smooth, field)

    def _band(self, axes: Sequence[AxisSamples], smooth: bool, field: Field) -> Tensor:
        if self.blended:
            return self._blended_band(axes, smooth)
        labels = self.partition.labels_on(axes, smooth)
        region = labels.reshape(-1)
        order, sizes = sort_by_network(self.position[region], self.partition.regions)
        # In the precision of the parameters, so that a model trained in double precision is rendered in it.
        coords = self.coords_at(labels, axes)[order].to(next(iter(self.stack.values())))
        if field == "value":
            found = self.evaluate(coords, sizes).clamp(0, 1)
        else:
            steps = self._frames.steps(self.partition.shape, region[order])
            found = derivatives(self, coords, sizes, steps, field)
        found = found.float().cpu()
        picture = torch.empty_like(found)
        picture[order] = found
        return picture.reshape(*labels.shape, *found.shape[1:])

    def _blended_band(self, axes: Sequence[AxisSamples], smooth: bool) -> Tensor:
        """A band of blended networks: the weighted sum of their values at each sample."""
        cover, coords = self._frames.cover(self.partition, axes, smooth)
        order, sizes = sort_by_network(self.position[cover.network], self.networks)
        values = self.evaluate(coords[order].to(next(iter(self.stack.values()))), sizes).float().cpu()
        shape = [len(axis) for axis in axes]
        picture = mix(values, cover.weight[order].float().unsqueeze(1), cover.sample[order], math.prod(shape))
        return picture.reshape(*shape, self.channels).clamp(0, 1)

    # -- files --------------------------------------------------------------------------------------------------

    def to_bytes(self, bits: Bits | None = None, per: Per = "channel") -> bytes:
        """The model as the content of a safetensors file: weights, label map, and the architecture in its header.

        Args:
            bits: bits per weight, 8 or 16 (:mod:`quantise`), with the label map as lossless WebP; None for unchanged
                weights.
            per: which quantised weights share a scale: those of each ``tensor`` of each network, or of each
                ``channel``.

        Raises:
            PartinrError: the precision is unknown, or a weight to be quantised is not finite.
        """
        header: dict[str, Any] = {"format": FORMAT, "engine": self.engine, **self.architecture()}
        if (kind := self.kinds[0]) is not None:
            header["kind"] = dict(kind)
        if bits is None:
            return serialise("partinr", header, {**self.stack, LABELS: self.partition.labels.int()})
        said, tensors = pack(dict(self.stack), self.partition.labels, bits, per, self.untrained)
        return serialise("partinr", {**header, **said}, tensors)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an ``inr.safetensors``.

        The reader unpickles nothing, imports only trusted code (:mod:`partinr.base.trust`), and allocates no more
        memory than the file fills.

        Raises:
            PartinrError: the file is missing, damaged, altered, of a newer format or not written by partinr, or its
                backbone is not trusted.
        """
        what, cure = "a readable partinr model", "the inr.safetensors of a run directory"
        model = deserialise(path, "partinr", FORMAT, partial(_read, cls), what=what, cure=cure, unsealed=UNSEALED)
        assert isinstance(model, cls)
        return model


def _read(cls: type[PiecewiseINR], header: dict[str, Any], tensors: dict[str, Tensor]) -> PiecewiseINR:
    """The model of a file's header and tensors.

    Raises:
        ValueError: they do not go together.
    """
    unpack(header, tensors, LABELS)
    kind = header.pop("kind", None)
    if not isinstance(kind, dict | None):
        raise ValueError(f"its kind of signal is {str(kind)[:60]}")
    labels = tensors.pop(LABELS)
    if labels.dtype != torch.int32 or list(labels.shape) != header["shape"]:
        raise ValueError(f"its label map is {labels.dtype} {list(labels.shape)}, not int32 {header['shape']}")
    options, widths = header["options"], header.get("widths")
    # Checked first: a huge depth or number of stacks in the header would take long to iterate over.
    if max(options.get("hidden_layers", 0), 0 if widths is None else len(set(widths))) > len(tensors):
        raise ValueError("it has fewer weights than its header says")
    model = cls(
        Partition(labels),
        load_backbone(header["backbone"], options),
        widths=widths,
        channels=header["channels"],
        frame=header["frame"],
        **{name: header[name] for name in ("overlap", "global_network", "layout") if name in header},
        engine=header["engine"],
        seed=None,
        kind=kind,
    )
    check_tensors(dict(model.stack), tensors)
    check_said({name: said for name, said in header.items() if name != "engine"}, model.architecture())
    # assign keeps the precision of training.
    model.stack.load_state_dict({name: value.clone() for name, value in tensors.items()}, assign=True)
    return model


def _within(crop: Crop, grid: Sequence[int]) -> list[tuple[Fraction, Fraction]]:
    """A part of a grid, rounded to a millionth of a sample, so that 0.1 means a tenth.

    Raises:
        PartinrError: the part has other axes, is empty, or extends beyond the grid.
    """
    if len(crop) == len(grid) and all(0 <= low < high <= n for (low, high), n in zip(crop, grid, strict=True)):
        exact = [
            (Fraction(low).limit_denominator(10**6), Fraction(high).limit_denominator(10**6)) for low, high in crop
        ]
        if all(low < high for low, high in exact):
            return exact
    given = ",".join(f"{float(low):g}:{float(high):g}" for low, high in crop)
    whole = ",".join(f"0:{n}" for n in grid)
    raise PartinrError(f"the crop {given} is no part of the fitted signal; give one within {whole}")
