"""Pictures of runs as data URIs, each once however often it is shown, within a budget of bytes."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

PICTURE_BUDGET = 24_000_000
"""About as many bytes as all pictures of a page of a few runs take; beyond it they are shown smaller."""

PICTURE_LEAST = 1_000
"""Bytes that every picture gets, whatever the budget."""

PICTURE_LIMIT = 600_000
"""Bytes of one picture that is shown as it is, when the budget allows."""

PICTURE_SIDE = 720
"""Longer side, in pixels, of a picture that is shown smaller than it is."""

SHEET_SIDE = 2000
"""The same of a sheet of pictures with words."""


PictureCache = dict[tuple[Any, ...], tuple[str, dict[str, Any]] | None]
"""Pictures by the state of their file and their allowance: the bytes as a data URI, and what :meth:`PictureStore.add`
gives; None for a damaged one."""


@dataclass
class PictureStore:
    """Pictures as data URIs, each once however often it is shown."""

    expected: int
    """How many pictures there may be."""
    budget: int = PICTURE_BUDGET
    """Bytes for all of them."""
    cache: PictureCache = field(default_factory=dict)
    uris: dict[str, str] = field(default_factory=dict)
    used: set[tuple[Any, ...]] = field(default_factory=set)
    """Keys of ``cache``."""

    def add(self, path: Path, side: int = PICTURE_SIDE) -> dict[str, Any] | None:
        """Take in a picture file: its key and its size [pixels] on the page; None if there is no sound file.

        A file that is too large is scaled down until its longer side has ``side`` pixels, and further until it fits.
        """
        try:
            stat = path.stat()
            about = (str(path), stat.st_mtime_ns, stat.st_size, self._allowance, side)
            if about not in self.cache:
                raw = path.read_bytes()
                # Several runs have files in common, such as their image: each is scaled down once.
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

    def forget(self) -> None:
        """Remove from the cache what this page did not use: the files have changed."""
        for key in self.cache.keys() - self.used:
            del self.cache[key]

    @property
    def _allowance(self) -> int:
        """Bytes of one picture. A small share is rounded to a power of two, so that one more run changes no picture."""
        share = self.budget // max(self.expected, 1)
        if share >= PICTURE_LIMIT:
            return PICTURE_LIMIT
        return int(2 ** math.floor(math.log2(max(share, PICTURE_LEAST))))


def _shown(key: str, raw: bytes, allowance: int, side: int) -> tuple[str, dict[str, Any]] | None:
    """A picture in at most ``allowance`` bytes; None if it is damaged."""
    try:
        with warnings.catch_warnings():
            # A large picture is the user's own, and is scaled down here.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(raw)) as picture:
                picture.load()
                kind = picture.get_format_mimetype()
                size = picture.size
                if len(raw) > allowance:
                    raw, size = _small(picture.convert("RGB"), allowance, side)
                    kind = "image/webp"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        # What Pillow raises for a damaged file.
        return None
    uri = f"data:{kind};base64,{base64.b64encode(raw).decode()}"
    return uri, {"key": key, "width": size[0], "height": size[1]}


def _small(picture: Image.Image, allowance: int, side: int) -> tuple[bytes, tuple[int, int]]:
    """A picture as WebP and its size: at most ``allowance`` bytes, unless eight pixels take more, or it may be large.

    The first try assumes two bits a pixel, which a photograph takes.
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
