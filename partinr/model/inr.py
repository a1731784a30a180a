"""A piecewise implicit neural representation: a partition and a stack of networks, one a region."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from partinr.backbones import Backbone, backbone_name, load_backbone
from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.coords import AxisSamples, Frame, axis_samples, scaled_shape
from partinr.engines import EngineName
from partinr.model.batch import RegionBatch, mix, sort_by_network
from partinr.model.derivatives import Field, check_field, derivatives
from partinr.model.frames import Frames, check_frame
from partinr.model.quantise import Bits, Per, pack, unpack
from partinr.model.serialise import deserialise, serialise
from partinr.model.signal_stack import SignalStack
from partinr.partition import Partition

FORMAT = 3
"""Version of the layout of ``inr.safetensors``. 2: networks of several widths. 3: with a checksum; weights may be
quantised, networks blended."""

UNSEALED = 2
"""The last version without a checksum."""

LABELS = "partition.labels"
"""The name of the label map in ``inr.safetensors``."""

MOST_OVERLAP = 32
"""In samples. How the regions around a point share it is a matter of (2 overlap + 1)^d samples around it."""

BAND = 2**20
"""Samples that are rendered at once: pictures of up to so many are evaluated just as a training evaluates them."""

Crop = Sequence[tuple[float | Fraction, float | Fraction]]
"""Where a part of a signal begins and ends along each axis."""


@door
class PiecewiseINR(SignalStack):
    """One small network a region, trained and evaluated as one stack.

    Where the regions' networks have several widths there is a stack a width. Networks, and the samples of a batch, are
    sorted by stack, then by region; with one width that is by region.

    Args:
        partition: which sample belongs to which region.
        backbone: the architecture that every region's network has; ``match_params`` counts over all regions.
        widths: hidden features of each region's network, such as :func:`capacity.widths` gives; None for the
            backbone's own everywhere.
        channels: values a sample, C; 3 for RGB, 1 for grey.
        frame: ``global``, one [-1, 1] for the whole signal, or ``local``, one for each region's bounding box.
        overlap: by so many samples each region's network reaches beyond its borders, on either side of which the
            networks are blended, smoothly and with weights that sum to 1 (:meth:`Partition.cover_on
            <partinr.partition.Partition.cover_on>`). A local frame grows by as much.
        global_network: one more network, of the same architecture, sees the whole signal in the global frame, and its
            values are added to those of the regions. It counts among the networks that ``match_params`` is shared by.
            Where there is one region there is none.
        engine: how the stack is evaluated (:mod:`partinr.engines.registry`).
        seed: of the initialisation, 0 or more; None for weights without values, which :meth:`load` puts in.

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
        global_network: bool = False,
        engine: EngineName = "auto",
        seed: int | None = 0,
    ) -> None:
        check_frame(frame)
        if not 0 <= overlap <= MOST_OVERLAP:
            raise PartinrError(f"overlap={overlap}; give 0 to {MOST_OVERLAP} samples")
        self.overlap = overlap if partition.regions > 1 else 0
        self.global_network = global_network and partition.regions > 1
        if self.global_network and widths is not None:
            raise PartinrError("with global_network=true all networks have one width; leave capacity=equal")
        super().__init__(
            backbone,
            partition.regions + self.global_network,
            in_features=len(partition.shape),
            channels=channels,
            widths=widths,
            engine=engine,
            seed=seed,
        )
        self.partition = partition
        self.frame = frame
        self._frames = Frames.of(partition, frame, self.overlap, self.global_network)
        self.names, self.partitions, self.frames = ("",), (partition,), (self._frames,)
        self.parameter_counts = [self.parameter_count]

    def extra_repr(self) -> str:
        """Grid and channels of the signal, regions, and what the networks are."""
        size = "×".join(map(str, (*self.partition.shape, self.channels)))
        regions = "1 region" if self.partition.regions == 1 else f"{self.partition.regions:,} regions"
        return f"{size}, {regions}, {super().extra_repr()}"

    # -- figures ------------------------------------------------------------------------------------------------

    def architecture(self) -> dict[str, Any]:
        """What must be equal for weights of one model to fit another: plain containers."""
        return {
            "backbone": backbone_name(self.backbone),
            "options": dataclasses.asdict(self.backbone),
            "widths": None if self.widths is None else list(self.widths),
            "frame": self.frame,
            # Not of models from before there was such a thing, which can be gone on with.
            **({"overlap": self.overlap} if self.overlap else {}),
            **({"global_network": True} if self.global_network else {}),
            "channels": self.channels,
            "shape": list(self.partition.shape),
            "regions": self.partition.regions,
            "labels_sha256": hashlib.sha256(self.partition.labels.numpy().tobytes()).hexdigest(),
        }

    @property
    def untrained(self) -> frozenset[str]:
        """Names, among the parameters, of those that the backbone does not train."""
        return frozenset(name for name in self.stack if name.rpartition("/")[2] in self.backbone.fixed)

    # -- evaluation ---------------------------------------------------------------------------------------------

    def coords_at(self, labels: Tensor, axes: Sequence[AxisSamples] | None = None) -> Tensor:
        """What the networks see of each of some places, in the frame of the model.

        Args:
            labels: int64 ``[*grid]``, the region of each.
            axes: where they are, along each axis; None for the samples of a grid of that shape, at any resolution.

        Returns:
            float32 ``[M, d]``, row-major.
        """
        return self._frames.coords(labels, axes)

    def member(self, number: int) -> Self:
        """This model: its one signal is number 0."""
        return self

    def batch(self, signal: Tensor) -> RegionBatch:
        """The signal as a ragged region batch.

        Args:
            signal: float32 ``[*grid, C]``.

        Raises:
            PartinrError: grid or channels are not the model's.
        """
        return self.batch_of([signal])

    def raster(
        self, scale: float = 1, *, shape: Sequence[int] | None = None, crop: Crop | None = None
    ) -> tuple[AxisSamples, ...]:
        """Where a picture of the fitted signal has its samples.

        Args:
            scale: times the resolution of the signal that was fitted.
            shape: how many samples along each axis, instead of ``scale``.
            crop: the part to draw: where it begins and ends along each axis, in samples of the fitted signal, which
                need not be whole; sample i fills i … i + 1. None for all of it.

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

        A new sample belongs to the region of the old sample whose cell holds it (exact for a grid partition), or to
        the one that its neighbours vote for, see :meth:`Partition.labels_at <partinr.partition.Partition.labels_at>`.

        Args:
            scale: see :meth:`raster`.
            shape: likewise.
            crop: likewise.
            smooth: smooth the borders between regions; where they overlap, they are smooth anyway.
            field: ``value``; or ``gradient`` or ``laplacian`` of each region's function before it is clamped, the unit
                of length being a sample of the fitted signal, whatever the resolution. Jumps between regions are not in
                it. Of networks that are blended there are values only.

        Returns:
            float32 on the CPU: ``[*shape, C]``, the values in [0, 1]; ``[*shape, C, d]`` of the gradient.

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
            samples: of a piece, about; a piece is one row of the picture at least. None for :data:`BAND`.
        """
        check_field(field)
        if self.blended and field != "value":
            raise PartinrError(
                f"there is no {field} of networks that are blended (overlap, global_network); "
                "give the value, or fit without them"
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
        # In the precision of the parameters: a model that was trained in double precision stays in it.
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
        """Where several networks have a part in a sample: the weighted sum of their values."""
        cover, coords = self._frames.cover(self.partition, axes, smooth)
        order, sizes = sort_by_network(self.position[cover.network], self.networks)
        values = self.evaluate(coords[order].to(next(iter(self.stack.values()))), sizes).float().cpu()
        shape = [len(axis) for axis in axes]
        picture = mix(values, cover.weight[order].float().unsqueeze(1), cover.sample[order], math.prod(shape))
        return picture.reshape(*shape, self.channels).clamp(0, 1)

    # -- keeping ------------------------------------------------------------------------------------------------

    def to_bytes(self, bits: Bits | None = None, per: Per = "channel") -> bytes:
        """The model as the content of a safetensors file: weights, label map, and the architecture in its header.

        Args:
            bits: of a weight, 8 or 16 (:mod:`quantise`), the label map then being lossless WebP; None for the
                weights as they are.
            per: what of quantised weights has a scale of its own: each ``tensor`` of each network, or each ``channel``.

        Raises:
            PartinrError: there is no such precision, or a weight that is to be quantised is not finite.
        """
        header: dict[str, Any] = {"format": FORMAT, "engine": self.engine, **self.architecture()}
        if bits is None:
            return serialise("partinr", header, {**self.stack, LABELS: self.partition.labels.int()})
        said, tensors = pack(dict(self.stack), self.partition.labels, bits, per, self.untrained)
        return serialise("partinr", {**header, **said}, tensors)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read an ``inr.safetensors``.

        Nothing is unpickled, no code is imported that is not trusted (:mod:`partinr.base.trust`), and nothing is
        allocated that the file does not fill.

        Raises:
            PartinrError: no such file, not one of partinr's, damaged, altered, or of a newer format; or its backbone
                is neither partinr's nor trusted.
        """

        def make(header: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
            unpack(header, tensors, LABELS)
            labels = tensors.pop(LABELS)
            if labels.dtype != torch.int32 or list(labels.shape) != header["shape"]:
                raise ValueError(f"its label map is {labels.dtype} {list(labels.shape)}, not int32 {header['shape']}")
            options, widths = header["options"], header.get("widths")
            # A depth, or a number of stacks, that the file has no tensors for would be counted through first.
            if max(options.get("hidden_layers", 0), 0 if widths is None else len(set(widths))) > len(tensors):
                raise ValueError("it has fewer weights than its header says")
            model = cls(
                Partition(labels),
                load_backbone(header["backbone"], options),
                widths=widths,
                channels=header["channels"],
                frame=header["frame"],
                overlap=header.get("overlap", 0),
                global_network=header.get("global_network", False),
                engine=header["engine"],
                seed=None,
            )
            _check_tensors(dict(model.stack), tensors)
            _check_said({name: said for name, said in header.items() if name != "engine"}, model.architecture())
            # assign: in the precision that they were trained in.
            model.stack.load_state_dict({name: value.clone() for name, value in tensors.items()}, assign=True)
            return model

        what, cure = "a readable partinr model", "the inr.safetensors of a run directory"
        model: Self = deserialise(path, "partinr", FORMAT, make, what=what, cure=cure, unsealed=UNSEALED)
        return model


def _within(crop: Crop, grid: Sequence[int]) -> list[tuple[Fraction, Fraction]]:
    """A part of a grid, to a millionth of a sample: 0.1 is meant as a tenth.

    Raises:
        PartinrError: it has other axes, is empty, or reaches beyond the grid.
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


def _check_tensors(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """See that weights are those that an architecture has.

    Raises:
        ValueError: one is missing, too many, of another shape or type, or not finite.
    """
    if wanted.keys() != given.keys():
        raise ValueError(f"its weights are {', '.join(sorted(given))}; expected are {', '.join(sorted(wanted))}")
    for name, value in given.items():
        if value.shape != wanted[name].shape:
            raise ValueError(f"its {name} is {list(value.shape)}, and {list(wanted[name].shape)} by its header")
        if value.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"its {name} is {value.dtype}, not float32 or float64")
        if not value.isfinite().all():
            raise ValueError(f"its {name} has values that are NaN or infinite")


def _check_said(said: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """See that a header says what is the case. An option that it does not know of has its default.

    Raises:
        ValueError: it does not.
    """
    for name, value in said.items():
        if name == "options":
            _check_said(value, found[name])
        elif name not in found or json.dumps(value) != json.dumps(found[name]):
            raise ValueError(f"its header says {name}={str(value)[:60]}, which does not go with the rest of it")
