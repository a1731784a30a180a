"""Films from a file or from a folder of frames: float32 ``[T, H, W, C]`` in [0, 1], C = 3 (RGB) or 1 (grey).

FFmpeg (PyAV) decodes files, a frame at a time. Each frame is cut and resized before the next one is decoded, so that
memory holds the film that is fitted and one frame of the file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from partinr.base.environment import door
from partinr.base.errors import PartinrError
from partinr.base.later import of_extra
from partinr.coords import nearest_samples
from partinr.signals.channels import Alpha, Channels, converted
from partinr.signals.decode import MAX_PIXELS, decode, decoder
from partinr.signals.folder import image_files
from partinr.signals.identity import SignalIdentity, block_means, file_sha256, joined, samples_sha256
from partinr.signals.image import cut_shape, resized, unit_samples
from partinr.signals.source import Source
from partinr.signals.userfile import open_file, quiet_stderr, quoted

FOLDER_RATE = 25.0
"""Frames a second of a folder of frames, and of a file that does not say it."""


@dataclass(frozen=True)
class Cut:
    """The part of a film that is used.

    Attributes:
        first: number of the first frame, from 0 on.
        frames: number of frames; None for all from there.
        stride: use every so many-th frame.
        crop: window in pixels of the film: top, left, height, width; None for all.
        size: side of the centred square of the window, after resizing, see :func:`partinr.load_image`.
        max_side: longer side after shrinking.
        alpha: what to do with transparency.
        channels: what to convert the film to.
    """

    first: int = 0
    frames: int | None = None
    stride: int = 1
    crop: tuple[int, int, int, int] | None = None
    size: int | None = None
    max_side: int | None = None
    alpha: Alpha = "refuse"
    channels: Channels = "as_is"

    def window(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The window of a frame: top, left, height, width.

        Raises:
            PartinrError: it is not within the frame.
        """
        if self.crop is None:
            return 0, 0, height, width
        top, left, rows, columns = self.crop
        if top + rows > height or left + columns > width:
            raise PartinrError(
                f"data.crop={list(self.crop)} is not within the frames of {height}×{width} pixels; "
                "give top, left, height and width within them"
            )
        return self.crop


class Film(NamedTuple):
    """A film.

    Attributes:
        values: float32 ``[T, H, W, C]`` in [0, 1].
        rate: frames a second.
        identity: its identity.
    """

    values: Tensor
    rate: float
    identity: SignalIdentity


@dataclass(frozen=True)
class FilmSource(Source):
    """A film and how its frames were cut.

    Attributes:
        window: what is used of a frame, in pixels of the film: top, left, height, width; None for all.
    """

    window: tuple[int, int, int, int] | None = None

    @door
    def cut_labels(self, labels: Tensor) -> Tensor:
        """A label map ``[H, W]`` of a frame of the file, cut like the frames; see :meth:`Source.cut_labels`.

        Raises:
            PartinrError: the window is not within the map.
        """
        top, left, height, width = Cut(crop=self.window).window(*labels.shape)
        inner = labels[top : top + height, left : left + width]
        (top, left, height, width), target = cut_shape((height, width), self.size, self.max_side)
        inner = inner[top : top + height, left : left + width].reshape(-1)
        return inner[nearest_samples((height, width), target)].reshape(target).to(torch.int64)

    @property
    def ambiguous(self) -> int | None:
        """None: the frames of a film have one orientation."""
        return None


@door
def load_video(path: str | os.PathLike[str], cut: Cut | None = None) -> Tensor:
    """A film, see :func:`read_video`: float32 ``[T, H, W, C]`` in [0, 1].

    Raises:
        PartinrError: as for :func:`read_video`.
    """
    return read_video(path, cut).values


def read_video(path: str | os.PathLike[str], cut: Cut | None = None) -> Film:
    """A film from a file that FFmpeg reads (MP4, WebM, GIF, …), or from a folder of frames, in the order of names.

    Args:
        path: the file or folder; ``~`` is the home folder.
        cut: the part to use; None for all.

    Raises:
        PartinrError: there is no film that can be read, its frames differ, or it has fewer than are asked for.
    """
    cut, place = cut or Cut(), Path(os.path.expanduser(path))
    reel = _Folder(place) if place.is_dir() else _File(place, cut)
    frames = islice(reel.frames(), cut.first, None, cut.stride)
    with closing(reel):
        taken = _Taken(place, cut)
        console, some = Console(stderr=True), islice(frames, cut.frames)
        quiet = not console.is_terminal
        for samples in track(some, "reading the film", cut.frames, console=console, transient=True, disable=quiet):
            taken.add(samples, reel.at)
        values = taken.film(reel.count)
    identity = SignalIdentity(
        place.name, str(joined(taken.digests)), block_means(values), reel.sha256(), str(cut), reel.decoder
    )
    return Film(values, reel.rate / cut.stride, identity)


class _Taken:
    """The frames that are used, cut and resized.

    Args:
        place: file or folder of the film.
        cut: the part to use.

    Attributes:
        digests: SHA-256 of the samples of each frame, before any resize.
    """

    def __init__(self, place: Path, cut: Cut) -> None:
        self._place, self._cut = place, cut
        self._size: tuple[int, ...] = ()
        self._values = np.empty(0, dtype=np.float32)
        self.digests: list[str] = []

    def add(self, samples: np.ndarray, where: Path) -> None:
        """Take a frame.

        Args:
            samples: ``[H, W, C]``, upright, as in the file.
            where: its file.

        Raises:
            PartinrError: it differs from the first in size or channels, or the film has too many pixels.
        """
        cut, size = self._cut, samples.shape[:2]
        if self._size and size != self._size:
            first, other = ("×".join(map(str, each)) for each in (self._size, size))
            raise PartinrError(
                f"{quoted(self._place)} has frames of {first} and of {other} pixels; give frames of one size"
            )
        self._size = size
        top, left, height, width = cut.window(*size)
        used, _, frame = unit_samples(samples[top : top + height, left : left + width], where, cut.alpha)
        values = converted(resized(frame, cut.size, cut.max_side), cut.channels).numpy()
        taken = len(self.digests)
        if not taken:
            most = MAX_PIXELS // (values.shape[0] * values.shape[1])
            # Memory that nothing is written to takes no space.
            self._values = np.empty((min(most, cut.frames or most), *values.shape), dtype=np.float32)
        if values.shape != self._values.shape[1:]:
            raise PartinrError(f"{quoted(self._place)} has frames in grey and in colour; give data.channels=rgb")
        if taken == len(self._values):
            raise PartinrError(
                f"{quoted(self._place)} has more than {MAX_PIXELS:,} pixels in all of its frames; "
                "give fewer by data.frames or data.stride, or smaller ones by data.size or data.max_side"
            )
        self._values[taken] = values
        self.digests.append(samples_sha256(used))

    def film(self, count: int) -> Tensor:
        """The film: float32 ``[T, H, W, C]``.

        Args:
            count: frames that were decoded.

        Raises:
            PartinrError: it has no frame, a single one, or fewer than asked for.
        """
        taken, cut, place = len(self.digests), self._cut, quoted(self._place)
        if not taken:
            raise PartinrError(f"{place} has {count} frames, none from data.first={cut.first} on; give a lower one")
        if cut.frames is not None and taken < cut.frames:
            raise PartinrError(
                f"{place} has {taken} frames from data.first={cut.first} on with data.stride={cut.stride}, "
                f"not {cut.frames}; give data.frames={taken}, or leave it out"
            )
        if taken == 1 and cut.frames is None:
            raise PartinrError(f"{place} has a single frame; fit it as an image, with data=image")
        self._values.resize((taken, *self._values.shape[1:]), refcheck=False)
        return torch.from_numpy(self._values)


class _Folder:
    """The frames of a folder of images.

    Args:
        place: the folder.

    Attributes:
        at: file of the present frame.
        count: number of frames so far.
        rate: frames a second.
        decoder: program that reads them.
    """

    rate = FOLDER_RATE

    def __init__(self, place: Path) -> None:
        self._files = image_files(place, "path")
        self.at, self.count, self.decoder = place, 0, decoder()

    def frames(self) -> Iterator[np.ndarray]:
        """The samples of each frame, ``[H, W, C]``."""
        for file in self._files:
            self.at, self.count = file, self.count + 1
            yield decode(file)

    def sha256(self) -> str | None:
        """SHA-256 of the files."""
        return joined([file_sha256(file) for file in self._files])

    def close(self) -> None:
        """Nothing is open."""


class _File(_Folder):
    """The frames of a file.

    Args:
        place: the file.
        cut: the part that will be used.

    Raises:
        PartinrError: PyAV is not installed.
    """

    def __init__(self, place: Path, cut: Cut) -> None:
        self._cut = cut
        self._av = of_extra("av", "video", "films are read")
        self.at, self.count = place, 0
        self.decoder = f"PyAV {self._av.__version__} with FFmpeg {self._av.ffmpeg_version_info}"
        self._frames = self._decoded()

    def frames(self) -> Iterator[np.ndarray]:
        """The samples of each frame, upright: uint8 or uint16 ``[H, W, C]``.

        Raises:
            PartinrError: the file is no film that can be read.
        """
        return self._frames

    def _decoded(self) -> Iterator[np.ndarray]:
        # A file that is open: FFmpeg would take some names for addresses or patterns.
        with open_file(self.at, "a film") as stream, quiet_stderr():
            try:
                with self._av.open(stream) as container:
                    if container.format.name == "tty":  # FFmpeg draws any text
                        raise self._av.error.InvalidDataError(0, "it is text")
                    if not container.streams.video:
                        inside = ", ".join(sorted({each.type for each in container.streams})) or "nothing"
                        raise PartinrError(
                            f"{quoted(self.at)} has no video stream (but {inside}); give a film, such as an MP4"
                        )
                    video = container.streams.video[0]
                    video.thread_type = "AUTO"
                    self.rate = float(video.average_rate or video.guessed_rate or FOLDER_RATE)
                    for frame in container.decode(video):
                        yield _samples(frame)
                        self.count += 1
            except (self._av.error.FFmpegError, OSError) as error:
                if whole := len(range(self._cut.first, self.count, self._cut.stride)):
                    raise PartinrError(
                        f"{quoted(self.at)} is damaged after {self.count} frames ({error.strerror}); "
                        f"copy it again, or give data.frames={whole} to use those before"
                    ) from error
                raise PartinrError(
                    f"{quoted(self.at)} is not a film that can be read ({error.strerror}); "
                    "give an MP4, a WebM or a GIF, or a folder of frames"
                ) from error

    def sha256(self) -> str | None:
        """SHA-256 of the file."""
        return file_sha256(self.at)

    def close(self) -> None:
        """Close the file."""
        self._frames.close()  # type: ignore[attr-defined]


def _samples(frame: Any) -> np.ndarray:
    """The samples of a decoded frame, upright, at its depth: ``[H, W, C]`` with C = 1, 3 or, with opacity, 4."""
    parts, deep = frame.format.components, max(part.bits for part in frame.format.components) > 8
    if len(parts) == 1 and not frame.format.has_palette:
        layout = "gray16le" if deep else "gray"
    elif frame.format.has_palette or any(part.is_alpha for part in parts):
        layout = "rgba64le" if deep else "rgba"
    else:
        layout = "rgb48le" if deep else "rgb24"
    samples: np.ndarray = frame.to_ndarray(format=layout)
    # Phones write films on their side and say by how much to turn them.
    turned = np.rot90(samples, round(frame.rotation / 90))
    return np.ascontiguousarray(turned if turned.ndim == 3 else turned[:, :, None])
