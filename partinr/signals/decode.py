"""Decodes image files to samples at the depth of the file.

Pillow reads up to 8 bits a channel (palettes, 1-bit, JPEG, WebP, BMP, most TIFF). It has no mode for deeper colour and
silently keeps the upper byte, so OpenCV reads 16-bit PNG and deeper TIFF. OpenCV gives wrong pixels without an error
for some layouts (separate planes, grey with alpha), so the header decides which files it decodes. tifffile reads other
numbers of channels (:mod:`partinr.signals.bands`); it would need a large package of codecs for the common LZW
compression.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin, features
from PIL import __version__ as pillow

from partinr.base.errors import PartinrError
from partinr.base.later import Later
from partinr.signals.bands import read_array, read_bands
from partinr.signals.bare import BARE
from partinr.signals.userfile import open_file, quiet_stderr, quoted, warnings_as

if TYPE_CHECKING:
    import cv2
else:
    cv2 = Later("cv2")

MAX_PIXELS = 2**27
"""Largest number of pixels of a file: 1.5 GiB as float32 RGB, and less than Pillow's own limit."""

_SIGNATURES = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WebP": rb"RIFF....WEBP",
    "BMP": rb"BM",
    "GIF": rb"GIF8[79]a",
    "NPY": rb"\x93NUMPY",
}
_FORMATS = "PNG, JPEG, TIFF, WebP, BMP, GIF and NPY"
_PILLOW_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
"""Usual endings of such files, in lower case."""

_SAVE_AGAIN = "open it in an image program and save it as a plain RGB or grey PNG"

# Modes of Pillow, and the modes with the same samples as plain channels, without and with transparency.
_MODES = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA", "YCbCr": "RGB"}
_TRANSPARENT_MODES = {**_MODES, "1": "LA", "L": "LA", "P": "RGBA", "PA": "RGBA", "RGB": "RGBA"}


def decoder() -> str:
    """The decoder of lossy files: Pillow and its JPEG library, which may differ by a level from others."""
    turbo, jpeg = features.version_feature("libjpeg_turbo"), features.version_codec("jpg")
    return f"Pillow {pillow} with " + (f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {jpeg}")


class _Unreadable(Exception):
    """The file cannot be decoded; the message says why."""


def decode(path: str | os.PathLike[str], *, indices: bool = False) -> np.ndarray:
    """Read the samples of an image file, upright.

    Args:
        path: PNG, JPEG, TIFF, WebP, BMP, GIF or NPY; ``~`` is the home folder.
        indices: for an image with a palette, return the palette indices (C = 1) instead of the colours.

    Returns:
        ``[H, W, C]`` with C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha, not premultiplied), or any C for
        channels that are no colours (:func:`has_alpha` tells which); of dtype uint8
        or uint16 over the full range of the type, or float32 as stored. The orientation (EXIF, or the tag of a TIFF) is
        applied. Palettes become RGB. Colour profiles are ignored.

    Raises:
        PartinrError: the file does not exist, cannot be read, is no image, is damaged, has no pixels or more than
            `MAX_PIXELS`, is an animation or has several pages, or stores something other than these.
    """
    if not os.fspath(path):
        raise PartinrError("the path of the image is empty; give the path of an image file")
    file = Path(os.path.expanduser(path))
    with open_file(file, "an image") as stream:
        head = stream.read(26)
        kind = _kind(head)
        if not head:
            raise PartinrError(f"{quoted(file)} is an empty file; copy or download it again")
        if kind is None:
            raise PartinrError(
                f"{quoted(file)} is not an image that can be read here; give one of {_FORMATS}, or convert it to PNG"
            )
        try:
            # Pillow warns of corrupt EXIF, odd palettes and the like; what matters becomes an error below.
            with warnings_as("ignore"):
                return _decode_stream(stream, file, kind, head, indices)
        except _Unreadable as error:
            raise PartinrError(
                f"{quoted(file)} is a damaged or unusual {kind} file ({error}); copy it again, or {_SAVE_AGAIN}"
            ) from error


def is_image(file: Path) -> bool:
    """Whether a file begins as an image does; no if there is none.

    Raises:
        PartinrError: the file cannot be read.
    """
    if not os.path.isfile(file):
        return False
    with open_file(file, "an image") as stream:
        return _kind(stream.read(26)) is not None


def has_alpha(path: str | os.PathLike[str]) -> bool:
    """Whether the second or fourth channel that `decode` gives for a file is transparency, not a channel like others.

    Raises:
        PartinrError: the file does not exist or cannot be read.
    """
    file = Path(os.path.expanduser(path))
    with open_file(file, "an image") as stream:
        kind = _kind(stream.read(26))
        return kind != "NPY" and not (kind == "TIFF" and _has_bands(_tiff_tags(stream, file)))


def orientation(path: str | os.PathLike[str]) -> int:
    """The orientation of an image file, 1 … 8 as in EXIF, that `decode` applies; 1 if it has none or is no image.

    Raises:
        PartinrError: the file does not exist or cannot be read.
    """
    file = Path(os.path.expanduser(path))
    with open_file(file, "an image") as stream, warnings_as("ignore"):
        kind = _kind(stream.read(26))
        if kind not in BARE:
            return 1
        try:
            content = BytesIO(BARE[kind](stream)[0])
            if kind == "TIFF":
                return int(_tag(_tiff_tags(content, file), 274, (1,))[0])
            with Image.open(content, formats=_PILLOW_FORMATS) as image:
                return _orientation(image)
        except Exception:  # damaged, as `decode` says
            return 1


def _kind(head: bytes) -> str | None:
    return next((kind for kind, pattern in _SIGNATURES.items() if re.match(pattern, head, re.DOTALL)), None)


def _decode_stream(stream: BinaryIO, file: Path, kind: str, head: bytes, indices: bool) -> np.ndarray:
    depth = 8
    if kind == "NPY":
        samples = read_array(stream, file)
        _check_pixels(file, samples.shape[1], samples.shape[0])
        return samples
    if kind == "PNG":
        # From the IHDR chunk (PNG specification, section 11.2.1).
        if len(head) < 26 or head[12:16] != b"IHDR":
            raise _Unreadable("its header cannot be read")
        width, height, depth, colour_type = struct.unpack(">IIBB", head[16:26])
        _check_pixels(file, width, height)
    if kind in BARE:
        content, pictures = BARE[kind](stream)
        _check_pictures(file, pictures)
        stream = BytesIO(content)
    if kind == "TIFF":
        tags = _tiff_tags(stream, file)
        # Pillow would read signed bytes as unsigned ones; the deep decoder refuses them.
        if _has_bands(tags) or max(_tag(tags, 258, (1,))) > 8 or max(_tag(tags, 339, (1,))) == 2:
            return _decode_deep_tiff(stream, file, tags)
    with quiet_stderr() if kind == "TIFF" else nullcontext(), _pillow(stream, file) as image:
        if depth < 16:
            return _decode_pillow(image, file, depth, indices)
        return _decode_deep_png(stream, image, grey=colour_type == 4)


def _check_pixels(file: Path, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise PartinrError(f"{quoted(file)} has no pixels ({width}x{height}); give an image of at least 1x1")
    if width * height > MAX_PIXELS:
        # The message does not name data.size and data.max_side: they apply only after decoding.
        raise PartinrError(
            f"{quoted(file)} has {width}x{height} pixels, more than the {MAX_PIXELS:,} that can be read; "
            "shrink or cut the file with an image program first"
        )


def _check_pictures(file: Path, pictures: int) -> None:
    if pictures > 1:
        raise PartinrError(
            f"{quoted(file)} holds {pictures} pictures (an animation or pages); save the one to fit as its own file"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Pillow: up to 8 bits


@contextmanager
def _pillow(stream: BinaryIO, file: Path) -> Iterator[Image.Image]:
    """The file decoded by Pillow, after a check of its size and number of frames."""
    stream.seek(0)
    try:
        image = Image.open(stream, formats=_PILLOW_FORMATS)
        frames = getattr(image, "n_frames", 1)
    except Image.DecompressionBombError as error:
        raise PartinrError(
            f"{quoted(file)} has more than the {MAX_PIXELS:,} pixels that can be read; "
            "shrink or cut the file with an image program first"
        ) from error
    except Exception as error:  # Pillow passes on any error of its parsers (struct, Index, Key, Syntax, …)
        raise _Unreadable("its header cannot be read") from error
    with image:
        _check_pixels(file, *image.size)
        _check_pictures(file, frames)
        if image.mode == "CMYK":
            raise PartinrError(
                f"{quoted(file)} is CMYK, whose colours depend on a printing profile; convert it to RGB first"
            )
        try:
            image.load()
        except Exception as error:
            raise _Unreadable("truncated or corrupt image data") from error
        yield image


def _decode_pillow(image: Image.Image, file: Path, depth: int, indices: bool) -> np.ndarray:
    key = image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int) and depth < 8:
        # Pillow stretches grey of 1 to 4 bits to 0..255, but not its transparent value.
        image.info["transparency"] = key * 255 // (2**depth - 1)
    mode = (_TRANSPARENT_MODES if image.has_transparency_data else _MODES).get(image.mode)
    if mode is None:
        raise PartinrError(f"{quoted(file)} stores {image.mode} samples, not grey or RGB; {_SAVE_AGAIN}")
    plain = image if image.mode == mode or (indices and image.mode == "P") else image.convert(mode)
    # Pillow applies the orientation of a TIFF itself and drops the tag, so nothing is turned twice.
    return upright(_with_channels(np.asarray(plain)), _orientation(image))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # damaged EXIF; the pixels are good
        return 1


def upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation 1..8 (CIPA DC-008, tag 0x0112) to ``[H, W]`` or ``[H, W, C]``; ignore other values."""
    turned = samples.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else samples
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return turned


def _with_channels(samples: np.ndarray) -> np.ndarray:
    return samples[:, :, None] if samples.ndim == 2 else samples


# ---------------------------------------------------------------------------------------------------------------------
# OpenCV: PNG of 16 bits, TIFF of more than 8


def _opencv(stream: BinaryIO) -> np.ndarray:
    """The samples ``[H, W, C]`` at the depth of the file, C = 1, 3 (RGB) or 4 (RGB, alpha)."""
    stream.seek(0)
    data = np.frombuffer(stream.read(), np.uint8)
    try:
        with quiet_stderr():
            samples = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _Unreadable("its image data cannot be decoded") from error
    if samples is None:
        raise _Unreadable("truncated or corrupt image data")
    samples = _with_channels(samples)
    return samples[:, :, {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[samples.shape[2]]]


def _decode_deep_png(stream: BinaryIO, image: Image.Image, grey: bool) -> np.ndarray:
    """The samples of a 16-bit PNG; ``image`` is the same file at 8 bits, for its metadata."""
    samples = _opencv(stream)
    key = image.info.get("transparency")
    if image.mode == "I;16" and isinstance(key, int):
        # OpenCV turns the transparent colour of RGB into an alpha channel, but not that of grey.
        alpha = np.where(samples == key, 0, 65535).astype(samples.dtype)
        samples = np.concatenate([samples, alpha], axis=2)
    elif grey and image.mode in ("LA", "RGBA"):
        samples = samples[:, :, [0, 3]]
    return upright(samples, _orientation(image))


def _tiff_tags(stream: BinaryIO, file: Path) -> Any:
    """The tags of the first page. ``Image.open`` would refuse sample types without a mode in Pillow."""
    try:
        stream.seek(0)
        prefix = stream.read(8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(prefix + (stream.read(8) if 43 in prefix[2:4] else b""))
        stream.seek(tags.next)
        tags.load(stream)
        width, height = int(tags[256]), int(tags[257])
    except Exception as error:  # as with Pillow's other parsers
        raise _Unreadable("its header cannot be read") from error
    _check_pixels(file, width, height)
    return tags


def _tag(tags: Any, number: int, default: tuple[int, ...]) -> tuple[int, ...]:
    value = tags.get(number, default)
    return tuple(value) if isinstance(value, tuple) else (value,)


def _has_bands(tags: Any) -> bool:
    """Whether a TIFF has channels that are no colours, whose last is no transparency; numbers as below."""
    channels, photometric, extra = _tag(tags, 277, (1,))[0], _tag(tags, 262, (-1,))[0], _tag(tags, 338, ())
    colours = {1: 1, 2: 3}.get(photometric)
    return (
        colours is not None
        and channels > colours
        and (channels > colours + 1 or (colours == 1 and extra in ((), (0,))))
    )


def _decode_deep_tiff(stream: BinaryIO, file: Path, tags: Any) -> np.ndarray:
    """The samples of a TIFF of more than 8 bits or with bands; numbers are the tags and values of TIFF 6.0."""
    bits = set(_tag(tags, 258, (1,)))
    sample_format = set(_tag(tags, 339, (1,)))
    channels = _tag(tags, 277, (1,))[0]
    photometric = _tag(tags, 262, (-1,))[0]
    extra = _tag(tags, 338, ())
    types = {(8, 1): "uint8", (16, 1): "uint16", (32, 3): "float32", (64, 3): "float64"}
    dtype = types.get((max(bits), max(sample_format)))
    if dtype is None or len(bits) > 1 or len(sample_format) > 1:
        sort = {1: "unsigned integer", 2: "signed integer", 3: "float"}.get(max(sample_format), "unknown")
        raise PartinrError(
            f"{quoted(file)} stores {max(bits)}-bit {sort} samples; save it with 8 or 16 bits, or as float32 in [0, 1]"
        )
    plain = _tag(tags, 284, (1,))[0] == 1 or channels == 1
    if _has_bands(tags) or (not plain and (channels, photometric) == (3, 2)):
        return upright(_bands(stream, file), int(_tag(tags, 274, (1,))[0])).astype(
            np.float32 if dtype == "float64" else dtype
        )
    if (channels, photometric) not in ((1, 0), (1, 1), (3, 2), (4, 2)) or len(extra) > (channels == 4):
        raise PartinrError(
            f"{quoted(file)} is a TIFF of {channels} channels of {max(bits)} bits, but not plain grey, RGB or RGB "
            "with alpha; save it as a 16-bit PNG"
        )
    if not plain:
        raise PartinrError(
            f"{quoted(file)} stores its {max(bits)}-bit channels in separate planes; save it with interleaved channels"
        )
    # OpenCV applies the orientation of a TIFF itself.
    samples = _opencv(stream)
    if samples.dtype != dtype or samples.shape[2] != channels:
        raise _Unreadable("its image data cannot be decoded")
    if photometric == 0:
        samples = (65535 if dtype == "uint16" else 1) - samples
    if channels == 4:
        # Extra channel 0: no stated meaning; 1: premultiplied alpha; 2, or no tag: alpha.
        if extra == (0,):
            samples = samples[:, :, :3]
        elif extra == (1,):
            samples = _unmultiplied(samples)
    return samples.astype(np.float32) if dtype == "float64" else samples


def _bands(stream: BinaryIO, file: Path) -> np.ndarray:
    try:
        return read_bands(stream)
    except Exception as error:  # tifffile's own, and any error of its parsers
        if "imagecodecs" in str(error):
            raise PartinrError(
                f"{quoted(file)} has a compression that is not read with such channels; "
                "save it without one, or with deflate"
            ) from error
        raise _Unreadable("its image data cannot be decoded") from error


def _unmultiplied(samples: np.ndarray) -> np.ndarray:
    colour, alpha = samples[:, :, :3].astype(np.float64), samples[:, :, 3:]
    share = np.divide(colour, alpha, out=np.zeros_like(colour), where=alpha > 0)
    if samples.dtype.kind == "u":
        peak = np.iinfo(samples.dtype).max
        share = (share * peak).round().clip(0, peak)
    return np.concatenate([share.astype(samples.dtype), alpha], axis=2)
