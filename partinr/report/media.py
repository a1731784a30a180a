"""Sounds and films of runs, as pages play them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from partinr.runs.layout import FITTED, SIGNAL, of_image
from partinr.runs.regime_facts import native_of

ELEMENTS = ("audio", "video")
"""The HTML elements that play files."""

MEDIA_LIMIT = 3_000_000
"""Limit of bytes of a file on a page."""

MEDIA_BUDGET = 24_000_000
"""Limit of bytes of all files on a page."""


def media_of(folder: Path, manifest: Mapping[str, Any], part: str, image: str | None = None) -> dict[str, str] | None:
    """The element that plays a file of a run, and its content as a data URI.

    Args:
        folder: the run directory.
        manifest: content of its ``run.json``.
        part: :data:`partinr.runs.layout.SIGNAL` or :data:`partinr.runs.layout.FITTED`.
        image: name of one of several signals.

    Returns:
        None if the run keeps no such file, or if it is too large.
    """
    native = native_of(manifest)
    element, name = native.get("media", ""), native.get(part, "")
    path = folder / of_image(image, name)
    # A name in a file may say anything.
    if element not in ELEMENTS or Path(name).stem not in (SIGNAL, FITTED) or Path(name).name != name:
        return None
    try:
        content = path.read_bytes() if path.stat().st_size <= MEDIA_LIMIT else b""
    except OSError:
        return None
    kind = f"{element}/{path.suffix.lower().removeprefix('.')}"
    uri = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return {"element": element, "uri": uri} if content else None
