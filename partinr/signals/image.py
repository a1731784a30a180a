"""Images from a file, from scikit-image, or from the caller.

Every function gives a float32 tensor ``[H, W, C]`` with values in [0, 1]; C is 3 (RGB), 1 (grey), or any number for
other channels, and the first axis is the row. The values are those of the file (for a photograph, sRGB with its gamma),
without colour management or linearisation.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch.nn import functional

from partinr.base.environment import door
from partinr.base.errors import PartinrError, PartinrWarning
from partinr.signals.channels import BACKGROUNDS, Alpha, Channels, converted, without_alpha
from partinr.signals.decode import MAX_PIXELS, decode, decoder, has_alpha
from partinr.signals.depth import few_bits, largest_value
from partinr.signals.identity import Reading, SignalIdentity, block_means, file_sha256, samples_sha256
from partinr.signals.userfile import quoted

# The photographs in scikit-image's wheel, under the names of its functions in `skimage.data`. They are read as files:
# the functions may download a file whose hash they do not know.
_BUILTIN_FILES = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "camera": "camera.png",
    "cell": "cell.png",
    "chelsea": "chelsea.png",
    "clock": "clock_motion.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "hubble_deep_field": "hubble_deep_field.jpg",
    "immunohistochemistry": "ihc.png",
    "microaneurysms": "microaneurysms.png",
    "moon": "moon.png",
    "page": "page.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "text": "text.png",
}


@dataclass(frozen=True)
class Crop:
    """A square in an image, at a relative place that suits images of any shape.

    Attributes:
        at: position down and to the right, each a fraction in [0, 1) of the range of the square.
        side: in pixels of the file; None for the largest square.
    """

    at: tuple[float, float]
    side: int | None = None


@door
def load_image(
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    max_side: int | None = None,
    alpha: Alpha = "refuse",
    crop: Crop | None = None,
    bits: int | None = None,
    channels: Channels = "as_is",
) -> torch.Tensor:
    """Read an image file; warns if a file of 16 bits seems to hold fewer.

    The formats are PNG, JPEG, TIFF, WebP, BMP and GIF, with 1 to 8 or 16 bits a channel, and TIFF and NPY of any number
    of channels, also of floats in [0, 1].
    An EXIF orientation is applied. Palettes become RGB; grey stays grey (C = 1). CMYK, animations and files of several
    pages are refused. The first picture of a phone's multi-picture JPEG is read.

    Args:
        path: the file; ``~`` is the home folder.
        size: crop to the largest centred square, then resize to ``size`` x ``size`` pixels, up or down.
        max_side: shrink so that the longer side has at most this many pixels, keeping the aspect. Excludes `size`.
        alpha: what to do with transparency: ``refuse`` it, composite over ``white`` or ``black``, ``drop`` the
            channel and keep the stored colours, or keep it as a further ``channel``. Otherwise an opaque channel is
            dropped.
        crop: the square to cut out, instead of the centred one; it is resized if `size` is given.
        bits: how many of the 16 bits of the file are used, such as 12 from a camera: the largest value is then 4095.
        channels: convert to ``grey`` (luma) or ``rgb``; ``as_is`` keeps the channels of the file.

    Returns:
        float32 ``[H, W, C]`` in [0, 1]; C = 3 (RGB), 1, or what a file of other channels has.

    Raises:
        PartinrError: the file is not such an image, or an option is invalid.
    """
    values, samples, _ = _read(path, size, max_side, alpha, crop, bits, channels)
    if (notice := few_bits(samples, bits)) is not None:
        warnings.warn(f"{quoted(Path(path))}: {notice}", PartinrWarning, stacklevel=3)
    return values


def image_values(path: str | os.PathLike[str], **options: Any) -> torch.Tensor:
    """What `load_image` gives, without a warning."""
    return _read(path, **options)[0]


def read_image(
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    max_side: int | None = None,
    alpha: Alpha = "refuse",
    crop: Crop | None = None,
    bits: int | None = None,
    channels: Channels = "as_is",
) -> Reading:
    """An image as from `load_image`, and its identity.

    Raises:
        PartinrError: as for `load_image`.
    """
    values, samples, background = _read(path, size, max_side, alpha, crop, bits, channels)
    (top, left, height, width), target = cut_shape((samples.shape[0], samples.shape[1]), size, max_side, crop)
    shape = f"to {target}" if background is None else f"to {target} over {background}"
    shape += "" if bits is None else f" of {bits} bits"
    shape += "" if channels == "as_is" else f" in {channels}"
    file = Path(os.path.expanduser(path))
    identity = SignalIdentity(
        file.name,
        samples_sha256(samples[top : top + height, left : left + width], shape),
        block_means(values),
        file_sha256(file),
        f"{(top, left, height, width)} {shape}",
        decoder(),
        few_bits(samples, bits),
    )
    return Reading(values, identity)


def _read(
    path: str | os.PathLike[str],
    size: int | None,
    max_side: int | None,
    alpha: Alpha,
    crop: Crop | None = None,
    bits: int | None = None,
    channels: Channels = "as_is",
) -> tuple[torch.Tensor, np.ndarray, str | None]:
    """The values of an image, the relevant samples of the file, and their background if composited."""
    _check_options(size, max_side, alpha)
    samples = decode(path)
    if samples.shape[2] > 4 or (samples.shape[2] in (2, 4) and not has_alpha(path)):
        alpha = "channel"
    samples, background, image = unit_samples(samples, path, alpha, bits)
    try:
        return converted(resized(image, size, max_side, crop), channels), samples, background
    except PartinrError as error:
        raise PartinrError(f"{quoted(Path(path))}: {error}") from error


def unit_samples(
    samples: np.ndarray, path: str | os.PathLike[str], alpha: Alpha, bits: int | None = None
) -> tuple[np.ndarray, str | None, torch.Tensor]:
    """The relevant samples of a picture, their background if composited, and their values in [0, 1].

    Args:
        samples: as :func:`~partinr.signals.decode.decode` gives them.
        path: their file, for messages.
        alpha: as in `load_image`.
        bits: likewise.

    Raises:
        PartinrError: the picture is transparent and `alpha` refuses it, or a value is out of range.
    """
    samples, background = without_alpha(samples, alpha, path)
    image = _unit_range(samples, path, bits)
    if background is not None:
        colour, opacity = image[:, :, :-1], image[:, :, -1:]
        image = torch.lerp(torch.full_like(colour, BACKGROUNDS[background]), colour, opacity)
    return samples, background, image


def builtin_names() -> list[str]:
    """The names of the built-in images, in alphabetical order."""
    return sorted(_BUILTIN_FILES)


@door
def builtin_image(name: str, *, size: int | None = None, max_side: int | None = None) -> torch.Tensor:
    """A photograph that is installed with scikit-image; nothing is downloaded.

    Args:
        name: one of `builtin_names`, e.g. ``astronaut`` (RGB, 512 x 512) or ``camera`` (grey, 512 x 512).
        size: as in `load_image`.
        max_side: as in `load_image`.

    Returns:
        float32 ``[H, W, C]`` in [0, 1]; C = 3 (RGB) or 1.

    Raises:
        PartinrError: the name is unknown, or an option is invalid.
    """
    return load_image(builtin_path(name), size=size, max_side=max_side)


def builtin_path(name: str) -> Path:
    """The file of a built-in image.

    Raises:
        PartinrError: the name is unknown.
    """
    if name not in _BUILTIN_FILES:
        near = difflib.get_close_matches(str(name).lower(), _BUILTIN_FILES, n=1)
        advice = f"did you mean {near[0]}? There are" if near else "there are"
        raise PartinrError(f"no built-in image {name!r}; {advice} {', '.join(builtin_names())}")
    spec = importlib.util.find_spec("skimage")
    if spec is None or spec.origin is None:
        raise PartinrError("the built-in images are scikit-image's, which is not installed; pip install scikit-image")
    return Path(spec.origin).parent / "data" / _BUILTIN_FILES[name]


@door
def check_image(values: torch.Tensor | np.ndarray) -> torch.Tensor:
    """A validated copy of an image from the caller.

    Integers are refused instead of scaled, since an array does not say whether it means 0..255 or 0..1.

    Args:
        values: floating, ``[H, W, C]``, or ``[H, W]`` for grey; finite, in [0, 1].

    Returns:
        A copy, float32 ``[H, W, C]``, on the device of `values`, without its gradient.

    Raises:
        PartinrError: the image is not of this form.
    """
    if not isinstance(values, (np.ndarray, torch.Tensor)):
        raise PartinrError(
            f"an image must be a NumPy array or a tensor, not {type(values).__name__}; "
            "wrap it in numpy.asarray(…), or read a file with partinr.load_image(path)"
        )
    _check_shape(tuple(values.shape))
    dtype = values.dtype.name if isinstance(values, np.ndarray) else str(values.dtype).removeprefix("torch.")
    if "float" not in dtype:
        cure = f"divide by {np.iinfo(dtype).max} first" if dtype.startswith("uint") else "give floats in [0, 1]"
        raise PartinrError(f"the image has {dtype} values, but must have floats in [0, 1]; {cure}")
    if isinstance(values, np.ndarray):
        image = torch.from_numpy(np.array(values, dtype=np.float32, order="C"))
    else:
        image = values.detach().to(torch.float32, copy=True).contiguous()
    check_values(image, "the image", "clamp or rescale it")
    return image if image.ndim == 3 else image[:, :, None]


def _check_shape(shape: tuple[int, ...]) -> None:
    shown = "[" + ", ".join(map(str, shape)) + "]"
    if len(shape) not in (2, 3):
        cure = "take one image of the batch" if len(shape) == 4 else "reshape it"
        raise PartinrError(f"an image must have the shape [H, W, C] or [H, W], not {shown}; {cure}")
    if 0 in shape:
        raise PartinrError(f"the image has no pixels (shape {shown}); give one of at least 1x1")
    if len(shape) == 3 and shape[0] in (1, 3) and shape[2] > 4:
        raise PartinrError(
            f"the image has {shape[2]} channels (shape {shown}); the channels go last: values.permute(1, 2, 0) or "
            "numpy.moveaxis(values, 0, -1)"
        )


def check_values(image: torch.Tensor, what: str, cure: str) -> None:
    """Check that all values are in [0, 1].

    Args:
        image: float32.
        what: what the message calls it.
        cure: what to do about values out of range.

    Raises:
        PartinrError: a value is not in [0, 1].
    """
    bad = image.numel() - int(torch.isfinite(image).sum())
    if bad:
        raise PartinrError(
            f"{what} has {bad} of {image.numel()} values that are NaN or infinite; replace them with numbers in [0, 1]"
        )
    low, high = (float(bound) for bound in torch.aminmax(image))
    if low < 0 or high > 1:
        raise PartinrError(f"{what} has values from {low:.6g} to {high:.6g}, but must stay in [0, 1]; {cure}")


def _check_options(size: int | None, max_side: int | None, alpha: str) -> None:
    if size is not None and max_side is not None:
        raise PartinrError(
            "size and max_side exclude each other; keep size (a centred square) or max_side (the aspect kept)"
        )
    for name, side in (("size", size), ("max_side", max_side)):
        # True is an int, and would mean one pixel.
        if side is not None and (not isinstance(side, int) or isinstance(side, bool) or side < 1):
            raise PartinrError(
                f"{name} must be a whole number of pixels, 1 or more, not {side!r}; leave it out to keep all"
            )
    if size is not None and size * size > MAX_PIXELS:
        raise PartinrError(f"size={size} makes more than {MAX_PIXELS:,} pixels; choose at most {int(MAX_PIXELS**0.5)}")
    if alpha not in get_args(Alpha):
        raise PartinrError(f"alpha must be refuse, white, black, drop or channel, not {alpha!r}; choose one of them")


def _unit_range(samples: np.ndarray, path: str | os.PathLike[str], bits: int | None) -> torch.Tensor:
    largest = largest_value(samples, bits, path)
    # Always a copy: an array from Pillow may be read-only or have negative strides.
    image = torch.from_numpy(np.array(samples, dtype=np.float32, order="C"))
    if largest is not None:
        return image.div_(largest)
    check_values(image, repr(os.fspath(path)), "rescale it and save it again")
    return image


def cut_shape(
    shape: tuple[int, int], size: int | None, max_side: int | None, crop: Crop | None = None
) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
    """The crop and the target size of an image, see `load_image`.

    Args:
        shape: height and width of the whole image, in pixels.
        size: side of the square.
        max_side: longest side allowed.
        crop: the square to cut out, instead of the centred one.

    Returns:
        The window to cut out (top, left, height, width), and the height and width to resize it to.

    Raises:
        PartinrError: the square is larger than the image.
    """
    height, width = shape
    if crop is not None:
        side = min(height, width) if crop.side is None else crop.side
        if side > min(height, width):
            raise PartinrError(
                f"{height}×{width} pixels have no square of {side}×{side} in them; give a smaller data.crop_size"
            )
        down, right = (min(int(at * (n - side + 1)), n - side) for at, n in zip(crop.at, shape, strict=True))
        return (down, right, side, side), (side, side) if size is None else (size, size)
    if size is not None:
        side = min(height, width)
        return ((height - side) // 2, (width - side) // 2, side, side), (size, size)
    if max_side is not None and max_side < max(height, width):
        scale = max_side / max(height, width)
        return (0, 0, height, width), (max(1, round(height * scale)), max(1, round(width * scale)))
    return (0, 0, height, width), (height, width)


def decoded_shape(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of an image file, upright and uncut."""
    height, width = decode(path).shape[:2]
    return height, width


@door
def resized(image: torch.Tensor, size: int | None, max_side: int | None, crop: Crop | None = None) -> torch.Tensor:
    """An image, cut and resized as in `load_image`: bicubic, with antialiasing.

    Args:
        image: float32 ``[H, W, C]`` in [0, 1].
        size: see `cut_shape`.
        max_side: see there.
        crop: see there.

    Returns:
        float32 ``[h, w, C]`` in [0, 1].

    Raises:
        PartinrError: the square to cut is larger than the image.
    """
    (top, left, height, width), target = cut_shape((image.shape[0], image.shape[1]), size, max_side, crop)
    image = image[top : top + height, left : left + width]
    if image.shape[:2] == target:
        return image.contiguous()
    planes = image.permute(2, 0, 1)[None]
    scaled: torch.Tensor = functional.interpolate(
        planes, size=target, mode="bicubic", antialias=True, align_corners=False
    )
    # The cubic kernel overshoots at edges.
    return scaled[0].permute(1, 2, 0).clamp(0, 1).contiguous()
