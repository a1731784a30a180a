"""Weights in 8 or 16 bits, and what they then cost.

The scale of a group of weights follows from the largest of them, by torch's own observer, and they are rounded by its
operator: uniform, symmetric, without a zero point. 16 bits are whole numbers as well, and no half precision: they are
2^15 steps up to the largest weight of a group, where float16 has 2^10 between a weight and twice it, for the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.ao.quantization.observer import PerChannelMinMaxObserver

from partinr.base.errors import PartinrError
from partinr.partition.coding import decode_labels, encode_labels

Bits = Literal[8, 16]
"""Of a weight."""

Per = Literal["tensor", "channel"]
"""What has a scale of its own: each tensor of each network, or each row of it, the weights of one output.

What has few numbers a row (:data:`SHORTEST`) has one scale a network in either case.
"""

SHORTEST = 8
"""Numbers of a row that has a scale of its own: with fewer it would be more than a quarter on top of 8 bits each.

Shorter ones are those of biases, of the layer that sees the coordinates, and of tables of features. Biases and that
first layer are a small part of the numbers, and the frequency of a network multiplies what they are off by: where less
than half of all numbers are in such a tensor, it has 16 bits in any case.
"""

SCALES = ".scales"
"""Behind the name of a tensor of whole numbers: the tensor of its scales."""

SCALE = torch.bfloat16
"""Of the scales: two bytes, and the range of float32. Thin networks have few weights a row, and pay for every byte."""

PACKED = "quantised"
"""In the header of a small file: the bits and what has a scale."""

CODED = "partition.webp."
"""Before the number of each file of the label map, see :func:`partinr.partition.coding.encode_labels`."""

_WHOLE: dict[int, torch.dtype] = {8: torch.int8, 16: torch.int16}


def check(bits: int, per: str) -> None:
    """Refuse what is no precision.

    Raises:
        PartinrError: it is none.
    """
    if bits not in _WHOLE:
        raise PartinrError(f"bits={bits!r}; choose from {', '.join(map(str, get_args(Bits)))}")
    if per not in get_args(Per):
        raise PartinrError(f"per={per!r}; choose from {', '.join(get_args(Per))}")


def quantise(tensors: Mapping[str, Tensor], bits: Bits, per: Per, fixed: Collection[str] = ()) -> dict[str, Tensor]:
    """Weights as whole numbers and scales.

    Args:
        tensors: floating ``[N, …]`` by name, N networks in front.
        bits: of a weight, but for those of :data:`SHORTEST`.
        per: what has a scale of its own.
        fixed: names of those that stay as they are: what a backbone does not train.

    Returns:
        the same names, int8 or int16 in the same shapes; and for each of them under its name and :data:`SCALES` the
        scales, bfloat16 ``[N, …, 1]``, so that the product of the two is the weight.

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
            raise PartinrError(f"{name} has weights that are not finite, which no whole numbers stand for; fit it anew")
        short = math.prod(value.shape[2:]) < SHORTEST
        own_bits: Bits = 16 if short and 2 * value.numel() < learned else bits
        groups = value.shape[:2] if per == "channel" and not short else value.shape[:1]
        whole, scales = _quantise(value.detach().cpu().float(), own_bits, groups)
        found[name], found[f"{name}{SCALES}"] = whole, scales
    return found


def _quantise(value: Tensor, bits: Bits, groups: torch.Size) -> tuple[Tensor, Tensor]:
    """Whole numbers and scales of one tensor, whose first axes, ``groups``, are those that have a scale each."""
    rows = value.reshape(math.prod(groups), -1)
    largest = 2 ** (bits - 1) - 1
    observer = PerChannelMinMaxObserver(
        ch_axis=0,
        dtype=_WHOLE[bits],
        qscheme=torch.per_channel_symmetric,
        quant_min=-largest,
        quant_max=largest,
        eps=torch.finfo(torch.float32).tiny,  # by default 1e-7: as coarse as small weights in 16 bits
    )
    observer(rows)
    scales, zeros = observer.calculate_qparams()
    # Rounded up, by at most one step of the narrow type, so that the largest weight still has a number.
    scales = (scales * (1 + torch.finfo(SCALE).eps)).to(SCALE)
    # Of torch's operators this one stays: those that make tensors of its quantised types are on their way out.
    near = torch.fake_quantize_per_channel_affine(rows, scales.float(), zeros.int(), 0, -largest, largest)
    whole = (near / scales.float()[:, None]).round().to(_WHOLE[bits])
    shape = (*groups, *[1] * (value.ndim - len(groups)))
    return whole.reshape(value.shape), scales.reshape(shape)


def dequantise(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What :func:`quantise` made, as float32 weights.

    Raises:
        ValueError: scales are missing or do not fit.
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
    """Weights and label map as they are kept in a small file.

    Args:
        tensors: as for :func:`quantise`.
        labels: int64 ``[*grid]``; they become lossless WebP.
        bits: as for :func:`quantise`.
        per: likewise.
        fixed: likewise.

    Returns:
        what the header says of it beside the rest, and the tensors of the file.

    Raises:
        PartinrError: as :func:`quantise`.
    """
    files = encode_labels(labels)
    coded = {
        f"{CODED}{number}": torch.frombuffer(bytearray(file), dtype=torch.uint8) for number, file in enumerate(files)
    }
    return {PACKED: {"bits": bits, "per": per}}, {**quantise(tensors, bits, per, fixed), **coded}


def unpack(header: dict[str, Any], tensors: dict[str, Tensor], map_name: str) -> None:
    """Make of a small file's header and tensors, in place, what they were made of; one that is not small stays.

    Args:
        header: of the file; it knows the ``shape`` of the label map.
        tensors: of the file, by name.
        map_name: under which the label map is put, int32 ``[*grid]``.

    Raises:
        ValueError: they are not those of :func:`pack`.
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
    """What weights, as they are or as of :func:`quantise`, take: bits of the numbers, and of the scales."""
    sizes = {name: 8 * value.numel() * value.element_size() for name, value in tensors.items()}
    scales = sum(size for name, size in sizes.items() if name.endswith(SCALES))
    return sum(sizes.values()) - scales, scales
