"""Assigns runs to images, and names the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from partinr.runs.configs import IMAGE_KEYS, frozen
from partinr.runs.naming import numbered
from partinr.runs.records import RunRecord

_CUT_KEYS = sorted({"bits", *(key for _, key in IMAGE_KEYS)} - {"_target_", "name", "path"})


@dataclass(frozen=True)
class Image:
    """The image of a run, as its directory describes it.

    All images of one run count as one image, and so do all held-out signals of a run.

    Attributes:
        name: name for readers; several images may share it.
        shape: ``[*grid, C]``; empty if unknown.
        keys: digests and other keys. Two runs have the same image if they share a key.
    """

    name: str
    shape: tuple[Any, ...]
    keys: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, record: RunRecord) -> Image | None:
        """The image of a run; None if the run ended before reading one."""
        signal = record.manifest.get("signal")
        if not isinstance(signal, Mapping):
            return None
        shape, count, held_out = signal.get("shape"), signal.get("images"), signal.get("held_out")
        name = str(signal.get("name") or "image")
        if isinstance(count, int):
            name += f", {count} image{'s' * (count != 1)}"
        if isinstance(held_out, int):
            name += f", {held_out} held out"
        shape = frozen(shape) if isinstance(shape, list) else ()
        keys: tuple[tuple[Any, ...], ...] = tuple(_keys(record, signal, shape))
        if not keys and isinstance(held_out, int):
            # Older versions have no digest of several signals; the settings identify them.
            keys = (("choice", _image_choice(record), held_out),)
        return cls(name, shape, keys or (("name", name, shape),))

    @classmethod
    def unread(cls, record: RunRecord) -> Image:
        """The image of a run that never read it, from the config."""
        chosen = record.at("config.data.name") or record.at("config.data.path")
        name = PurePath(str(chosen)).stem if chosen else "unknown image"
        return cls(name, (), (("unread", _image_choice(record)),))


def _keys(record: RunRecord, signal: Mapping[str, Any], shape: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """The keys of an image, each of which identifies it."""
    if digest := signal.get("sha256"):
        yield "values", digest, shape
    # Machines resize differently in the last bits.
    if digest := signal.get("pixels_sha256"):
        yield "pixels", digest, shape
    # Libraries decode a JPEG differently.
    if digest := signal.get("file_sha256"):
        yield "file", digest, shape, *(str(record.at(f"config.data.{key}")) for key in _CUT_KEYS)


def _image_choice(record: RunRecord) -> tuple[Any, ...]:
    """The settings of the config that choose the image."""
    return tuple(str(record.at(f"config.data.{key}")) for _, key in sorted(IMAGE_KEYS))


def _image_labels(images: Sequence[Image]) -> list[str]:
    """Distinct names of images; equal names get the size appended, else digits of the hash."""
    count = Counter(image.name for image in images)
    sized = [
        f"{image.name} {'×'.join(map(str, image.shape[:2]))}".strip() if count[image.name] > 1 else image.name
        for image in images
    ]
    count = Counter(sized)
    return numbered(
        [f"{name} {_digits(image)}" if count[name] > 1 else name for name, image in zip(sized, images, strict=True)]
    )


def _digits(image: Image) -> str:
    """The first digits of an image's first digest."""
    return str(image.keys[0][1])[:6]


@dataclass(frozen=True)
class Images:
    """The images of runs.

    Attributes:
        of: the name of each run's image.
        notices: notices about images that count as one although their values differ.
    """

    of: Mapping[RunRecord, str]
    notices: tuple[str, ...]

    @classmethod
    def among(cls, records: Sequence[RunRecord]) -> Images:
        """The images of runs.

        A run that ended before it read its image gets the image of other runs with the same settings.
        """
        known = {record: image for record in records if (image := Image.of(record))}
        by_choice = {_image_choice(record): image for record, image in known.items()}
        images = {
            record: known.get(record) or by_choice.get(_image_choice(record)) or Image.unread(record)
            for record in records
        }
        first = _first_alike(list(dict.fromkeys(images.values())))
        distinct = list(dict.fromkeys(first[image] for image in images.values()))
        named = dict(zip(distinct, _image_labels(distinct), strict=True))
        return cls({record: named[first[image]] for record, image in images.items()}, tuple(_decoded_twice(known)))


def _first_alike(images: Sequence[Image]) -> dict[Image, Image]:
    """For each image, the first image that shares a key with it, directly or through others."""
    groups: list[tuple[set[tuple[Any, ...]], list[Image]]] = []
    for image in images:
        keys, alike = set(image.keys), [image]
        for group in [group for group in groups if group[0] & keys]:
            groups.remove(group)
            keys, alike = keys | group[0], group[1] + alike
        groups.append((keys, alike))
    order = {image: number for number, image in enumerate(images)}
    return {image: min(alike, key=order.__getitem__) for _, alike in groups for image in alike}


def _decoded_twice(known: Mapping[RunRecord, Image]) -> Iterator[str]:
    """A notice for each file that runs decoded differently."""
    files: dict[Hashable, dict[str, RunRecord]] = {}
    for record, image in known.items():
        for kind, *about in image.keys:
            if kind == "file":
                files.setdefault(tuple(about), {}).setdefault(str(record.at("signal.pixels_sha256")), record)
    for readings in files.values():
        if len(readings) > 1:
            name = _file_name(next(iter(readings.values())))
            by = " and by ".join(dict.fromkeys(str(record.at("signal.decoder")) for record in readings.values()))
            yield f"{name}: the same file was decoded differently, by {by}; its runs still count as one image."


def _file_name(record: RunRecord) -> str:
    path = record.at("config.data.path")
    return PurePath(path).name if isinstance(path, str) else str(record.at("signal.name"))
