"""Sounds and films of runs, as pages play them, and pictures of what their loss sees."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from partinr.runs.directory import RunDirectory
from partinr.runs.layout import BEST, FITTED, SIGNAL, of_image
from partinr.runs.subject import native_of

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
        part: :data:`partinr.runs.layout.SIGNAL`, ``FITTED`` or ``BEST``.
        image: name of one of several signals.

    Returns:
        None if the run keeps no such file, or if it is too large.
    """
    native = native_of(manifest)
    element, name = native.get("media", ""), native.get(part, "")
    path = folder / of_image(image, name)
    # A name in a file may say anything.
    if element not in ELEMENTS or Path(name).stem not in (SIGNAL, FITTED, BEST) or Path(name).name != name:
        return None
    return _embedded(path, element, element)


def picture_of(run: RunDirectory, role: str, image: str | None = None) -> dict[str, str] | None:
    """A picture that only some regimes keep, likewise; None if a run has none.

    Args:
        run: the run directory.
        role: its role among the files of the regime, such as ``observation``.
        image: name of one of several signals.
    """
    name = run.regime.files.get(role)
    if name is None or Path(name).name != name or Path(name).suffix != ".png":
        return None
    return _embedded(run.file(of_image(image, name)), "img", "image")


def _embedded(path: Path, element: str, kind: str) -> dict[str, str] | None:
    """An HTML element with the content of a file; None if it cannot be read, or is too large."""
    try:
        content = path.read_bytes() if path.stat().st_size <= MEDIA_LIMIT else b""
    except OSError:
        return None
    uri = f"data:{kind}/{path.suffix.lower().removeprefix('.')};base64,{base64.b64encode(content).decode()}"
    return {"element": element, "uri": uri} if content else None
