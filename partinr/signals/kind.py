"""What a kind of signal is: how it is measured, drawn, resampled and written.

Values are float32 ``[*grid, C]`` in [0, 1] for every kind, and PSNR over data range 1 is the curve's ``psnr``.
Training, model and engines know no kind. What differs is the answer of a :class:`SignalKind`.

To add a kind:

1. Write ``signals/kinds/NAME.py`` with a ``@spec`` class that derives from :class:`SignalKind` and sets ``name``. Its
   fields are the facts of one signal, such as a sampling rate: numbers, text or lists. One with a default may be absent
   in files. Every method of the base class has a default, which takes the middle slice for a picture.
2. Inside partinr, add a line to ``BUILT_IN`` in ``signals/kinds/__init__.py``. A kind of another package needs none:
   files name it by the dotted path of its class (:mod:`partinr.base.trust`).
3. Write the set of signals (``SingleSignal`` or ``SignalSet``), whose ``read`` returns ``Reading(values, identity,
   kind)``, and its YAML in ``conf/data``. ``everywhere`` gives values between the samples where they are known, for
   ``regime.jitter``.

On pages ``words`` name the signal; ``leads`` is the metric by which fits are compared, ``levels`` its values in tables.
Runs then measure and draw it: ``metrics`` and :meth:`~SignalKind.measure` become columns of the curve and the report,
:meth:`~SignalKind.final` goes into ``metrics`` of ``run.json``, :meth:`~SignalKind.picture` and the other pictures into
the run directory, and ``kept`` names the format in which a run keeps ``signal`` and ``reconstruction`` beside them.
``partinr view`` has sliders where :meth:`~SignalKind.upright` says how a volume is turned.
``partinr render`` asks :meth:`~SignalKind.shape_for`, :meth:`~SignalKind.resampled` and :meth:`~SignalKind.write`.
Drawing belongs into ``partinr/pictures``, and numbers into ``partinr/metrics``; import slow packages late.
"""

from __future__ import annotations

import dataclasses
from abc import ABC
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.spec import defaults, spec
from partinr.coords import scaled_shape
from partinr.pictures.draw import coloured, partition_overlay
from partinr.pictures.errors import error_map
from partinr.pictures.notebook import plane
from partinr.pictures.slices import Upright
from partinr.pictures.write import Depth, depth_of, write_picture


@dataclass(frozen=True)
class Asked:
    """The resolution that a user asks of ``partinr render``; None for what was not given.

    Attributes:
        scale: factor on the resolution of the fitted signal.
        size: numbers of ``--size``.
        rate: samples, or frames, per second.
        spacing: distance of two samples, in the unit of the signal.
        start: place of the part that is rendered, in samples along each axis.
    """

    scale: float | None = None
    size: tuple[int, ...] | None = None
    rate: float | None = None
    spacing: float | None = None
    start: tuple[Fraction, ...] | None = None


@spec
class SignalKind(ABC):
    """The facts of one signal, and what follows from its kind.

    Attributes:
        low: the physical value that is stored as 0.
        high: the physical value that is stored as 1.
    """

    name: ClassVar[str]
    """A short, unique name: that of built-in kinds in files."""
    words: ClassVar[tuple[str, str]] = ("signal", "signals")
    """What pages call one signal, and several."""
    leads: ClassVar[str] = "psnr"
    """The metric by which pages compare fits and say how soon they got there: ``psnr``, or one of :attr:`metrics` of
    which higher values are better."""
    levels: ClassVar[tuple[int, ...]] = (25, 30, 35, 40)
    """Values of the leading metric to which tables have the effort."""
    axes: ClassVar[tuple[str, ...]] = ()
    """Names of the axes of the grid; empty if any number of axes is possible."""
    metrics: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    """What :meth:`measure` gives beyond PSNR, one :func:`partinr.base.section.field` each, with ``metrics.KEY`` as its
    value. Keys that are no columns of every curve become further columns."""
    charts: ClassVar[tuple[Mapping[str, str], ...]] = ()
    """Lists among the entries of :meth:`final` that pages draw: ``value``, the path of one such as ``metrics.KEY``;
    ``title``; and ``axis``, what its places are."""
    is_picture: ClassVar[bool] = False
    """Whether a sample is a pixel, so that a picture file holds the signal, and codecs of pictures compare with it."""
    error_scaled: ClassVar[bool] = True
    """Whether :meth:`error_picture` has the colours of the scale of errors (:mod:`partinr.pictures.errors`)."""
    wiped: ClassVar[bool] = True
    """Whether a divider that moves over :meth:`picture` compares two; not if its halves show different things."""
    drawn: ClassVar[bool] = True
    """Whether runs keep pictures of the signal."""
    endings: ClassVar[tuple[str, ...]] = ()
    """Endings of files that :meth:`write` takes beyond those of pictures and arrays, such as ``.wav``."""
    kept: ClassVar[str] = ""
    """The ending among :attr:`endings` of the files that a run keeps of signal and reconstruction; empty for none."""
    media: ClassVar[str] = ""
    """The HTML element that plays the files of ``kept``: ``audio`` or ``video``; empty for none."""

    sides: ClassVar[tuple[str, ...]] = ()
    """What the numbers of ``--size`` are; empty for one number an axis."""
    units: ClassVar[str] = "samples"
    """The unit of :attr:`sides`."""
    most_samples: ClassVar[int] = 1_000_000
    """Limit of samples along an axis that can be rendered, since a band of one row must fit into memory."""

    low: float = 0.0
    high: float = 1.0

    # -- facts ---------------------------------------------------------------------------------------------------

    def plain(self) -> dict[str, Any]:
        """The kind and the facts that differ from their defaults, as kept in ``run.json`` and in files of weights."""
        own = type(self)
        built_in = own.__module__.startswith("partinr.signals.kinds.")
        usual = defaults(self)
        facts = {
            key: value for key, value in dataclasses.asdict(self).items() if key not in usual or value != usual[key]
        }
        return {"name": own.name if built_in else f"{own.__module__}.{own.__qualname__}", **facts}

    def describe(self, shape: Sequence[int] | None = None) -> dict[str, Any]:
        """The entries of ``signal`` in ``run.json``, from which readers work without the code of the kind.

        Args:
            shape: ``[*grid]`` of the signal, if there is one.
        """
        found: dict[str, Any] = {"kind": self.plain()}
        if shape is not None and (legend := self.legend(shape)):
            found["legend"] = legend
        if self.kept:
            # The names that partinr.runs.layout gives them.
            names = {part: f"{part}{self.kept}" for part in ("signal", "reconstruction", "reconstruction_best")}
            found["files"] = {**names, "media": self.media}
        if not self.is_picture:
            found["picture"] = False
        if self.metrics:
            found["metrics"] = [dict(each) for each in self.metrics]
        if self.charts:
            found["charts"] = [dict(each) for each in self.charts]
        if not self.error_scaled:
            found["error_scale"] = False
        # Readers take runs that say nothing for images with the usual levels of PSNR.
        if self.words != ("image", "images"):
            found["words"] = list(self.words)
        if self.leads != "psnr":
            found["leads"] = {"key": self.leads, "levels": list(self.levels)}
        return found

    def size(self, shape: Sequence[int]) -> str:
        """The size of a signal in words.

        Args:
            shape: ``[*grid]``.
        """
        return f"{'×'.join(map(str, shape))} samples"

    def legend(self, shape: Sequence[int]) -> str:
        """What the axes of :meth:`picture` are, in a few words; empty where a picture says it itself.

        Args:
            shape: ``[*grid]``.
        """
        return ""

    def physical(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        """Stored values in the unit of the signal."""
        found: NDArray[np.floating] = self.low + (self.high - self.low) * values
        return found

    # -- numbers -------------------------------------------------------------------------------------------------

    def measure(self, reconstruction: Tensor, signal: Tensor) -> dict[str, float]:
        """A number for each of :attr:`metrics`, by key, at every evaluation.

        Args:
            reconstruction: ``[*grid, C]``, any values.
            signal: the same shape, in [0, 1].
        """
        return {}

    def final(self, reconstruction: Tensor, signal: Tensor) -> dict[str, Any]:
        """Further entries of ``metrics`` in ``run.json`` at the end of the run: what takes time, or is a list."""
        return {}

    def check(self) -> None:  # noqa: B027 - most kinds need nothing
        """Refuse, before the run begins, what :meth:`final` would fail with.

        Raises:
            PartinrError: something is missing that it needs.
        """

    # -- pictures ------------------------------------------------------------------------------------------------

    def picture(self, values: Any) -> NDArray[Any]:
        """The signal as a picture: float ``[H, W, 1 or 3]`` in [0, 1].

        Args:
            values: ``[*grid, C]`` in [0, 1], NumPy array or tensor on the CPU.
        """
        return coloured(plane(values, len(values.shape) - 1))

    def label_plane(self, labels: Any) -> NDArray[np.integer[Any]]:
        """The region of each pixel of :meth:`picture`: integer ``[H, W]``.

        Args:
            labels: integer ``[*grid]``.
        """
        return plane(labels, len(labels.shape))

    def partition_picture(self, labels: Any, values: Any) -> NDArray[Any]:
        """The picture of a signal with the borders of its regions: float RGB ``[H, W, 3]`` in [0, 1]."""
        return partition_overlay(self.picture(values), self.label_plane(labels))

    def error_picture(self, signal: Any, reconstruction: Any) -> NDArray[Any]:
        """The error of a reconstruction as a picture: float RGB ``[H, W, 3]`` in [0, 1]."""
        axes = len(signal.shape) - 1
        return error_map(plane(signal, axes), plane(reconstruction, axes))

    def upright(self) -> Upright | None:
        """How pages turn a volume to slice it along all axes; None for other signals, which :meth:`picture` shows."""
        return None

    # -- files ---------------------------------------------------------------------------------------------------

    def shape_for(self, grid: Sequence[int | Fraction], asked: Asked) -> list[int]:
        """The number of samples along each axis at a resolution.

        Args:
            grid: samples of the fitted signal, or of a part of it, along each axis.
            asked: the resolution.

        Raises:
            PartinrError: it is not for this kind.
        """
        for option, value in (("rate", asked.rate), ("spacing", asked.spacing)):
            if value is not None:
                raise PartinrError(f"--{option} is not for this kind of signal ({self.name}); give --scale or --size")
        if asked.size is None:
            return list(scaled_shape(grid, 1.0 if asked.scale is None else asked.scale))
        return list(asked.size)

    def resampled(self, grid: Sequence[int | Fraction], shape: Sequence[int], asked: Asked) -> Self:
        """The facts of the signal on a grid of another resolution, ``shape`` samples instead of ``grid``."""
        return self

    def depth_of(self, path: Path, depth: Depth | None) -> Depth:
        """The type of numbers in a file, see :func:`partinr.pictures.write.depth_of`.

        Raises:
            PartinrError: no such file can be written, or not in this depth.
        """
        if not path.name.lower().endswith(self.endings):
            return depth_of(path, depth, further=self.endings)
        if depth is not None:
            raise PartinrError(f"--depth is for pictures and NPY, not for {path}; leave it out")
        return "float"

    def write(self, path: Path, values: Iterable[NDArray[np.float32]], shape: Sequence[int], depth: Depth) -> None:
        """Write a signal into a file; an existing one stays until the new one is complete.

        Args:
            path: of one of :attr:`endings`, a picture or an array.
            values: float32 ``[n, *rest, C]`` each, one after the other along the first axis.
            shape: ``[*grid, C]`` of the whole.
            depth: from :meth:`depth_of`.

        Raises:
            PartinrError: the format cannot hold the signal.
            OSError: the file cannot be written.
        """
        if not self.is_picture and path.suffix.lower() != ".npy":
            drawn = self.picture(np.concatenate(list(values)))
            values, shape = [np.asarray(drawn, np.float32)], drawn.shape
        write_picture(path, shape, depth, values)
