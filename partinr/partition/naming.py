"""Finds the label map of an image in a folder, by the name of the image or by a pattern that contains it."""

from __future__ import annotations

import glob
import re
import unicodedata
from itertools import islice
from pathlib import Path

from partinr.base.errors import PartinrError
from partinr.base.text import normal
from partinr.partition.labelmap import ENDINGS, bare_name
from partinr.signals import Source

_PLACE = re.compile(r"\{(?:name|stem)(?:-([^{}/]+))?\}")
"""The place of the image's name in a pattern, and the part of the name to leave out."""

_LOOKED_AT = 10_000
"""Limit of files that are searched to suggest a pattern."""


def check_pattern(pattern: str) -> None:
    """Check a pattern before anything is read.

    Raises:
        PartinrError: the pattern has no place for the name of an image, or leaves the folder.
    """
    rest = _PLACE.sub("", pattern)
    if rest == pattern or "{" in rest or "}" in rest or ".." in Path(rest).parts or Path(pattern).is_absolute():
        raise PartinrError(
            f"partition.pattern={pattern} is no pattern for the names of label maps in a folder; give one such as "
            "{name}.png, **/{name}_seg.png (in subfolders too) or {name-_img}_mask.png (without the _img of the image)"
        )


def maps_for(folder: Path, source: Source, pattern: str | None) -> list[Path]:
    """The files in a folder that may be the label map of an image.

    Args:
        folder: folder of label maps.
        source: source of the image; its own file is never a label map.
        pattern: pattern of paths in the folder, as for :func:`glob.glob`, with ``{name}`` for the name of the image
            and ``{name-PART}`` for the name without a part at its beginning or end. None looks in the folder itself for
            the name of the image with a usual ending.

    Raises:
        PartinrError: the name of the image lacks the part to leave out.
        OSError: the folder cannot be listed.
    """
    if pattern is None:
        wanted = normal(source.name)
        named = (file for file in folder.iterdir() if normal(bare_name(file) or "") == wanted)
        return sorted(file for file in named if not source.is_file(file))
    found = set()
    for each in _forms(pattern, source.name):
        found |= {folder / path for path in glob.iglob(each, root_dir=folder, recursive=True)}
    return sorted(file for file in found if file.is_file() and not source.is_file(file))


def missing(folder: Path, source: Source, pattern: str | None) -> str:
    """The cure, as the second half of an error, for a folder without a label map of an image."""
    if pattern is not None:
        return f"there is no {filled(pattern, source.name)} in it; correct partition.pattern, or name a file"
    *others, last = (source.name + ending for ending in ENDINGS)
    below = islice((Path(path) for path in glob.iglob("**/*", root_dir=folder, recursive=True)), _LOOKED_AT)
    for path in sorted(below):
        if source.name in (bare_name(path) or "") and not source.is_file(folder / path):
            deeper = "**/" if len(path.parts) > 1 else ""
            return f"for names such as {path} give partition.pattern={deeper}{path.name.replace(source.name, '{name}')}"
    return (
        f"put {', '.join(others)} or {last} into it, name a file, or give the pattern of other names: partition.pattern"
    )


def filled(pattern: str, name: str) -> str:
    """A pattern with the name of an image filled in.

    Raises:
        PartinrError: the name neither begins nor ends with the part to leave out.
    """

    def place(match: re.Match[str]) -> str:
        part = match[1]
        if part is None:
            return glob.escape(name)
        if not (name.endswith(part) or name.startswith(part)):
            raise PartinrError(
                f"partition.pattern={pattern} leaves {part!r} out of the names of images, and {name} does not begin or "
                "end with it; give a pattern for these names, such as {name}.png"
            )
        return glob.escape(name.removesuffix(part) if name.endswith(part) else name.removeprefix(part))

    return _PLACE.sub(place, pattern)


def _forms(pattern: str, name: str) -> set[str]:
    """The filled pattern in each Unicode form that a file system may use."""
    written = filled(unicodedata.normalize("NFC", pattern), unicodedata.normalize("NFC", name))
    return {written, unicodedata.normalize("NFD", written)}
