"""Samples of volumes in files: NIfTI, TIFF stacks and NumPy's NPY.

The content of a file says which it is, not its name. Axes stay in the order of the file. Only the part that is used is
read, where the format allows it.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from partinr.base.errors import PartinrError
from partinr.base.later import of_extra
from partinr.signals.affine import spacing_of
from partinr.signals.userfile import open_file, quoted, warnings_as

Frame = int | Literal["all"]
"""Which volume of a file of four axes; ``all`` makes them the channels."""

_READ_AS = "give NIfTI (.nii, .nii.gz), a TIFF stack, or NPY"


@dataclass(frozen=True)
class Scan:
    """A volume in a file.

    Attributes:
        shape: number of samples along each of its three axes.
        channels: C.
        part: from three slices to the samples ``[*grid, C]`` there, in physical units and of any real type.
        affine: from the number of a sample along each axis to its place in space in mm, ``[4, 4]``; None if the file
            does not say.
        spacing: distance of neighbouring samples along each axis, in the unit of the file; 1 if it does not say.
        axes: names of the axes; in a NIfTI the side of the body that each one leads to, such as ``R``.
        decoder: the program that reads it.
    """

    shape: tuple[int, ...]
    channels: int
    part: Callable[[Sequence[slice]], NDArray[Any]]
    affine: NDArray[np.float64] | None
    spacing: tuple[float, ...]
    axes: tuple[str, ...]
    decoder: str


def open_scan(path: Path, frame: Frame | None = None) -> Scan:
    """The volume in a file.

    Args:
        path: the file.
        frame: of a file of four axes, see :data:`Frame`; None for files of three axes, and for channels.

    Raises:
        PartinrError: the file cannot be read, holds no volume, or needs another ``frame``.
    """
    with open_file(path, "a volume") as stream:
        head = stream.read(352)
        if head[:2] == b"\x1f\x8b":
            stream.seek(0)
            try:
                head = gzip.open(stream).read(352)  # noqa: SIM115 - closes with the stream
            except (OSError, EOFError, zlib.error) as error:
                raise PartinrError(f"{quoted(path)} is a damaged gzip file; copy or download it again") from error
    if not head:
        raise PartinrError(f"{quoted(path)} is an empty file; copy or download it again")
    if head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2"):
        return _nifti(path, frame)
    reader = {b"II": _tiff, b"MM": _tiff, b"\x93N": _npy}.get(head[:2])
    if reader is None:
        raise PartinrError(f"{quoted(path)} is not a volume that can be read here; {_READ_AS}")
    if frame is not None:
        raise PartinrError(f"data.frame={frame} is for NIfTI of four axes, and {quoted(path)} is none; leave it out")
    return reader(path)


# ---------------------------------------------------------------------------------------------------------------------
# NIfTI


def _nifti(path: Path, frame: Frame | None) -> Scan:
    nibabel = of_extra("nibabel", "volume", "NIfTI files are read")
    try:
        image = nibabel.load(path)
        kind, whole = image.get_data_dtype(), tuple(image.shape)
        affine = np.asarray(image.affine, np.float64)
    except Exception as error:  # nibabel passes on errors of its parsers
        raise _damaged(path, "NIfTI", error) from error
    if kind.kind not in "iuf":
        raise PartinrError(f"{quoted(path)} stores {kind} samples; save one real number a sample, or NPY with channels")
    shape, rest = whole[:3], tuple(n for n in whole[3:] if n != 1)
    if len(shape) < 3 or 0 in whole:
        raise PartinrError(f"{quoted(path)} has the shape {list(whole)}, not that of a volume; give one of three axes")
    volumes = int(np.prod(rest)) if len(rest) == 1 else 1
    if len(rest) > 1:
        raise PartinrError(f"{quoted(path)} has the shape {list(whole)}; save one volume of it, of three axes")
    if rest and frame is None:
        raise PartinrError(
            f"{quoted(path)} holds {volumes} volumes; choose one with data.frame=0 … {volumes - 1}, or take them as "
            "channels with data.frame=all"
        )
    if not rest and frame not in (None, 0, "all"):
        raise PartinrError(f"data.frame={frame}, but {quoted(path)} holds one volume; leave it out")
    if isinstance(frame, int) and frame >= volumes:
        raise PartinrError(f"data.frame={frame}, but {quoted(path)} holds {volumes} volumes; give 0 … {volumes - 1}")
    channels = volumes if frame == "all" else 1
    at = () if not rest else (slice(None),) if frame == "all" else (slice(frame, int(frame or 0) + 1),)

    def part(window: Sequence[slice]) -> NDArray[Any]:
        ones = iter(at)
        index = (*window, *(next(ones) if n > 1 else slice(None) for n in whole[3:]))
        try:
            found: NDArray[Any] = np.asarray(image.dataobj[index])
        except Exception as error:  # a truncated file
            raise _damaged(path, "NIfTI", error) from error
        return found.reshape(*found.shape[:3], channels)

    spacing = spacing_of(affine)
    if not np.isfinite(affine).all() or min(spacing) <= 0:
        raise PartinrError(f"{quoted(path)} has an affine that is no map to space; set its sform or qform again")
    axes = tuple(str(code) for code in nibabel.aff2axcodes(affine))
    return Scan(shape, channels, part, affine, spacing, axes, f"nibabel {nibabel.__version__}")


# ---------------------------------------------------------------------------------------------------------------------
# TIFF and NPY


def _tiff(path: Path) -> Scan:
    import tifffile  # slow to import

    try:
        with open_file(path, "a volume") as stream, tifffile.TiffFile(stream) as file:
            pages, several = len(file.pages), len(file.series)
            if not pages:
                raise PartinrError(f"{quoted(path)} is a TIFF without a page; {_READ_AS}")
            if several > 1:
                raise PartinrError(
                    f"{quoted(path)} holds pages of {several} shapes or kinds; save those of one volume as a file"
                )
            axes, described = file.series[0].axes, file.imagej_metadata or (file.shaped_metadata or [{}])[0]
            resolution = file.pages.first.resolution
            values = file.series[0].asarray()
    except PartinrError:
        raise
    except Exception as error:  # tifffile's own, and any error of its parsers
        raise _damaged(path, "TIFF", error) from error
    long = [(name, n) for name, n in zip(axes, values.shape, strict=True) if n > 1 or name in "YX"]
    grid = [name for name, _ in long if name not in "CS"]
    colours = [at for at, (name, _) in enumerate(long) if name in "CS"]
    if len(grid) == 2:
        raise PartinrError(f"{quoted(path)} holds one picture, not a stack; fit it with data=image")
    if len(grid) != 3 or len(colours) > 1:
        raise PartinrError(f"{quoted(path)} has the axes {axes}; save three of them, and channels, as their own file")
    if values.dtype.kind not in "biuf":
        raise PartinrError(f"{quoted(path)} holds {values.dtype} values; save real numbers")
    values = values.reshape([n for _, n in long])
    values = np.moveaxis(values, colours[0], -1) if colours else values[..., None]
    # The resolution of a picture that no stack's spacing goes with is that of a printer.
    down, across = (float(each) or 1.0 for each in reversed(resolution))
    spacing = (float(described["spacing"]), 1 / down, 1 / across) if "spacing" in described else (1.0, 1.0, 1.0)
    return _array_scan(values, spacing, f"tifffile {tifffile.__version__}")


def _npy(path: Path) -> Scan:
    try:
        with warnings_as("ignore"):  # about old headers
            values = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy passes on any error of its header parser
        raise _damaged(path, "NPY", error) from error
    if values.ndim not in (3, 4) or values.size == 0:
        raise PartinrError(
            f"{quoted(path)} has the shape {list(values.shape)}; give an array of three axes, or of four with the "
            "channels last"
        )
    if values.dtype.kind not in "biuf":
        raise PartinrError(f"{quoted(path)} holds {values.dtype} values; save real numbers")
    values = values[..., None] if values.ndim == 3 else values
    return _array_scan(values, (1.0, 1.0, 1.0), f"NumPy {np.__version__}")


def _array_scan(values: NDArray[Any], spacing: tuple[float, ...], decoder: str) -> Scan:
    def part(window: Sequence[slice]) -> NDArray[Any]:
        return np.asarray(values[tuple(window)])

    return Scan(values.shape[:3], values.shape[3], part, None, spacing, ("z", "y", "x"), decoder)


def _damaged(path: Path, kind: str, error: Exception) -> PartinrError:
    why = " ".join(str(error).split()) or type(error).__name__
    if "imagecodecs" in why:
        return PartinrError(
            f"{quoted(path)} has a compression that is not read here; save it without one, or with deflate"
        )
    return PartinrError(f"{quoted(path)} cannot be read as {kind} ({why[:200]}); copy it again, or {_READ_AS}")
