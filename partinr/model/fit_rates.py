"""Rate and distortion of fits: the size of weights and label maps in several precisions."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from partinr.base.environment import door
from partinr.metrics.quality import psnr
from partinr.metrics.rate import Rate, picture_psnr
from partinr.model.inr import PiecewiseINR
from partinr.model.quantise import Bits, Per, quantise, weight_bits
from partinr.partition.coding import coded_bits
from partinr.pictures.draw import to_uint8

SETTINGS: tuple[tuple[Bits, Per] | None, ...] = (None, (16, "channel"), (16, "tensor"), (8, "channel"), (8, "tensor"))
"""Precisions of the weights; None leaves them unchanged."""


@door
def fit_rates(model: PiecewiseINR, signal: Any, free: bool) -> Iterator[tuple[Rate, bytes]]:
    """Rates of a fit in each of :data:`SETTINGS`.

    Args:
        model: a model fitted to the signal.
        signal: ``[*grid, C]``, values as for :func:`~partinr.pictures.draw.to_uint8`. Grey and RGB images are compared
            in 8 bits, like the codecs.
        free: whether the label map follows from the options of its rule.

    Yields:
        the rate and the content of the file.

    Raises:
        PartinrError: a weight is not finite.
    """
    in_bytes = model.kind(0).is_picture and model.channels in (1, 3)
    wanted: Any = to_uint8(signal) if in_bytes else torch.as_tensor(signal)
    label_bits = 0 if free else coded_bits(model.partition.labels)
    stack = dict(model.stack)
    for setting in SETTINGS:
        weights = stack if setting is None else quantise(stack, *setting, model.untrained)
        file = model.to_bytes() if setting is None else model.to_bytes(*setting)
        fitted = _read(file).render()
        rate = Rate(
            "fit",
            str(next(iter(stack.values())).dtype).removeprefix("torch.") if setting is None else name_of(*setting),
            *weight_bits(weights),
            label_bits,
            len(file),
            len(zlib.compress(file, 9)),
            model.partition.labels.numel(),
            picture_psnr(to_uint8(fitted), wanted) if in_bytes else psnr(fitted, wanted),
        )
        yield rate, file


def _read(file: bytes) -> PiecewiseINR:
    """The model in a file, so that the measurement includes what a reader gets."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inr.safetensors"
        path.write_bytes(file)
        return PiecewiseINR.load(path)


def name_of(bits: Bits, per: Per) -> str:
    """Name of a precision, such as ``int8 channel``."""
    return f"int{bits} {per}"
