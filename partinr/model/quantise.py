"""Quantises weights to 8 or 16 bits, and counts their size.

The scale of a group of weights follows from its largest weight. Rounding is uniform and symmetric, without a zero
point, as in torch's own quantisation. 16 bits also mean whole numbers, not half precision: they give 2^15 steps up to
the largest weight of a group, while float16 has 2^10 steps between a weight and its double.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError, check_choice
from partinr.partition.coding import decode_labels, encode_labels

Bits = Literal[8, 16]
"""Bits per weight."""

Per = Literal["tensor", "channel"]
"""The weights that share a scale: each tensor of each network, or each row of a tensor (the weights of one output).

Tensors with short rows (:data:`SHORTEST`) have one scale for each network in either case.
"""

SHORTEST = 8
"""Shortest row with its own scale; for a shorter one, the scale would add more than a quarter to 8 bits a number.

Biases, the layer that sees the coordinates and tables of features have shorter rows. Biases and that first layer are a
small part of all numbers, and the frequency of a network multiplies their errors, so a tensor with short rows always
has 16 bits if it holds less than half of all numbers.
"""

SCALES = ".scales"
"""Suffix of a tensor's name for the tensor of its scales."""

SCALE = torch.bfloat16
"""Type of the scales: two bytes with the range of float32. Thin networks have short rows, so every byte counts."""

PACKED = "quantised"
"""Key of a small file's header for ``bits`` and ``per``."""

CODED = "partition.webp."
"""Prefix for the files of the label map, see :func:`partinr.partition.coding.encode_labels`."""

_WHOLE: dict[int, torch.dtype] = {8: torch.int8, 16: torch.int16}


def check(bits: int, per: str) -> None:
    """Check a precision.

    Raises:
        PartinrError: ``bits`` or ``per`` is unknown.
    """
    check_choice("bits", bits, get_args(Bits))
    check_choice("per", per, get_args(Per))


@door
def quantise(tensors: Mapping[str, Tensor], bits: Bits, per: Per, fixed: Collection[str] = ()) -> dict[str, Tensor]:
    """Weights as whole numbers and scales.

    Args:
        tensors: floating ``[N, …]`` by name, with a leading axis of N networks.
        bits: bits per weight, except for the tensors that :data:`SHORTEST` describes.
        per: which weights share a scale.
        fixed: names of tensors to leave unchanged because the backbone does not train them.

    Returns:
        int8 or int16 tensors of the same names and shapes, and for each of them its scales, bfloat16 ``[N, …, 1]``,
        under its name and :data:`SCALES`. The product of the two is the weight.

    Raises:
        PartinrError: ``bits`` or ``per`` is unknown, or a weight is not finite.
    """
    check(bits, per)
    found = {}
    learned = sum(value.numel() for name, value in tensors.items() if name not in fixed)
    for name, value in tensors.items():
        if name in fixed:
            found[name] = value
            continue
        if not bool(value.isfinite().all()):
            raise PartinrError(f"{name} has weights that are not finite and cannot be quantised; fit it again")
        short = math.prod(value.shape[2:]) < SHORTEST
        own_bits: Bits = 16 if short and 2 * value.numel() < learned else bits
        groups = value.shape[:2] if per == "channel" and not short else value.shape[:1]
        whole, scales = _quantise(value.detach().cpu().float(), own_bits, groups)
        found[name], found[f"{name}{SCALES}"] = whole, scales
    return found


def _quantise(value: Tensor, bits: Bits, groups: torch.Size) -> tuple[Tensor, Tensor]:
    """Whole numbers and scales of one tensor, with one scale for each position along its first axes, ``groups``."""
    rows = value.reshape(math.prod(groups), -1)
    largest = 2 ** (bits - 1) - 1
    scales = (rows.abs().amax(1) / largest).clamp(min=torch.finfo(torch.float32).tiny)
    # Rounded up by at most one step of bfloat16, so that the largest weight stays in range.
    scales = (scales * (1 + torch.finfo(SCALE).eps)).to(SCALE)
    whole = (rows * (1 / scales.float())[:, None]).round().clamp(-largest, largest).to(_WHOLE[bits])
    shape = (*groups, *[1] * (value.ndim - len(groups)))
    return whole.reshape(value.shape), scales.reshape(shape)


@door
def dequantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float32 weights of :func:`quantise`'s result.

    Raises:
        ValueError: scales are missing or have the wrong shape.
    """
    found = {}
    for name, value in tensors.items():
        if name.endswith(SCALES):
            if name.removesuffix(SCALES) not in tensors:
                raise ValueError(f"there are scales, but no {name.removesuffix(SCALES)}")
        elif value.dtype in _WHOLE.values():
            scales = tensors.get(f"{name}{SCALES}")
            if scales is None:
                raise ValueError(f"{name} has no scales")
            pairs = zip(scales.shape, value.shape, strict=False)
            if scales.ndim != value.ndim or not all(own in (1, size) for own, size in pairs):
                raise ValueError(f"the scales of {name} are {list(scales.shape)}, its numbers {list(value.shape)}")
            found[name] = value.float() * scales.float()
            if not bool(found[name].isfinite().all()):
                raise ValueError(f"{name} is not finite")
        else:
            found[name] = value
    return found


def pack(
    tensors: Mapping[str, Tensor], labels: Tensor, bits: Bits, per: Per, fixed: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Weights and label map in the form of a small file.

    Args:
        tensors: as for :func:`quantise`.
        labels: int64 ``[*grid]``; they become lossless WebP.
        bits: as for :func:`quantise`.
        per: likewise.
        fixed: likewise.

    Returns:
        additional entries of the header, and the tensors of the file.

    Raises:
        PartinrError: as :func:`quantise`.
    """
    files = encode_labels(labels)
    coded = {
        f"{CODED}{number}": torch.frombuffer(bytearray(file), dtype=torch.uint8) for number, file in enumerate(files)
    }
    return {PACKED: {"bits": bits, "per": per}}, {**quantise(tensors, bits, per, fixed), **coded}


def unpack(header: dict[str, Any], tensors: dict[str, Tensor], map_name: str) -> None:
    """Invert :func:`pack`, in place; leave a file that is not small unchanged.

    Args:
        header: header of the file, with the ``shape`` of the label map.
        tensors: tensors of the file, by name.
        map_name: name for the label map, int32 ``[*grid]``.

    Raises:
        ValueError: header and tensors do not come from :func:`pack`.
    """
    if header.pop(PACKED, None) is None:
        return
    names = sorted((name for name in tensors if name.startswith(CODED)), key=lambda name: (len(name), name))
    files = [tensors.pop(name).numpy().tobytes() for name in names]
    labels = decode_labels(files, header["shape"])
    found = dequantise(tensors)
    tensors.clear()
    tensors.update(found, **{map_name: labels.int()})


def weight_bits(tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """Size of weights, quantised or not, in bits: numbers and scales."""
    sizes = {name: 8 * value.numel() * value.element_size() for name, value in tensors.items()}
    scales = sum(size for name, size in sizes.items() if name.endswith(SCALES))
    return sum(sizes.values()) - scales, scales
