"""Pictures of runs as data URIs within a byte budget. Each picture is stored once."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from partinr.pictures.draw import encode_png
from partinr.report.errors import error_of
from partinr.report.media import MEDIA_BUDGET, media_of
from partinr.runs.layout import IMAGE, RECONSTRUCTION

PICTURE_BUDGET = 24_000_000
"""Byte budget for the pictures of a page of a few runs; larger pictures are scaled down."""

PICTURE_LEAST = 1_000
"""Least bytes for a picture, whatever the budget."""

PICTURE_LIMIT = 600_000
"""Limit of bytes for an unscaled picture, if the budget allows."""

PICTURE_SIDE = 720
"""Longer side of a scaled picture, in pixels."""

SHEET_SIDE = 2000
"""Longer side of a scaled sheet of pictures with text, in pixels."""


PictureCache = dict[tuple[Any, ...], tuple[str, dict[str, Any]] | None]
"""Pictures by the state of their file and their allowance: the bytes as a data URI, and what :meth:`PictureStore.add`
gives; None for a damaged picture."""


@dataclass
class PictureStore:
    """Pictures as data URIs, each stored once."""

    expected: int
    """Upper bound of the number of pictures."""
    budget: int = PICTURE_BUDGET
    """Byte budget for all pictures."""
    cache: PictureCache = field(default_factory=dict)
    uris: dict[str, str] = field(default_factory=dict)
    media_left: int = MEDIA_BUDGET
    """Bytes that are left for sounds and films."""
    used: set[tuple[Any, ...]] = field(default_factory=set)
    """Keys of ``cache``."""

    def add(self, path: Path, side: int = PICTURE_SIDE) -> dict[str, Any] | None:
        """Add a picture file; returns its key and size [pixels] on the page, or None without a valid file.

        A file that is too large is scaled down until its longer side has ``side`` pixels, and further until it fits.
        """
        return self._add([path], path.read_bytes, side)

    def add_error(self, folder: Path) -> dict[str, Any] | None:
        """Add the error of the fit in a folder, drawn from its image and reconstruction; like :meth:`add`."""

        def draw() -> bytes:
            error = error_of(folder)
            return b"" if error is None else encode_png(error / 255)

        return self._add([folder / IMAGE, folder / RECONSTRUCTION], draw, PICTURE_SIDE)

    def _add(self, files: Sequence[Path], read: Callable[[], bytes], side: int) -> dict[str, Any] | None:
        try:
            stats = [(str(file), (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files]
            about = (*stats, self._allowance, side)
            if about not in self.cache:
                raw = read()
                # Several runs share files such as their image, which is scaled only once.
                alike = (hashlib.sha256(raw).hexdigest()[:16], self._allowance, side)
                if alike not in self.cache:
                    self.cache[alike] = _shown(alike[0], raw, self._allowance, side)
                self.cache[about] = self.cache[alike]
                self.used.add(alike)
            self.used.add(about)
            shown = self.cache[about]
        except OSError:
            return None
        if shown is None:
            return None
        uri, about_it = shown
        self.uris[about_it["key"]] = uri
        return about_it

    def media(
        self, folder: Path, manifest: Mapping[str, Any], part: str, image: str | None = None
    ) -> dict[str, str] | None:
        """What plays a sound or film of a run, as of :func:`media_of`; None once their budget is spent."""
        found = media_of(folder, manifest, part, image)
        if found is None or len(found["uri"]) > self.media_left:
            return None
        self.media_left -= len(found["uri"])
        return found

    def forget(self) -> None:
        """Remove pictures that this page did not use from the cache, since their files have changed."""
        for key in self.cache.keys() - self.used:
            del self.cache[key]

    @property
    def _allowance(self) -> int:
        """Bytes for one picture, rounded to a power of two if small, so that one more run changes no picture."""
        share = self.budget // max(self.expected, 1)
        if share >= PICTURE_LIMIT:
            return PICTURE_LIMIT
        return int(2 ** math.floor(math.log2(max(share, PICTURE_LEAST))))


def _shown(key: str, raw: bytes, allowance: int, side: int) -> tuple[str, dict[str, Any]] | None:
    """A picture in at most ``allowance`` bytes; None if it is damaged."""
    try:
        with warnings.catch_warnings():
            # A large picture comes from the user and is scaled here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw)) as picture:
                picture.load()
                kind = picture.get_format_mimetype()
                size = picture.size
                if len(raw) > allowance:
                    raw, size = _small(picture.convert("RGB"), allowance, side)
                    kind = "image/webp"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        # Pillow's exceptions for a damaged file.
        return None
    uri = f"data:{kind};base64,{base64.b64encode(raw).decode()}"
    return uri, {"key": key, "width": size[0], "height": size[1]}


def _small(picture: Image.Image, allowance: int, side: int) -> tuple[bytes, tuple[int, int]]:
    """A picture as WebP within ``allowance`` bytes if possible, and its size.

    The first attempt assumes two bits per pixel, as for a photograph.
    """
    large = allowance >= 100_000
    side = side if large else min(side, max(8, math.isqrt(4 * allowance)))
    while True:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
        buffer = io.BytesIO()
        picture.save(buffer, "WEBP", quality=90 if large else 80)
        if buffer.tell() <= allowance or large or side <= 8:
            return buffer.getvalue(), picture.size
        side = max(8, min(side - 1, int(0.95 * side * math.sqrt(allowance / buffer.tell()))))
