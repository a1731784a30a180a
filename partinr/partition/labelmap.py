"""Label maps from files: PNG, NumPy's NPY and MATLAB's MAT.

The content of a file determines its format, not its name. In a PNG, grey values, palette indices or colours are the
labels. A MAT file holds a matrix, or the structure of the Berkeley segmentation data set (BSDS500, Arbeláez et al.,
TPAMI 2011): a cell array ``groundTruth`` with one struct for each person who segmented the image, whose field
``Segmentation`` is a matrix.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from partinr.base.errors import PartinrError
from partinr.partition.isolated import IsolatedError, run_isolated
from partinr.partition.merge import Labels, renumber
from partinr.signals.decode import decode
from partinr.signals.userfile import open_file, quoted, warnings_as

ENDINGS = (".png", ".npy", ".mat")
"""Usual endings of such files."""

_PNG, _NPY, _HDF5 = b"\x89PNG\r\n\x1a\n", b"\x93NUMPY", b"\x89HDF\r\n\x1a\n"

_MAT_PROGRAM = Path(__file__).with_name("_mat.py")

_MAT_PATIENCE = 60
"""Seconds after which the reading of a MAT file is aborted."""

_MANY = 128
"""A PNG with more labels, most of whose pixels differ from their neighbours, is taken for a photograph."""


def read_label_map(file: Path, key: str | None = None, annotator: int = 0) -> Labels:
    """The labels in a file.

    Args:
        file: PNG of any depth, grey, with a palette or in colour; NPY of whole numbers, booleans, or floats with whole
            values; MAT of version 5 (MATLAB's ``save -v6`` and ``-v7``).
        key: the variable of a MAT file; None for the only one that holds label maps.
        annotator: which of the maps in that variable, from 0.

    Returns:
        int64 ``[H, W]``, or ``[n]`` from NPY, numbered 0 … R-1 by the first sample of each label, row by row.

    Raises:
        PartinrError: the file is no label map, or has no such variable or annotator.
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
        if head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):  # version 5, in either byte order
            maps = _mat(stream, file, key)
        elif key is not None:
            raise PartinrError(
                f"partition.key={key} names a variable of a MAT file, which {quoted(file)} is not; leave it out"
            )
        elif head.startswith(_PNG):
            maps = [_png(file)]
        elif head.startswith(_NPY):
            maps = [_npy(stream, file)]
        else:
            raise PartinrError(
                f"{quoted(file)} is not a label map that can be read here; give a PNG, NPY or MAT (version 5) file"
            )
    if annotator >= len(maps):
        count, cure = "one label map", "leave it out"
        if len(maps) > 1:
            count, cure = f"{len(maps)} label maps", f"give 0 … {len(maps) - 1}"
        raise PartinrError(f"partition.annotator={annotator}, but {quoted(file)} holds {count}; {cure}")
    values = maps[annotator]
    _check(values, file)
    return renumber(values)


def _png(file: Path) -> NDArray[Any]:
    samples = decode(file, indices=True)
    if samples.shape[2] in (2, 4):
        if (samples[:, :, -1] != np.iinfo(samples.dtype).max).any():
            raise PartinrError(
                f"{quoted(file)} is transparent in places, and what is there is no label; save it without transparency"
            )
        samples = samples[:, :, :-1]
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


def _mat(stream: BinaryIO, file: Path, key: str | None) -> list[NDArray[Any]]:
    """All label maps of a variable."""
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


def _check(values: NDArray[Any], file: Path) -> None:
    if values.dtype.kind not in "biuf":
        raise PartinrError(f"{quoted(file)} holds {values.dtype} values; save whole numbers, one label a pixel")
    shape = list(values.shape)
    if values.size == 0:
        raise PartinrError(f"{quoted(file)} has no labels (shape {shape}); give one for each pixel")
    if values.ndim not in (1, 2):
        raise PartinrError(
            f"{quoted(file)} holds an array of shape {shape}; give one label a pixel, [H, W] "
            "(a stack of masks becomes that by argmax)"
        )
    if values.dtype.kind == "f":
        if bad := int((~np.isfinite(values)).sum()):
            raise PartinrError(
                f"{quoted(file)} has {bad} of {values.size} labels that are NaN or infinite; give whole numbers"
            )
        if (broken := values != np.trunc(values)).any():
            raise PartinrError(
                f"{quoted(file)} has labels that are not whole, such as {values[broken][0]:.6g}; give whole numbers"
            )
