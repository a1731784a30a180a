"""Rate and distortion: the bits and PSNR of images, as fits and in JPEG and WebP.

For several images the rate is the mean of their bits per pixel and the distortion the mean of their PSNR, for each
setting of the fit and each quality of JPEG and WebP.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from partinr.base.environment import door
from partinr.metrics.quality import mean_psnr, psnr

QUALITIES = (1, 3, 5, 8, 12, 18, 25, 35, 45, 55, 65, 75, 85, 92, 96, 98)
"""Qualities of JPEG and WebP, from barely recognisable to barely distinguishable from the image."""

_SIDES = {"jpeg": 65500, "webp": 16383}
"""The longest sides that these coders take [pixels]."""


@dataclass(frozen=True)
class Rate:
    """Bits and PSNR of an image in one coder and setting.

    Attributes:
        coder: ``fit``, ``jpeg`` or ``webp``.
        setting: the type of a fit's weights, such as ``float32`` or ``int8 channel``; the quality of JPEG and WebP.
        weight_bits: bits of the networks' numbers, including untrained ones; 0 for JPEG and WebP.
        scale_bits: bits of the scales of quantised weights.
        label_bits: bits of the lossless label map; 0 if it follows from the options of its rule.
        file_bytes: size of the whole file, with header and alignment.
        deflated_bytes: size of that file after zlib at its highest level; unchanged for JPEG and WebP.
        pixels: number of pixels of the image.
        psnr: PSNR of the picture in 8 bits against the image in 8 bits [dB].
    """

    coder: str
    setting: str
    weight_bits: int
    scale_bits: int
    label_bits: int
    file_bytes: int
    deflated_bytes: int
    pixels: int
    psnr: float

    @property
    def bits(self) -> int:
        """Weights, scales and label map of a fit, without a header; the whole file of JPEG and WebP."""
        if self.coder in _SIDES:
            return 8 * self.file_bytes
        return self.weight_bits + self.scale_bits + self.label_bits

    @property
    def bpp(self) -> float:
        """Bits per pixel."""
        return self.bits / self.pixels


@dataclass(frozen=True)
class MeanRate:
    """The mean over images in one coder and setting.

    Attributes:
        of: the rates of the images, all of one coder and setting.
    """

    of: Sequence[Rate]

    @property
    def coder(self) -> str:
        """See :class:`Rate`."""
        return self.of[0].coder

    @property
    def setting(self) -> str:
        """See :class:`Rate`."""
        return self.of[0].setting

    @property
    def bpp(self) -> float:
        """Bits per pixel; every image has the same weight, whatever its size."""
        return self.per_pixel(lambda rate: rate.bits)

    @property
    def psnr(self) -> float:
        """PSNR in dB, averaged by :func:`~partinr.metrics.quality.mean_psnr`."""
        return mean_psnr([rate.psnr for rate in self.of])

    def per_pixel(self, bits: Callable[[Rate], int]) -> float:
        """Some of the bits, per pixel."""
        return sum(bits(rate) / rate.pixels for rate in self.of) / len(self.of)


def mean_rates(of_images: Sequence[Sequence[Rate]]) -> list[MeanRate]:
    """The mean over images in each coder and setting that all of them have.

    Args:
        of_images: the rates of each image; at least one image.
    """
    known = [{(rate.coder, rate.setting): rate for rate in rates} for rates in of_images]
    return [MeanRate([each[key] for each in known]) for key in known[0] if all(key in each for each in known)]


@door
def picture_psnr(picture: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> float:
    """PSNR of a picture in 8 bits against another [dB]."""
    first, second = (torch.from_numpy(each.astype(np.float32) / 255) for each in (picture, wanted))
    return psnr(first, second)


_Point = TypeVar("_Point", Rate, MeanRate)


def best_of(rates: Sequence[_Point]) -> _Point:
    """The rate with the highest PSNR."""
    return max(rates, key=lambda rate: rate.psnr)


def at_rate(rates: Sequence[_Point], bpp: float) -> float | None:
    """PSNR of a coder at a given rate.

    Args:
        rates: rates of one coder at its qualities.
        bpp: bits per pixel.

    Returns:
        PSNR [dB], linear in the logarithm of the bits between the two qualities around the rate; None outside.
    """
    ordered = sorted(rates, key=lambda rate: rate.bpp)
    for before, after in itertools.pairwise(ordered):
        if before.bpp <= bpp <= after.bpp and before.bpp < after.bpp:
            share = math.log(bpp / before.bpp) / math.log(after.bpp / before.bpp)
            return before.psnr + share * (after.psnr - before.psnr)
    return None


@door
def codec_rates(pixels: NDArray[np.uint8]) -> list[Rate]:
    """Rates of JPEG and WebP at each of :data:`QUALITIES`.

    The encoders are Pillow's at their strongest compression: JPEG with optimised Huffman tables, WebP with method 6. As
    usual, JPEG has full colour resolution from quality 90 on; WebP never has. A coder is left out if the image is too
    large for it.

    Args:
        pixels: uint8 ``[H, W, C]``, C = 1 or 3.
    """
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    rates = []
    for coder in ("jpeg", "webp"):
        if max(picture.size) > _SIDES[coder]:
            continue
        for quality in QUALITIES:
            buffer = io.BytesIO()
            if coder == "jpeg":
                colours = "4:4:4" if quality >= 90 else "4:2:0"
                picture.save(buffer, "JPEG", quality=quality, optimize=True, subsampling=colours)
            else:
                picture.save(buffer, "WEBP", quality=quality, method=6)
            size = buffer.tell()
            with Image.open(buffer) as decoded:
                back = np.asarray(decoded.convert(picture.mode)).reshape(pixels.shape)
            area = picture.size[0] * picture.size[1]
            rates.append(Rate(coder, str(quality), 0, 0, 0, size, size, area, picture_psnr(back, pixels)))
    return rates
