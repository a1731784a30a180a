"""The number of used bits in a file's samples, and thus their largest value."""

from __future__ import annotations

import os
from typing import Annotated

import numpy as np
from pydantic import Field

from partinr.base.errors import PartinrError

Bits = Annotated[int, Field(ge=8, le=16)]
"""A number of bits in samples of 16."""

_USUAL_BITS = (8, 10, 12, 14)
"""Numbers of bits that cameras and scanners store in 16."""


def few_bits(samples: np.ndarray, bits: int | None) -> str | None:
    """A notice about an image that seems to use fewer than its 16 bits; None if there is nothing to say.

    Args:
        samples: ``[H, W, C]`` as decoded; transparency does not count.
        bits: number of bits from the user, or None.
    """
    if samples.dtype != np.uint16 or bits is not None:
        return None
    peak = int(samples[:, :, : {2: 1, 4: 3}.get(samples.shape[2])].max())
    used = next((used for used in _USUAL_BITS if peak < 2**used), None)
    if peak == 0 or used is None:
        return None
    return (
        f"the largest of its 16-bit values is {peak}, so it is fitted as a dark image; "
        f"if the file holds {used} bits a channel, give data.bits={used}"
    )


def largest_value(samples: np.ndarray, bits: int | None, path: str | os.PathLike[str]) -> int | None:
    """The largest value that integer samples can have; None for floats.

    Raises:
        PartinrError: ``bits`` is given, but the samples do not have 16 bits, or one needs more than ``bits``.
    """
    integers = samples.dtype.kind == "u"
    if bits is None:
        return int(np.iinfo(samples.dtype).max) if integers else None
    if samples.dtype != np.uint16:
        what = f"{np.iinfo(samples.dtype).bits}-bit" if integers else "float"
        raise PartinrError(
            f"data.bits={bits} is for files of 16 bits, and {os.fspath(path)!r} has {what} samples; leave it out"
        )
    largest, peak = 2**bits - 1, int(samples.max())
    if peak > largest:
        raise PartinrError(
            f"{os.fspath(path)!r} has values up to {peak}, more than the {largest} of data.bits={bits}; "
            f"give data.bits={peak.bit_length()}"
        )
    return largest
