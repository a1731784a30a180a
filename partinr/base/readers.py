"""Which choice of ``data`` reads a file, by its ending. Commands that import no torch ask this, too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reader:
    """A choice of ``data``.

    Attributes:
        data: its name.
        word: what it reads.
        endings: of its files, in small letters.
        limit: an override for a first fit of ten seconds, for which a large file has too many samples; empty for none.
        instead: keys that say how much is used of a file, and so replace ``limit``.
    """

    data: str
    word: str
    endings: tuple[str, ...]
    limit: str = ""
    instead: tuple[str, ...] = ()


READERS = (
    Reader(
        "image",
        "image",
        (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp"),
        "data.max_side=1024",
        ("data.size", "data.max_side"),
    ),
    Reader("audio", "sound", (".wav", ".flac", ".mp3", ".ogg", ".aiff"), "data.seconds=10", ("data.seconds",)),
    Reader(
        "video",
        "film",
        (".mp4", ".webm", ".mov", ".mkv", ".avi", ".gif"),
        "data.max_side=128",
        ("data.size", "data.max_side"),
    ),
    Reader("volume", "volume", (".nii", ".nii.gz"), "data.size=96", ("data.size", "data.stride")),
    Reader("sdf", "mesh", (".obj", ".ply", ".stl", ".off")),
)
"""The choices that read one file; an ending belongs to one of them."""


def reader_of(name: str) -> Reader | None:
    """The choice that reads a file of this name; None for an unknown ending."""
    return next((reader for reader in READERS if name.lower().endswith(reader.endings)), None)
