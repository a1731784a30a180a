"""Signals as a caller has them: a picture file, a NumPy array or a tensor."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor

from partinr.base.errors import PartinrError
from partinr.signals.image import check_values, load_image

Given = str | os.PathLike[str] | np.ndarray | Tensor
"""A picture file, or values on a grid."""

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
        PartinrError: it is none of these, the file is not a picture, or a value is out of range.
    """
    if isinstance(given, (str, os.PathLike)):
        return load_image(given)
    if not isinstance(given, (np.ndarray, Tensor)):
        kind = type(given).__name__
        raise PartinrError(f"the signal is of type {kind}; give a picture's path, a NumPy array or a tensor")
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
