"""An image and its fits as one self-contained HTML file to pan and zoom."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from partinr.base.errors import PartinrError
from partinr.base.files import write_output
from partinr.base.text import utf8
from partinr.pictures.draw import encode_png, to_uint8
from partinr.pictures.errors import ERROR_SCALE
from partinr.report.templates import error_colours, error_legend, template

MOST_PIXELS = 2**25
"""Limit of pixels of a picture, such as 7,680×4,320: a browser holds several copies of four bytes each."""

MOST_SIDE = 2**14
"""Limit of the longer side in pixels, from what browsers can draw."""


def check_size(shape: Sequence[int]) -> None:
    """Refuse a picture that browsers cannot show.

    Args:
        shape: ``[H, W]``.

    Raises:
        PartinrError: the picture has more than :data:`MOST_PIXELS` pixels, or a side above :data:`MOST_SIDE`.
    """
    if math.prod(shape) > MOST_PIXELS or max(shape) > MOST_SIDE:
        raise PartinrError(
            f"a picture of {'×'.join(map(str, shape))} pixels is too large for a page, which takes {MOST_PIXELS:,} and "
            f"{MOST_SIDE:,} a side; give a smaller --scale, or draw it with partinr render"
        )


def shrunk_shape(shape: Sequence[int]) -> tuple[int, int]:
    """The shape ``[H, W]`` at which a page takes a picture: its own, or the largest with about the same proportions."""
    height, width = shape
    scale = min(1.0, MOST_SIDE / max(shape), math.sqrt(MOST_PIXELS / math.prod(shape)))
    return max(1, math.floor(height * scale)), max(1, math.floor(width * scale))


def shrunk(image: Any, shape: Sequence[int]) -> np.ndarray:
    """A picture at a smaller shape, each pixel the mean of those that it stands for.

    Args:
        image: ``[H, W, C]``, values as in :func:`to_uint8`.
        shape: ``[h, w]``, neither side longer.

    Returns:
        uint8 ``[h, w, C]``.
    """
    channels = np.moveaxis(to_uint8(image), 2, 0)
    small = [Image.fromarray(channel).resize((shape[1], shape[0]), Image.Resampling.BOX) for channel in channels]
    return np.stack([np.asarray(channel) for channel in small], axis=2)


@dataclass(frozen=True)
class Fit:
    """A fit of an image, as a page shows it."""

    values: Any
    """The fit at the pixels of the image, ``[H, W, C]``, values as for :func:`to_uint8`."""
    labels: Any
    """Integer ``[H, W]``, the region of each pixel, 0 … 2^24 - 2; -1 where there is none, as between frames."""
    fine: Any = None
    """The fit at a higher resolution, ``[kH, kW, C]``, to show instead; the error is always that of ``values``."""
    error: Any = None
    """The picture of its error ``[H, W, C]``; None for the difference of the pixels."""
    scaled: bool = True
    """Whether errors have the colours of the scale, and pixels are samples."""
    name: str = "fit"
    wiped: bool = True
    """Whether a divider that moves over the picture compares it with another."""


def stage_of(image: Any, fits: Sequence[Fit], word: str = "image") -> dict[str, Any]:
    """The data of ``stage.html``: an image and its fits in 8 bits.

    Args:
        image: ``[H, W, C]``, C = 1 or 3, values as for :func:`to_uint8`; or the picture of another signal.
        fits: its fits; one is compared with the image, several with each other.
        word: what the signal is called.

    Raises:
        PartinrError: shapes differ, or a picture is too large for a page.
    """
    pixels = to_uint8(image)
    check_size(pixels.shape[:2])
    return {
        "shape": pixels.shape[:2],
        "channels": pixels.shape[2],
        "word": word,
        "wiped": all(fit.wiped for fit in fits),
        "image": data_uri(encode_png(pixels / 255)),
        "fits": [{"name": fit.name, "pictures": _pictures(pixels, fit)} for fit in fits],
        "error": {
            "range": [ERROR_SCALE.low, ERROR_SCALE.high],
            "colours": error_colours(256),
            "scaled": all(fit.scaled for fit in fits),
        },
    }


def _pictures(pixels: np.ndarray, fit: Fit) -> dict[str, str]:
    """The pictures of a fit as data URIs.

    Raises:
        PartinrError: a shape is not that of the image, or a picture is too large for a page.
    """
    regions, shape = np.asarray(fit.labels), np.shape(fit.values)
    if pixels.shape != shape or regions.shape != pixels.shape[:2]:
        raise PartinrError(
            f"the image has the shape {list(pixels.shape)}, its fit {list(shape)}, the label map "
            f"{list(regions.shape)}; give those of one image"
        )
    found = {"fit": data_uri(encode_png(fit.values)), "labels": data_uri(labels_png(regions))}
    if fit.error is not None:
        found["error"] = data_uri(encode_png(fit.error))
    if fit.fine is not None:
        check_size(fit.fine.shape[:2])
        found["fine"] = data_uri(encode_png(fit.fine))
    return found


def write_view(
    path: str | Path,
    image: Any,
    fits: Sequence[Fit],
    *,
    title: str,
    facts: Sequence[str] = (),
    media: Sequence[Mapping[str, str]] = (),
    word: str = "image",
) -> Path:
    """Write an image and its fits as a page.

    Args:
        path: the file; replaced in one step.
        image: as for :func:`stage_of`.
        fits: likewise.
        title: title of the page.
        facts: lines under the title.
        media: what plays sounds or films, from :func:`partinr.report.media.media_of`, each with its ``name``.
        word: what the signal is called.

    Returns:
        ``path``.

    Raises:
        PartinrError: shapes differ, a picture is too large for a page, or the file cannot be written.
    """
    path = Path(path)
    stage = stage_of(image, fits, word)
    page = template("view.html").render(title=title, facts=list(facts), stage=stage, media=media, **error_legend())
    write_output(path, utf8(page))
    return path


def data_uri(png: bytes) -> str:
    """A PNG as the address of a picture in a page."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def labels_png(labels: np.ndarray) -> bytes:
    """Labels as a PNG with the number of a region in the 24 bits of a colour, red first."""
    colours = np.stack([labels >> 16 & 255, labels >> 8 & 255, labels & 255], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "PNG")
    return buffer.getvalue()
