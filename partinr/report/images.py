"""Which runs are of one image, and what the image is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from partinr.runs.configs import IMAGE_KEYS, frozen
from partinr.runs.naming import numbered
from partinr.runs.records import RunRecord


@dataclass(frozen=True)
class Image:
    """What tells one image from another. Two names of the same values are one image.

    All images of a run for several are one, and so are all held-out signals of a run.
    """

    sha256: str
    shape: tuple[Any, ...]
    name: str = field(compare=False)

    @classmethod
    def of(cls, record: RunRecord) -> Image | None:
        """The image of a run; None if it ended before it had read one."""
        signal = record.manifest.get("signal")
        if not isinstance(signal, Mapping):
            return None
        shape, count, held_out = signal.get("shape"), signal.get("images"), signal.get("held_out")
        name = str(signal.get("name") or "image")
        if isinstance(count, int):
            name += f", {count} image{'s' * (count != 1)}"
        digest = signal.get("sha256") or f"named {name}"
        if isinstance(held_out, int):
            # Signals that are many have no values to be known by; what was asked for says which they are.
            name += f", {held_out} held out"
            digest = f"{_image_choice(record)} {held_out}"
        return cls(str(digest), frozen(shape) if isinstance(shape, list) else (), name)

    @classmethod
    def unread(cls, record: RunRecord) -> Image:
        """The image of a run that never read it, by what the config says."""
        chosen = record.at("config.data.name") or record.at("config.data.path")
        name = PurePath(str(chosen)).stem if chosen else "unknown image"
        return cls(f"unread {_image_choice(record)}", (), name)


def _image_choice(record: RunRecord) -> tuple[Any, ...]:
    """What the config says of the image."""
    return tuple(str(record.at(f"config.data.{key}")) for _, key in sorted(IMAGE_KEYS))


def _image_labels(images: Sequence[Image]) -> list[str]:
    """Names of images, no two alike: of two with the same name the size is added, else digits of the hash."""
    count = Counter(image.name for image in images)
    sized = [
        f"{image.name} {'×'.join(map(str, image.shape[:2]))}".strip() if count[image.name] > 1 else image.name
        for image in images
    ]
    count = Counter(sized)
    return numbered(
        [f"{name} {image.sha256[:6]}" if count[name] > 1 else name for name, image in zip(sized, images, strict=True)]
    )


def assign_images(records: Sequence[RunRecord]) -> dict[RunRecord, str]:
    """The image of each run.

    A run that ended before it had read its image belongs to the image that other runs got from the same choice.
    """
    known = {record: image for record in records if (image := Image.of(record))}
    by_choice = {_image_choice(record): image for record, image in known.items()}
    images = {
        record: known.get(record) or by_choice.get(_image_choice(record)) or Image.unread(record) for record in records
    }
    distinct = list(dict.fromkeys(images.values()))
    named = dict(zip(distinct, _image_labels(distinct), strict=True))
    return {record: named[image] for record, image in images.items()}
