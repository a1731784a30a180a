"""Signals as a caller has them: a file, a NumPy array or a tensor."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.base.readers import READERS, reader_of
from partinr.signals.audio_data import AudioData
from partinr.signals.decode import is_image
from partinr.signals.image import check_values, load_image
from partinr.signals.sdf import SdfData
from partinr.signals.userfile import quoted
from partinr.signals.video_data import VideoData
from partinr.signals.volume import VolumeData

Given = str | os.PathLike[str] | np.ndarray | Tensor
"""A file, or values on a grid. The ending of a file says how it is read, with the default options of ``data``."""

_DATA = {"audio": AudioData, "video": VideoData, "volume": VolumeData, "sdf": SdfData}
"""What reads a file that is no picture, by the choice of ``data``."""

_LARGEST = {"uint8": 255, "uint16": 65535}
"""The value that means 1, by the type of the values."""


def signal_from(given: object, axes: int | None = None) -> Tensor:
    """A signal as a tensor.

    Args:
        given: see :data:`Given`; values ``[*grid, C]``, where C = 1 may be left out, are floats in [0, 1], or unsigned
            integers of 8 or 16 bits, which are divided by 255 or 65,535.
        axes: number of axes of the grid; None if unknown, so that only a NumPy array ``[H, W]`` may leave out C.

    Returns:
        float32 ``[*grid, C]`` in [0, 1].

    Raises:
        PartinrError: it is none of these, the file cannot be read or has other axes, or a value is out of range.
    """
    if isinstance(given, (str, os.PathLike)):
        return _of_file(Path(os.path.expanduser(given)), axes)
    if not isinstance(given, (np.ndarray, Tensor)):
        kind = type(given).__name__
        raise PartinrError(f"the signal is of type {kind}; give a file's path, a NumPy array or a tensor")
    if axes is None:
        axes = 2 if isinstance(given, np.ndarray) and given.ndim == 2 else given.ndim - 1
    values = _floats(given)
    if values.ndim == axes:
        values = values.unsqueeze(-1)
    shape = list(values.shape)
    if values.ndim != axes + 1 or values.numel() == 0:
        raise PartinrError(f"the signal has the shape {shape}; give samples on {axes} axes, then the channels")
    if axes == 2 and shape[0] in (1, 3) and shape[2] > 4:
        raise PartinrError(
            f"the signal has the shape {shape}; the channels go last: permute(1, 2, 0) or numpy.moveaxis(…, 0, -1)"
        )
    check_values(values, "the signal", "clamp or rescale it")
    return values


def _of_file(file: Path, axes: int | None) -> Tensor:
    """The values in a file. Its content says whether it is a picture, such as a still GIF, unless three axes are asked.

    Raises:
        PartinrError: it cannot be read, nothing reads its ending, or it has other axes.
    """
    reader = reader_of(file.name)
    data = _DATA.get(reader.data) if reader is not None else None
    if data is None or (axes != 3 and is_image(file)):
        if reader is None and os.path.isfile(file) and not is_image(file):
            endings = ", ".join(each.endings[0] for each in READERS)
            raise PartinrError(
                f"{quoted(file)} is no picture, and nothing reads its ending; convert it to a file that ends in one "
                f"such as {endings}, or give its values as an array"
            )
        values, word = load_image(file), "image"
    else:
        assert reader is not None
        values, word = data(path=str(file)).load(), reader.word
    if axes is not None and values.ndim != axes + 1:
        raise PartinrError(
            f"{quoted(file)} has the shape {list(values.shape)} ({word}); give a file with samples on {axes} axes"
        )
    return values


def _floats(given: np.ndarray | Tensor) -> Tensor:
    """Values in single precision.

    Raises:
        PartinrError: their type does not say what means 1.
    """
    kind = str(given.dtype).removeprefix("torch.")
    largest = _LARGEST.get(kind, 1)
    if largest == 1 and "float" not in kind:
        raise PartinrError(f"the signal has {kind} values; give floats in [0, 1], or uint8 from 0 to 255")
    values = torch.from_numpy(np.array(given, np.float32)) if isinstance(given, np.ndarray) else given.detach().float()
    if largest > 1 and values.numel() and values.max() == 1:
        raise PartinrError(f"the signal has {kind} values of 0 and 1, such as a mask; give floats in [0, 1]")
    return values / largest if largest > 1 else values
