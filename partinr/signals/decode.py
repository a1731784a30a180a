"""From a file to the samples it stores, at the depth it stores them.

Two decoders share the work. Pillow reads everything of up to 8 bits a channel (palettes, 1-bit, JPEG, WebP, BMP, most
TIFF). It has no mode for deeper colour and silently keeps the upper byte, so PNG of 16 bits and TIFF of more than 8 go
through OpenCV. OpenCV in turn gives wrong pixels without an error for some layouts (separate planes, grey with alpha),
so what reaches it is decided from the file's header, and everything else is refused.
"""

from __future__ import annotations

import difflib
import os
import re
import struct
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from PIL import Image, TiffImagePlugin

from partinr.base.errors import PartinrError

#: Largest number of pixels a file may have: 1.5 GiB as float32 RGB. It stays under twice Pillow's own limit, where
#: Pillow refuses too.
MAX_PIXELS = 2**27

_SIGNATURES = {
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "JPEG": rb"\xff\xd8\xff",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "WebP": rb"RIFF....WEBP",
    "BMP": rb"BM",
}
_FORMATS = "PNG, JPEG, TIFF, WebP and BMP"
_PILLOW_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
"""Of the names that such files usually have, in lower case."""

_SAVE_AGAIN = "open it in an image program and save it as a plain RGB or grey PNG"

# Modes in which Pillow hands over the samples as they are; the others need a conversion that loses nothing.
_PLAIN_MODES = ("L", "LA", "RGB", "RGBA")
_CONVERSIONS = {"1": "L", "La": "LA", "YCbCr": "RGB", "P": "RGB"}
_TRANSPARENT_MODES = {"1": "LA", "L": "LA", "P": "RGBA", "PA": "RGBA", "RGB": "RGBA"}


# Warning filters and the standard error stream belong to the process: two threads that each put back what they found
# would leave them changed for good.
_PROCESS_STATE = threading.Lock()


@contextmanager
def warnings_as(action: Literal["ignore", "error"], category: type[Warning] = Warning) -> Iterator[None]:
    """What a parser warns of is passed over, or raised; one thread at a time."""
    with _PROCESS_STATE, warnings.catch_warnings():
        warnings.simplefilter(action, category)
        yield


class _Unreadable(Exception):
    """The decoder cannot make pixels of the file; the reason is in the message."""


def decode(path: str | os.PathLike[str], *, indices: bool = False) -> np.ndarray:
    """Read the samples of an image file, upright.

    Args:
        path: PNG, JPEG, TIFF, WebP or BMP; ``~`` is the home folder.
        indices: of an image with a palette give the indices into it, C = 1, and not its colours.

    Returns:
        ``[H, W, C]``, C = 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha; the colours not multiplied by it), of
        dtype uint8 or uint16 over the whole range of that type, or float32 as stored. The EXIF (TIFF: orientation tag)
        rotation is applied. Palettes become RGB. Colour profiles are left aside: the numbers are the file's own.

    Raises:
        PartinrError: the file is not there, cannot be read, is not an image, is damaged, has no pixels or more than
            `MAX_PIXELS`, is an animation or has several pages, or stores something other than grey or RGB.
    """
    if not os.fspath(path):
        raise PartinrError("the path of the image is empty; give the path of an image file")
    file = Path(os.path.expanduser(path))
    with open_file(file, "an image") as stream:
        head = stream.read(16)
        stream.seek(0)
        kind = next((kind for kind, pattern in _SIGNATURES.items() if re.match(pattern, head, re.DOTALL)), None)
        if not head:
            raise PartinrError(f"{quoted(file)} is an empty file; copy or download it again")
        if kind is None:
            raise PartinrError(
                f"{quoted(file)} is not an image that can be read here; give one of {_FORMATS}, or convert it to PNG"
            )
        try:
            # Corrupt EXIF, odd palettes and the like: Pillow warns, and what matters of it is an error below.
            with warnings_as("ignore"):
                return _decode_stream(stream, file, kind, indices)
        except _Unreadable as error:
            raise PartinrError(
                f"{quoted(file)} is a damaged or unusual {kind} file ({error}); copy it again, or {_SAVE_AGAIN}"
            ) from error


def _decode_stream(stream: BinaryIO, file: Path, kind: str, indices: bool) -> np.ndarray:
    depth = 8
    if kind == "PNG":
        depth = _png_depth(stream, file)
    elif kind == "TIFF":
        tags = _tiff_tags(stream, file)
        # Pillow reads signed bytes as unsigned ones; the deep decoder says that they cannot be read.
        if max(_tag(tags, 258, (1,))) > 8 or max(_tag(tags, 339, (1,))) == 2:
            return _decode_deep_tiff(stream, file, tags)
    with _quiet() if kind == "TIFF" else nullcontext(), _pillow(stream, file) as image:
        if depth < 16:
            return _decode_pillow(image, file, depth, indices)
        return _decode_deep_png(stream, image)


# ---------------------------------------------------------------------------------------------------------------------
# Opening


@contextmanager
def open_file(file: Path, what: str) -> Iterator[BinaryIO]:
    """A file of the user's, to read.

    Args:
        file: any path.
        what: it should be, for messages: ``an image``.

    Raises:
        PartinrError: it is not there, cannot be read, or is no file.
    """
    if os.path.isdir(file):
        raise PartinrError(f"{quoted(file)} is a folder, not {what}; name one file in it")
    # A pipe would block for ever.
    if os.path.exists(file) and not os.path.isfile(file):
        raise PartinrError(f"{quoted(file)} is not a regular file; give the path of {what}")
    try:
        stream = open(file, "rb")  # noqa: SIM115 - closed below; only opening it is to be tried
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise PartinrError(f"no such file: {quoted(file)}; {_hint(file)}") from error
    except PermissionError as error:
        raise PartinrError(
            f"{quoted(file)} cannot be read: permission denied; change its permissions or copy it to a folder of yours"
        ) from error
    except OSError as error:
        raise PartinrError(f"{quoted(file)} cannot be read: {error.strerror or error}; check the path") from error
    with stream:
        yield stream


def _hint(file: Path) -> str:
    folder = file.parent
    try:
        names = {name.lower(): name for name in os.listdir(folder) if os.path.isfile(folder / name)}
    except (OSError, ValueError):
        return f"the folder {quoted(folder)} is not there or cannot be listed either: check the path"
    near = difflib.get_close_matches(file.name.lower(), names, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(names[name]) for name in near) + "?"
    return "check the path" + ("" if file.is_absolute() else f", which is taken from {quoted(Path.cwd())}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on the standard error stream: C libraries write there about files that an error here then tells of."""
    try:
        stderr = os.dup(2)
    except OSError:  # There is no standard error to keep quiet.
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(nowhere)
        os.close(stderr)


def quoted(file: Path) -> str:
    """A path for a message: a name with a line break stays on one line."""
    return repr(str(file))


def _check_pixels(file: Path, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise PartinrError(f"{quoted(file)} has no pixels ({width}x{height}); give an image of at least 1x1")
    if width * height > MAX_PIXELS:
        # data.size and data.max_side act on what was read, so they would not help.
        raise PartinrError(
            f"{quoted(file)} has {width}x{height} pixels, more than the {MAX_PIXELS:,} that can be read; "
            "shrink or cut the file with an image program first"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Pillow: up to 8 bits


@contextmanager
def _pillow(stream: BinaryIO, file: Path) -> Iterator[Image.Image]:
    """The file opened and fully decoded by Pillow, checked for size and number of frames before the decoding."""
    stream.seek(0)
    try:
        image = Image.open(stream, formats=_PILLOW_FORMATS)
        frames = getattr(image, "n_frames", 1)
    except Image.DecompressionBombError as error:
        raise PartinrError(
            f"{quoted(file)} has more than the {MAX_PIXELS:,} pixels that can be read; "
            "shrink or cut the file with an image program first"
        ) from error
    except Exception as error:  # Pillow lets through whatever its parsers trip over (struct, Index, Key, Syntax, …).
        raise _Unreadable("its header cannot be read") from error
    with image:
        _check_pixels(file, *image.size)
        # MPO is what many phones write as .jpg: a photograph with previews or a depth map behind it.
        if frames > 1 and image.format != "MPO":
            raise PartinrError(
                f"{quoted(file)} holds {frames} pictures (an animation or pages); save the one to fit as its own file"
            )
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
        # Pillow stretches grey of 2 and 4 bits to 0..255 but leaves the transparent value unstretched.
        image.info["transparency"] = key * 255 // (2**depth - 1)
    if indices and image.mode == "P":
        plain = image
    elif image.has_transparency_data and image.mode in _TRANSPARENT_MODES:
        plain = image.convert(_TRANSPARENT_MODES[image.mode])
    elif image.mode in _CONVERSIONS:
        plain = image.convert(_CONVERSIONS[image.mode])
    elif image.mode in _PLAIN_MODES:
        plain = image
    else:
        raise PartinrError(f"{quoted(file)} stores {image.mode} samples, not grey or RGB; {_SAVE_AGAIN}")
    # Pillow turns a TIFF upright as it loads it and drops the tag, so nothing is turned twice.
    return _upright(_with_channels(np.asarray(plain)), _orientation(image))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # Damaged EXIF: the pixels are good, and nothing says that they should be turned.
        return 1


def _upright(samples: np.ndarray, orientation: int) -> np.ndarray:
    """Apply EXIF orientation 1..8 (CIPA DC-008, tag 0x0112) to ``[H, W, C]``; other values mean nothing."""
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
    """The samples ``[H, W]`` or ``[H, W, 3 or 4]`` in the order BGR(A), at the depth of the file."""
    # Importing OpenCV takes as long as everything else here, and few files need it.
    import cv2

    stream.seek(0)
    data = np.frombuffer(stream.read(), np.uint8)
    try:
        with _quiet():
            samples = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise _Unreadable("its image data cannot be decoded") from error
    if samples is None:
        raise _Unreadable("truncated or corrupt image data")
    return samples


def _rgb_order(samples: np.ndarray) -> np.ndarray:
    samples = _with_channels(samples)
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[samples.shape[2]]
    return samples[:, :, order]


def _png_depth(stream: BinaryIO, file: Path) -> int:
    """Bits a channel, from the IHDR chunk (PNG specification, section 11.2.1), which also has the size."""
    header = stream.read(26)
    if len(header) < 26 or header[12:16] != b"IHDR":
        raise _Unreadable("its header cannot be read")
    width, height, depth = struct.unpack(">IIB", header[16:25])
    _check_pixels(file, width, height)
    return int(depth)


def _decode_deep_png(stream: BinaryIO, image: Image.Image) -> np.ndarray:
    """`image` is the same file in Pillow's hands, at 8 bits: what it says beside the samples holds for these too."""
    samples = _rgb_order(_opencv(stream))
    key = image.info.get("transparency")
    if image.mode == "I;16" and isinstance(key, int):
        # OpenCV expands the transparent colour of RGB to an alpha channel, but not that of grey.
        alpha = np.where(samples == key, 0, 65535).astype(samples.dtype)
        samples = np.concatenate([samples, alpha], axis=2)
    elif image.mode in ("LA", "RGBA") and _png_is_grey(stream):
        samples = samples[:, :, [0, 3]]
    return _upright(samples, _orientation(image))


def _png_is_grey(stream: BinaryIO) -> bool:
    stream.seek(25)
    return stream.read(1) == b"\x04"


def _tiff_tags(stream: BinaryIO, file: Path) -> Any:
    """The tags of the first page. Pillow's own opening refuses the sample types that it has no mode for."""
    try:
        stream.seek(0)
        prefix = stream.read(8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(prefix + (stream.read(8) if 43 in prefix[2:4] else b""))
        stream.seek(tags.next)
        tags.load(stream)
        width, height = int(tags[256]), int(tags[257])
    except Exception as error:  # As with Pillow's other parsers.
        raise _Unreadable("its header cannot be read") from error
    _check_pixels(file, width, height)
    return tags


def _tag(tags: Any, number: int, default: tuple[int, ...]) -> tuple[int, ...]:
    value = tags.get(number, default)
    return tuple(value) if isinstance(value, tuple) else (value,)


def _decode_deep_tiff(stream: BinaryIO, file: Path, tags: Any) -> np.ndarray:
    """TIFF of more than 8 bits; the numbers are those of TIFF 6.0's tags."""
    bits = set(_tag(tags, 258, (1,)))
    sample_format = set(_tag(tags, 339, (1,)))
    channels = _tag(tags, 277, (1,))[0]
    photometric = _tag(tags, 262, (-1,))[0]
    extra = _tag(tags, 338, ())
    if tags.next:
        raise PartinrError(f"{quoted(file)} holds several pictures (pages); save the one to fit as its own file")
    dtype = {(16, 1): "uint16", (32, 3): "float32", (64, 3): "float64"}.get((max(bits), max(sample_format)))
    if dtype is None or len(bits) > 1 or len(sample_format) > 1:
        sort = {1: "unsigned integer", 2: "signed integer", 3: "float"}.get(max(sample_format), "unknown")
        raise PartinrError(
            f"{quoted(file)} stores {max(bits)}-bit {sort} samples; save it with 8 or 16 bits, or as float32 in [0, 1]"
        )
    if (channels, photometric) not in ((1, 0), (1, 1), (3, 2), (4, 2)) or len(extra) > (channels == 4):
        raise PartinrError(
            f"{quoted(file)} is a TIFF of {channels} channels of {max(bits)} bits, but not plain grey, RGB or RGB "
            "with alpha; save it as a 16-bit PNG"
        )
    if channels > 1 and _tag(tags, 284, (1,))[0] != 1:
        raise PartinrError(
            f"{quoted(file)} stores its {max(bits)}-bit channels in separate planes; save it with interleaved channels"
        )
    # OpenCV turns a TIFF upright by itself.
    samples = _rgb_order(_opencv(stream))
    if samples.dtype != dtype or samples.shape[2] != channels:
        raise _Unreadable("its image data cannot be decoded")
    if photometric == 0:
        samples = (65535 if dtype == "uint16" else 1) - samples
    if channels == 4:
        # 0: a channel of no stated meaning; 1: alpha that multiplies the colours; 2, or no tag: alpha that does not.
        if extra == (0,):
            samples = samples[:, :, :3]
        elif extra == (1,):
            samples = _unmultiplied(samples)
    return samples.astype(np.float32) if dtype == "float64" else samples


def _unmultiplied(samples: np.ndarray) -> np.ndarray:
    colour, alpha = samples[:, :, :3].astype(np.float64), samples[:, :, 3:]
    share = np.divide(colour, alpha, out=np.zeros_like(colour), where=alpha > 0)
    if samples.dtype.kind == "u":
        peak = np.iinfo(samples.dtype).max
        share = (share * peak).round().clip(0, peak)
    return np.concatenate([share.astype(samples.dtype), alpha], axis=2)
