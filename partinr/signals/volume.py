"""A volume: a scan in a file, cut, windowed and resized."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.base.spec import READS, spec
from partinr.coords import nearest_samples
from partinr.signals.affine import regridded, stack_affine
from partinr.signals.decode import MAX_PIXELS
from partinr.signals.identity import Reading, SignalIdentity, block_means, file_sha256, samples_sha256
from partinr.signals.image_data import Size
from partinr.signals.kinds.volume import VolumeKind
from partinr.signals.scans import Frame, Scan, open_scan
from partinr.signals.sets import SingleSignal
from partinr.signals.source import Source
from partinr.signals.userfile import quoted

Range = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=2, max_length=2)]
Real = Annotated[float, Field(allow_inf_nan=False)]


@spec
class VolumeData(SingleSignal):
    """A volume: NIfTI, a TIFF stack, or NPY, ``[D, H, W]`` with or without channels behind.

    Its axes are those of the file, in their order. Physical values from ``low`` to ``high`` become 0 to 1, and values
    outside are clipped to them.

    Attributes:
        path: the file.
        low: the physical value that becomes 0; None for the smallest of those that are used.
        high: the physical value that becomes 1; None for the largest.
        crop: the first sample, and the one behind the last, along each axis; None for all.
        stride: take every n-th sample along each axis.
        size: resize to three numbers of samples, or to this many along the longest axis; shrinking takes means.
        frame: of a NIfTI of four axes: the number of one volume, or ``all``, whose volumes are the channels.
        fill: the value in place of NaN and infinity; None to refuse them.
        spacing: distance of neighbouring samples along each axis, in mm; None for that of the file.
    """

    path: Annotated[str, READS]
    low: Real | None = None
    high: Real | None = None
    crop: Annotated[list[Range], Field(min_length=3, max_length=3)] | None = None
    stride: Size = 1
    size: Size | Annotated[list[Size], Field(min_length=3, max_length=3)] | None = None
    frame: Annotated[int, Field(ge=0)] | Frame | None = None
    fill: Real | None = None
    spacing: Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=3, max_length=3)] | (
        None
    ) = None

    def __post_init__(self) -> None:
        """Check that the options go together.

        Raises:
            PartinrError: the window or the crop is empty.
        """
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise PartinrError(f"data.low={self.low:g} is not below data.high={self.high:g}; swap or widen them")
        for start, stop in self.crop or ():
            if start >= stop:
                raise PartinrError(f"data.crop has {start} to {stop}, which is empty; give the end behind the start")

    @property
    def title(self) -> str:
        """The name of the file, without ``.nii.gz`` and other endings."""
        return Path(self.path).name.removesuffix(".gz").rpartition(".")[0] or Path(self.path).name

    @property
    def source(self) -> VolumeSource:
        """The file, and how it is cut, for label maps of it."""
        return VolumeSource(self.title, self.path, data=self)

    def load(self) -> Tensor:
        """The volume: float32 ``[*grid, C]`` in [0, 1].

        Raises:
            PartinrError: as for :meth:`read`.
        """
        return VolumeData.read(self).values  # not of self: a subclass may read what it loads

    def read(self) -> Reading:
        """The volume, its identity, and its units and place in space.

        Raises:
            PartinrError: the file cannot be read, holds no volume, NaN or a single value, or the crop is too large.
        """
        file = Path(os.path.expanduser(self.path))
        scan = open_scan(file, self.frame)
        window = self._window(scan, file)
        samples = self._finite(scan.part(window), file)
        low, high = self._range(samples, file)
        shape = self.resized_shape(samples.shape[:3])
        # In single precision: of integers and of doubles alike, what a network can tell apart.
        values = torch.from_numpy(np.array(samples, np.float32, order="C")).sub_(low).div_(high - low).clamp_(0, 1)
        values = resampled(values, shape)
        about = f"to {shape} from {self.low} to {self.high}" + ("" if self.fill is None else f" over {self.fill}")
        identity = SignalIdentity(
            file.name,
            samples_sha256(samples, about),
            block_means(values),
            file_sha256(file),
            f"{[(each.start, each.stop, each.step) for each in window]} {self.frame} {about}",
            scan.decoder,
        )
        affine = regridded(self._affine(scan), [each.start for each in window], [self.stride] * 3)
        ratio = [old / new for old, new in zip(samples.shape, shape, strict=False)]
        affine = regridded(affine, [(each - 1) / 2 for each in ratio], ratio)
        kind = VolumeKind(low=low, high=high, affine=affine.tolist(), directions=list(scan.axes))
        return Reading(values, identity, kind)

    def _window(self, scan: Scan, file: Path) -> tuple[slice, ...]:
        """The samples to read along each axis.

        Raises:
            PartinrError: the crop is larger than the volume, or too many samples are left.
        """
        ends = [(0, n) for n in scan.shape] if self.crop is None else self.crop
        for (_, stop), n in zip(ends, scan.shape, strict=True):
            if stop > n:
                whole = "×".join(map(str, scan.shape))
                raise PartinrError(f"data.crop ends at {stop}, but {quoted(file)} has {whole} samples; end it earlier")
        window = tuple(slice(start, stop, self.stride) for start, stop in ends)
        used = scan.channels * math.prod(
            len(range(*each.indices(n))) for each, n in zip(window, scan.shape, strict=True)
        )
        if used > MAX_PIXELS:
            raise PartinrError(
                f"{used:,} samples of {quoted(file)} are more than the {MAX_PIXELS:,} that can be read; "
                "give data.crop or data.stride"
            )
        return window

    def _finite(self, samples: NDArray[Any], file: Path) -> NDArray[Any]:
        """Samples without NaN and infinity.

        Raises:
            PartinrError: there are some, and ``fill`` is None.
        """
        if samples.dtype.kind != "f" or (finite := np.isfinite(samples)).all():
            return samples
        if self.fill is None:
            raise PartinrError(
                f"{quoted(file)} has {int((~finite).sum()):,} of {samples.size:,} values that are NaN or infinite; "
                "say what is there with data.fill=0, or cut them off with data.crop"
            )
        return np.where(finite, samples, np.asarray(self.fill, samples.dtype))

    def _range(self, samples: NDArray[Any], file: Path) -> tuple[float, float]:
        """The physical values that become 0 and 1.

        Raises:
            PartinrError: there is a single value, or the window has no extent.
        """
        least, most = float(samples.min()), float(samples.max())
        if least == most and None in (self.low, self.high):
            raise PartinrError(
                f"{quoted(file)} has the value {least:g} everywhere; give another part, or data.low and data.high"
            )
        low, high = least if self.low is None else self.low, most if self.high is None else self.high
        if low >= high:
            raise PartinrError(
                f"the window from {low:g} to {high:g} is empty, since {quoted(file)} has values from {least:g} to "
                f"{most:g}; give both data.low and data.high"
            )
        return low, high

    def resized_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The grid of a volume whose part that is used has this shape."""
        if self.size is None:
            return tuple(shape)
        if isinstance(self.size, list):
            return tuple(self.size)
        return tuple(max(1, round(n * self.size / max(shape))) for n in shape)

    def _affine(self, scan: Scan) -> NDArray[np.float64]:
        """From samples of the whole file to places in space."""
        if scan.affine is None:
            return stack_affine(scan.spacing if self.spacing is None else self.spacing)
        if self.spacing is None:
            return scan.affine
        return scan.affine @ np.diag([*(np.array(self.spacing) / scan.spacing), 1.0])


@dataclass(frozen=True)
class VolumeSource(Source):
    """A volume and how it was cut.

    Attributes:
        data: the volume.
    """

    axes: ClassVar[int] = 3
    data: VolumeData | None = None

    @door
    def cut_labels(self, labels: Tensor) -> Tensor:
        """A label map ``[D, H, W]`` on the grid of the file, cut like the volume; see :meth:`Source.cut_labels`.

        Raises:
            PartinrError: it is on another grid.
        """
        assert self.data is not None
        scan = open_scan(Path(os.path.expanduser(self.data.path)), self.data.frame)
        if tuple(labels.shape) != scan.shape:
            have, need = ("×".join(map(str, shape)) for shape in (labels.shape, scan.shape))
            raise PartinrError(
                f"the label map has {have} samples, the volume {self.name} {need}; give a map with one label for each "
                "sample of its file"
            )
        ends = self.data.crop or [[0, n] for n in scan.shape]
        inner = labels[tuple(slice(start, stop, self.data.stride) for start, stop in ends)]
        target = self.data.resized_shape(inner.shape)
        return inner.reshape(-1)[nearest_samples(inner.shape, target)].reshape(target).to(torch.int64)

    @property
    def ambiguous(self) -> int | None:
        """None: a volume has one orientation."""
        return None


def resampled(values: Tensor, shape: Sequence[int]) -> Tensor:
    """Values on a grid of another shape: means of what a sample covers where all axes shrink, else linear between.

    Args:
        values: ``[*grid, C]`` of three axes.
        shape: three numbers.
    """
    if tuple(values.shape[:-1]) == tuple(shape):
        return values
    planes = values.movedim(-1, 0)[None]
    if all(new <= old for new, old in zip(shape, values.shape, strict=False)):
        found = functional.interpolate(planes, size=list(shape), mode="area")
    else:
        found = functional.interpolate(planes, size=list(shape), mode="trilinear", align_corners=False)
    return found[0].movedim(0, -1).contiguous()
