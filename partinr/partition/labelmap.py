"""Reads label maps from files: PNG, TIFF, BMP, NumPy's NPY, MATLAB's MAT and NIfTI.

The content of a file determines its format, not its name. In a picture, grey values, palette indices or colours are the
labels. NPY and MAT may also hold a stack: a score or a mask for each class. A MAT file holds a matrix, or the structure
of the Berkeley segmentation data set (BSDS500, Arbeláez et al., TPAMI 2011): a cell array ``groundTruth`` with one
struct for each person who segmented the image, whose field ``Segmentation`` is a matrix.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from partinr.base.errors import PartinrError
from partinr.partition.isolated import IsolatedError, run_isolated
from partinr.partition.merge import Labels, renumber
from partinr.signals.decode import decode
from partinr.signals.scans import open_scan
from partinr.signals.userfile import open_file, quoted, warnings_as

ENDINGS = (".png", ".npy", ".mat", ".nii", ".nii.gz", ".tif", ".tiff", ".bmp")
"""Usual endings of such files."""


def bare_name(file: Path) -> str | None:
    """The name of a file without a usual ending; None if it has another."""
    return next((file.name[: -len(ending)] for ending in ENDINGS if file.name.lower().endswith(ending)), None)


Stack = Literal["first", "last"]
"""The axis of the classes in a stack: ``[K, *grid]`` or ``[*grid, K]``."""

_HDF5 = b"\x89HDF\r\n\x1a\n"

_KINDS = {
    "MAT": rb".{124}(\x00\x01IM|\x01\x00MI)",  # version 5, in either byte order
    "NPY": rb"\x93NUMPY",
    "NIfTI": rb"\x1f\x8b|.{344}n[+i]1\0|.{4}n[+i]2\0",  # the first: compressed
    "picture": rb"\x89PNG\r\n\x1a\n|II[*+]\0|MM\0[*+]|BM",
    "lossy picture": rb"\xff\xd8\xff|RIFF....WEBP",
}
"""The first bytes of each kind of file."""

_OPTIONS = {
    "key": ("names a variable of a MAT file", ["MAT"]),
    "stack": ("is the axis of an array in an NPY or MAT file", ["NPY", "MAT"]),
    "tolerance": ("joins the colours of a picture", ["picture", "lossy picture"]),
}
"""Purpose of each option, and the kinds of file that it applies to."""

_MAT_PROGRAM = Path(__file__).with_name("_mat.py")

_MAT_PATIENCE = 60
"""Seconds after which the reading of a MAT file is aborted."""

_MANY = 128
"""A PNG with more labels than this counts as a photograph if most pixels differ from their neighbours."""


def read_label_map(
    file: Path,
    key: str | None = None,
    annotator: int = 0,
    stack: Stack | None = None,
    tolerance: int | None = None,
    axes: int = 2,
) -> Labels:
    """The labels in a file.

    Args:
        file: PNG, TIFF or BMP of any depth, grey, with a palette or in colour; NPY of whole numbers, booleans, or
            floats with whole values; MAT of version 5 (MATLAB's ``save -v6`` and ``-v7``); NIfTI of one volume. Axes of
            length 1 before and after those of the map are ignored.
        key: the variable of a MAT file; None for the only one that holds label maps.
        annotator: which of the maps in that variable, from 0.
        stack: the axis of the classes in an array of scores or masks; None for an array of labels.
        tolerance: of a picture, a value or colour that differs by at most this from a more frequent one, in each
            channel, is the same label.
        axes: number of axes of the signal; the map may have fewer.

    Returns:
        int64 ``[*grid]``, numbered 0 … R-1 by the first sample of each label, row by row.

    Raises:
        PartinrError: the file is not a label map, or lacks the variable or annotator.
    """
    with open_file(file, "a label map") as stream:
        head = stream.read(520)
        stream.seek(0)
        if not head:
            raise PartinrError(f"{quoted(file)} is an empty file; copy or download it again")
        if _HDF5 in (head[:8], head[512:]):
            raise PartinrError(
                f"{quoted(file)} is an HDF5 file, such as MATLAB's of version 7.3, which cannot be read here; "
                "save it in MATLAB with save(…, '-v7'), or as NPY"
            )
        kind = _kind(head)
        _check_options(file, kind, {"key": key, "stack": stack, "tolerance": tolerance})
        if kind == "MAT":
            maps = _mat(stream, file, key, axes if stack is None else axes + 1)
        elif kind == "NPY":
            maps = [_npy(stream, file)]
        elif kind == "NIfTI":
            maps = [_nifti(file)]
        elif kind == "picture" or (kind == "lossy picture" and tolerance is not None):
            maps = [_picture(file, tolerance)]
        elif kind is None:
            raise PartinrError(
                f"{quoted(file)} is not a label map that can be read here; "
                "give a PNG, TIFF, BMP, NPY, MAT (version 5) or NIfTI file"
            )
        else:
            raise PartinrError(
                f"{quoted(file)} is a JPEG or WebP file, whose compression changes labels; give the PNG or TIFF that "
                "it was made from, or partition.tolerance=16 and partition.min_pixels=16, which mend them"
            )
    if annotator >= len(maps):
        count, cure = "one label map", "leave it out"
        if len(maps) > 1:
            count, cure = f"{len(maps)} label maps", f"give 0 … {len(maps) - 1}"
        raise PartinrError(f"partition.annotator={annotator}, but {quoted(file)} holds {count}; {cure}")
    values = maps[annotator]
    _check_numbers(values, file)
    values = _labels_of(values, file, axes) if stack is None else _strongest(values, stack, file, axes)
    return renumber(values)


def _kind(head: bytes) -> str | None:
    """The kind of a file by its first bytes; None for one that is no label map."""
    return next((kind for kind, pattern in _KINDS.items() if re.match(pattern, head, re.DOTALL)), None)


def _check_options(file: Path, kind: str | None, options: dict[str, Any]) -> None:
    """Check that a file is of a kind for which the given options have a meaning."""
    for name, value in options.items():
        what, kinds = _OPTIONS[name]
        if value is not None and kind not in kinds:
            raise PartinrError(f"partition.{name}={value} {what}, which {quoted(file)} is not; leave it out")


def _picture(file: Path, tolerance: int | None) -> NDArray[Any]:
    samples = decode(file, indices=tolerance is None)
    if samples.dtype.kind == "f" and samples.shape[2] == 1:  # a TIFF of whole numbers
        return samples[:, :, 0]
    if samples.dtype.kind == "f":
        raise PartinrError(f"{quoted(file)} has {samples.shape[2]} channels of floats; save it with 8 or 16 bits")
    if samples.shape[2] in (2, 4):
        if (samples[:, :, -1] != np.iinfo(samples.dtype).max).any():
            raise PartinrError(
                f"{quoted(file)} is transparent in places, and what is there is no label; save it without transparency"
            )
        samples = samples[:, :, :-1]
    if tolerance is not None:
        samples = _joined(samples.astype(np.int64), tolerance)
    labels = np.zeros(samples.shape[:2], dtype=np.int64)
    for channel in range(samples.shape[2]):
        labels = labels << 16 | samples[:, :, channel]
    borders = np.concatenate([(np.diff(labels, axis=axis) != 0).reshape(-1) for axis in (0, 1)])
    if borders.size and borders.mean() > 0.5 and (count := len(np.unique(labels))) > _MANY:
        raise PartinrError(
            f"{quoted(file)} looks like a photograph: it has {count} values, and most pixels differ from their "
            "neighbours; give a label map, or save this one as NPY if it is meant"
        )
    return labels


def _joined(samples: NDArray[np.int64], tolerance: int) -> NDArray[np.int64]:
    """Samples ``[H, W, C]`` whose colours are joined, each with the most frequent one within the tolerance."""
    pixels = samples.reshape(-1, samples.shape[2])
    colours, each, count = np.unique(pixels, axis=0, return_inverse=True, return_counts=True)
    joined, free = colours.copy(), np.ones(len(colours), bool)
    for leader in np.argsort(-count, kind="stable"):
        if free[leader]:
            near = free & (np.abs(colours - colours[leader]).max(axis=1) <= tolerance)
            joined[near], free[near] = colours[leader], False
    found: NDArray[np.int64] = joined[each.reshape(-1)].reshape(samples.shape)
    return found


def _npy(stream: BinaryIO, file: Path) -> NDArray[Any]:
    try:
        with warnings_as("ignore"):  # about old headers
            values: NDArray[Any] = np.load(stream, allow_pickle=False)
    except Exception as error:  # NumPy passes on any error of its header parser
        raise PartinrError(
            f"{quoted(file)} cannot be read as NPY: {' '.join(str(error).split())}; "
            "save whole numbers again with numpy.save, or copy the file again"
        ) from error
    return values


def _nifti(file: Path) -> NDArray[Any]:
    scan = open_scan(file, "all")
    if scan.channels > 1:
        raise PartinrError(f"{quoted(file)} holds {scan.channels} volumes; save one of them as a label map")
    return scan.part([slice(None)] * 3)[..., 0]


def _mat(stream: BinaryIO, file: Path, key: str | None, axes: int) -> list[NDArray[Any]]:
    """All label maps of a variable: of ``key``, else of the only one with this number of axes."""
    try:
        content = run_isolated(_MAT_PROGRAM, content=stream.read(), patience=_MAT_PATIENCE)
    except IsolatedError as error:
        raise PartinrError(
            f"{quoted(file)} is a damaged or unusual MAT file; copy it again, or save the label map alone"
        ) from error
    maps: dict[str, list[NDArray[Any]]] = {}
    with np.load(io.BytesIO(content), allow_pickle=False) as matrices:
        for label in matrices:  # in the order of the program's output
            name, _, number = label.partition(":")
            maps.setdefault(name, []).extend([matrices[label]] if number else [])
    found = [name for name in maps if maps[name]]
    if key is None:
        found = [name for name in found if maps[name][0].ndim == axes] or found
    if key is not None:
        if key not in found:
            raise PartinrError(
                f"partition.key={key} is no label map in {quoted(file)}; "
                + (f"there are: {', '.join(found)}" if found else "give another file: there is none in it")
            )
        return maps[key]
    if not found:
        raise PartinrError(
            f"{quoted(file)} has no label map among its variables ({', '.join(maps) or 'none'}); "
            "give a file with a matrix of whole numbers"
        )
    if len(found) > 1:
        raise PartinrError(
            f"{quoted(file)} has several matrices: {', '.join(found)}; choose one with partition.key={found[0]}"
        )
    return maps[found[0]]


def _check_numbers(values: NDArray[Any], file: Path) -> None:
    if values.dtype.kind not in "biuf":
        raise PartinrError(f"{quoted(file)} holds {values.dtype} values; save whole numbers, one label a pixel")
    if values.size == 0:
        raise PartinrError(f"{quoted(file)} has no labels (shape {list(values.shape)}); give one for each pixel")
    if values.dtype.kind == "f" and (bad := int((~np.isfinite(values)).sum())):
        raise PartinrError(
            f"{quoted(file)} has {bad} of {values.size} labels that are NaN or infinite; give whole numbers"
        )


def _labels_of(values: NDArray[Any], file: Path, axes: int) -> NDArray[Any]:
    """The map in an array of labels, of at most ``axes`` axes, without further ones of length 1."""
    shape = list(values.shape)
    while values.ndim > axes and 1 in (values.shape[0], values.shape[-1]):
        values = values[..., 0] if values.shape[-1] == 1 else values[0]
    if not 0 < values.ndim <= axes:
        cure = f"give one label a sample, [{', '.join('DHW'[-axes:])}]"
        if values.ndim == axes + 1:
            axis = "first" if values.shape[0] <= values.shape[-1] else "last"
            cure += f"; if it holds a score or a mask for each class, give partition.stack={axis}"
        raise PartinrError(f"{quoted(file)} holds an array of shape {shape}; {cure}")
    if values.dtype.kind == "f" and (broken := values != np.trunc(values)).any():
        raise PartinrError(
            f"{quoted(file)} has labels that are not whole, such as {values[broken][0]:.6g}; give whole numbers"
        )
    return values


def _strongest(values: NDArray[Any], stack: Stack, file: Path, axes: int) -> NDArray[Any]:
    """The class with the highest score at each sample of a stack, or that whose mask covers it.

    Pixels that no mask covers have a label of their own.
    """
    shape = list(values.shape)
    if values.ndim == axes + 2 and values.shape[0] == 1:  # a batch of one
        values = values[0]
    if values.ndim != axes + 1:
        raise PartinrError(
            f"partition.stack={stack} needs an array of {axes + 1} axes, and {quoted(file)} has the shape {shape}; "
            "leave it out if these are labels"
        )
    scores = np.moveaxis(values, 0 if stack == "first" else -1, 0)
    if len(scores) == 1:
        raise PartinrError(f"partition.stack={stack} finds one class in {quoted(file)} (shape {shape}); leave it out")
    found: NDArray[Any] = scores.argmax(0)
    if np.isin(scores, (0, scores.max())).all():
        covers = (scores != 0).sum(0)
        if twice := int((covers > 1).sum()):
            raise PartinrError(
                f"{quoted(file)} has {twice} pixels that are in several masks; "
                "give each pixel to one of them, or save scores"
            )
        found = np.where(covers == 0, len(scores), found)
    return found
