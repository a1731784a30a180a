"""A picture among the words of a command line: ``partinr photo.png`` and ``data=photo.png``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePath

from partinr.base.errors import PartinrError
from partinr.base.text import for_shell
from partinr.experiment import plugins
from partinr.experiment.hydra_errors import in_quotes

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
"""Endings of images: those of :data:`partinr.signals.decode.IMAGE_ENDINGS`, whose module needs torch."""


def with_picture(words: Sequence[str]) -> list[str]:
    """Overrides that fit the picture that a word names. Other words stay as they are.

    A word alone stands for ``data.path=photo.png experiment=fast data.max_side=1024``, unless another experiment or
    size is given: ten seconds are few for all pixels of a large photograph. ``data=photo.png`` stands for
    ``data=image data.path=photo.png``.

    Raises:
        PartinrError: several words name pictures.
    """
    pictures = [word for word in words if "=" not in word and _is_picture(word)]
    if len(pictures) > 1:
        several = for_shell(f"data.path={','.join(pictures)}")
        raise PartinrError(f"a run fits one image; to fit each of several: partinr -m experiment=fast {several}")
    keys = {word.lstrip("+").partition("=")[0] for word in words}
    fast = [] if "experiment" in keys else ["experiment=fast"]
    fast += [] if "experiment" in keys or {"data.size", "data.max_side"} & keys else ["data.max_side=1024"]
    found: list[str] = []
    for word in words:
        key, _, value = word.partition("=")
        if word in pictures:
            found += [f"data.path={_as_value(word)}", *fast]
        elif key == "data" and value not in plugins.groups()["data"] and all(map(_is_picture, value.split(","))):
            found += ["data=image", f"data.path={value}"]
        else:
            found.append(word)
    return found


def _is_picture(word: str) -> bool:
    """Whether a word names a file, or would name an image."""
    return os.path.isfile(word) or PurePath(word).suffix.lower() in ENDINGS


def _as_value(path: str) -> str:
    """A path as one value: a comma does not separate, and a dollar does not refer."""
    escaped = path.replace("${", "\\${")
    return in_quotes(escaped) if escaped != path or "," in path else path
