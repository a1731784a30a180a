"""Rate and distortion: what a fitted image takes, in bits, and what is left of it, beside JPEG and WebP.

Of several images the rate is the mean of their bits per pixel and the distortion the mean of their PSNR, setting by
setting; those of JPEG and WebP likewise, quality by quality.
"""

from __future__ import annotations

import io
import itertools
import math
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image

from partinr.metrics.quality import mean_psnr, psnr
from partinr.model.inr import PiecewiseINR
from partinr.model.quantise import Bits, Per, quantise, weight_bits
from partinr.partition.coding import coded_bits
from partinr.pictures.draw import to_uint8

QUALITIES = (1, 3, 5, 8, 12, 18, 25, 35, 45, 55, 65, 75, 85, 92, 96, 98)
"""Of JPEG and WebP: from what is hardly an image any more to what is hardly to be told from it."""

SETTINGS: tuple[tuple[Bits, Per] | None, ...] = (None, (16, "channel"), (16, "tensor"), (8, "channel"), (8, "tensor"))
"""In which the weights are measured; None is as they are."""

_SIDES = {"jpeg": 65500, "webp": 16383}
"""The longest that these coders can take, in pixels."""


@dataclass(frozen=True)
class Rate:
    """What an image takes in one coder and setting, and what comes out.

    Attributes:
        coder: ``fit``, ``jpeg`` or ``webp``.
        setting: of a fit the type of its weights, as ``float32``, or ``int8 channel`` …; the quality of JPEG and WebP.
        weight_bits: of the numbers of the networks, those included that are not trained; 0 for JPEG and WebP.
        scale_bits: of the scales of quantised weights.
        label_bits: of the label map, lossless; 0 if it follows from the rule's options alone.
        file_bytes: of the whole file, header and alignment included.
        deflated_bytes: of that file in zlib's tightest; of JPEG and WebP the file itself, which is coded already.
        pixels: of the image.
        psnr: [dB] of the picture in 8 bits against the image in 8 bits.
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
        """Of a fit weights, scales and label map without a header; of JPEG and WebP the whole file."""
        if self.coder != "fit":
            return 8 * self.file_bytes
        return self.weight_bits + self.scale_bits + self.label_bits

    @property
    def bpp(self) -> float:
        """Bits per pixel."""
        return self.bits / self.pixels


@dataclass(frozen=True)
class MeanRate:
    """What images take in one coder and setting, in the mean; that of one image is its own.

    Attributes:
        of: of each image, all of the same coder and setting.
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
        """Bits per pixel: every image counts the same, whatever its size."""
        return self.per_pixel(lambda rate: rate.bits)

    @property
    def psnr(self) -> float:
        """In dB, as :func:`~partinr.metrics.quality.mean_psnr`."""
        return mean_psnr([rate.psnr for rate in self.of])

    def per_pixel(self, bits: Callable[[Rate], int]) -> float:
        """A part of the bits, per pixel."""
        return sum(bits(rate) / rate.pixels for rate in self.of) / len(self.of)


def mean_rates(of_images: Sequence[Sequence[Rate]]) -> list[MeanRate]:
    """The mean over images in each coder and setting that all of them have.

    Args:
        of_images: what is known of each image, of at least one.
    """
    known = [{(rate.coder, rate.setting): rate for rate in rates} for rates in of_images]
    return [MeanRate([each[key] for each in known]) for key in known[0] if all(key in each for each in known)]


def fit_rates(model: PiecewiseINR, image: Any, free: bool) -> Iterator[tuple[Rate, bytes]]:
    """What a fit takes in each of :data:`SETTINGS`.

    Args:
        model: fitted to the image.
        image: ``[H, W, C]`` as of :func:`~partinr.pictures.draw.to_uint8`.
        free: whether the label map follows from the options of its rule alone.

    Yields:
        The rate, and the content of the file.

    Raises:
        PartinrError: a weight is not finite.
    """
    wanted = to_uint8(image)
    label_bits = 0 if free else coded_bits(model.partition.labels)
    stack = dict(model.stack)
    for setting in SETTINGS:
        weights = stack if setting is None else quantise(stack, *setting, model.untrained)
        file = model.to_bytes() if setting is None else model.to_bytes(*setting)
        rate = Rate(
            "fit",
            str(next(iter(stack.values())).dtype).removeprefix("torch.") if setting is None else name_of(*setting),
            *weight_bits(weights),
            label_bits,
            len(file),
            len(zlib.compress(file, 9)),
            wanted.shape[0] * wanted.shape[1],
            _psnr(to_uint8(_read(file).render()), wanted),
        )
        yield rate, file


def _read(file: bytes) -> PiecewiseINR:
    """What a reader of the file gets: that is what is measured."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inr.safetensors"
        path.write_bytes(file)
        return PiecewiseINR.load(path)


def _psnr(picture: np.ndarray, wanted: np.ndarray) -> float:
    """Of two pictures in 8 bits."""
    first, second = (torch.from_numpy(each.astype(np.float32) / 255) for each in (picture, wanted))
    return psnr(first, second)


def name_of(bits: Bits, per: Per) -> str:
    """What a precision is called: ``int8 channel``, for example."""
    return f"int{bits} {per}"


_Point = TypeVar("_Point", Rate, MeanRate)


def best_of(rates: Sequence[_Point]) -> _Point:
    """The one that leaves most of the image."""
    return max(rates, key=lambda rate: rate.psnr)


def at_rate(rates: Sequence[_Point], bpp: float) -> float | None:
    """What a coder would leave of an image in so many bits.

    Args:
        rates: of one coder, in its several qualities.
        bpp: bits per pixel.

    Returns:
        PSNR [dB], linear in the logarithm of the bits between the two qualities around them; None where there are none.
    """
    ordered = sorted(rates, key=lambda rate: rate.bpp)
    for before, after in itertools.pairwise(ordered):
        if before.bpp <= bpp <= after.bpp and before.bpp < after.bpp:
            share = math.log(bpp / before.bpp) / math.log(after.bpp / before.bpp)
            return before.psnr + share * (after.psnr - before.psnr)
    return None


def codec_rates(image: Any) -> list[Rate]:
    """What JPEG and WebP take at each of :data:`QUALITIES`, and what is left of the image.

    Pillow's encoders, each at its tightest for its quality: JPEG with its own Huffman tables, WebP with method 6.
    JPEG has colours in full resolution from quality 90 on, as is usual; WebP never has. One that cannot take so large
    an image is left out.

    Args:
        image: ``[H, W, C]`` as of :func:`~partinr.pictures.draw.to_uint8`.
    """
    pixels = to_uint8(image)
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
            rates.append(Rate(coder, str(quality), 0, 0, 0, size, size, area, _psnr(back, pixels)))
    return rates
